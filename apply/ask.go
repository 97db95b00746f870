package apply

import (
	"context"
	"errors"
	"slices"

	"keepkey/config"
	"keepkey/pinset"
	"keepkey/plan"
)

// RotateOptions say what is asked of a rollover.
type RotateOptions struct {
	Undo     bool // go back to the key before
	WhenOpen bool // put it on record although the gate is closed, and wait
	// Compromised says that others may have the active key: it is replaced without
	// waiting for publications, and its certificates are revoked.
	Compromised bool
	// Key, with Compromised, says which keys others may have: the active one, all backup
	// keys, all retired ones, all of these, or the one with a pin. "" is for the active one,
	// where that is not in doubt.
	Key string
	// AcceptBreakage, with Compromised, gives up the clients whose pin sets keep the
	// gate closed.
	AcceptBreakage bool
	// Now, with Compromised, waits for no host that does not serve the new key yet.
	Now bool
	// Tell is told what is about to be put on record, and in which state.
	Tell func(plan.Input, plan.Action)

	keys []pinset.Pin // what Key stands for
}

// Which keys others may have, besides the pin of one.
const (
	ActiveKey   = "active"
	BackupKeys  = "backup"
	RetiredKeys = "retired"
	AllKeys     = "all"
)

// resolve finds the keys that are meant.
func (r *Runner) resolve(ctx context.Context, cert config.Certificate, o *RotateOptions) error {
	if o.Key == "" {
		return nil
	}
	l, err := r.newRun(ctx, cert, Options{}).look(ctx)
	if err != nil || l.state.Certificate == nil {
		return err // who asks is told
	}
	o.keys, err = l.keys(o.Key)
	return err
}

// keys returns the keys that go by a name.
func (l *lineage) keys(name string) ([]pinset.Pin, error) {
	roles := map[string][]plan.Role{
		ActiveKey: {plan.Active}, BackupKeys: {plan.Backup, plan.Lost}, RetiredKeys: {plan.Retired},
		AllKeys: {plan.Active, plan.Backup, plan.Lost, plan.Retired},
	}[name]
	var pins []pinset.Pin
	for _, k := range l.state.Keys {
		if slices.Contains(roles, k.Role) || k.Pin.String() == name {
			pins = append(pins, k.Pin)
		}
	}
	if len(pins) == 0 {
		return nil, &plan.Refusal{Lineage: l.cert.Name, Finding: plan.Finding{Code: plan.NoSuchKey, Target: name}}
	}
	return pins, nil
}

// Rotate puts on record that the active key should be replaced by the first backup
// key, or that this should be undone. The renewals that follow do it. What is refused
// is a [*plan.Refusal]; with the code [plan.GateClosed] when the gate is closed and
// nobody wants to wait.
func (r *Runner) Rotate(ctx context.Context, cert config.Certificate, o RotateOptions) error {
	defer r.hold(cert.Name)()
	if err := r.lookFirst(ctx, cert, o.Compromised); err != nil {
		return err
	}
	// Before another key is made, which nobody else has.
	if err := r.resolve(ctx, cert, &o); err != nil {
		return err
	}
	if o.AcceptBreakage || len(o.keys) > 0 {
		if err := r.ensureSuccessor(ctx, cert, o.keys, o.AcceptBreakage); err != nil {
			return err
		}
	}
	l, in, a, err := r.asked(ctx, cert, o)
	if err != nil {
		return err
	}
	if ro := in.State.Pending(); ro != nil && !o.WhenOpen && !o.AcceptBreakage {
		if err := in.Disk.KeyProblems[ro.To]; err != nil {
			return &plan.Refusal{Lineage: cert.Name, Finding: plan.Finding{Code: plan.SuccessorMissing, Pin: ro.To, Err: err}}
		}
		if v := plan.Gate(in, ro.To); !v.Open {
			return &plan.Refusal{Lineage: cert.Name, Finding: plan.Finding{Code: plan.GateClosed, Gate: v, Compromised: ro.Compromised}}
		}
	}
	if o.Tell != nil {
		o.Tell(l.input(), a)
	}
	return l.commit(ctx, a, plan.Result{})
}

// lookFirst looks at what is out there, so that the gate's answer counts it.
func (r *Runner) lookFirst(ctx context.Context, cert config.Certificate, hurry bool) error {
	run := r.newRun(ctx, cert, Options{})
	run.hurry = hurry
	l, err := run.look(ctx)
	if err != nil || l.state.IsZero() {
		return err // who asks is told
	}
	if stopped := l.lookAll(ctx); stopped != nil {
		return &plan.Refusal{Lineage: cert.Name, Finding: *stopped}
	}
	return nil
}

// ensureSuccessor makes a backup key when those that are compromised leave none. There is
// always one; and when it has to take over at once, no client knows it, but a server with
// it is better than one with a key that others have.
func (r *Runner) ensureSuccessor(ctx context.Context, cert config.Certificate, compromised []pinset.Pin, accept bool) error {
	l, err := r.newRun(ctx, cert, Options{}).look(ctx)
	if err != nil || l.state.Certificate == nil {
		return err
	}
	// To take the active key's place with one that no client knows is a person's decision.
	active := len(compromised) == 0 || slices.Contains(compromised, l.state.Active().Pin)
	if !plan.Successor(l.input(), compromised...).IsZero() || (active && !accept) {
		return nil
	}
	return l.generateKey(ctx, plan.Action{Kind: plan.GenerateKey, Role: plan.Backup, KeyType: cert.KeyType})
}

// PlanRotate says what Rotate, and the runs after it, would do.
func (r *Runner) PlanRotate(ctx context.Context, cert config.Certificate, o RotateOptions) (plan.Plan, error) {
	if err := r.resolve(ctx, cert, &o); err != nil {
		return plan.Plan{}, err
	}
	_, in, _, err := r.asked(ctx, cert, o)
	if err != nil {
		return plan.Plan{}, err
	}
	return plan.Forecast(in), nil
}

// asked returns the lineage as it is, the input as it would be once the rollover is on
// record, and the action that puts it there.
func (r *Runner) asked(ctx context.Context, cert config.Certificate, o RotateOptions) (*lineage, plan.Input, plan.Action, error) {
	fail := func(err error) (*lineage, plan.Input, plan.Action, error) {
		return nil, plan.Input{}, plan.Action{}, err
	}
	l, err := r.newRun(ctx, cert, Options{}).look(ctx)
	if err != nil {
		return fail(err)
	}
	in := l.input()
	if in.State.IsZero() {
		return fail(l.nothingYet())
	}
	a := plan.Action{Kind: plan.BeginRollover, Pin: plan.NextActive(in)}
	switch {
	case o.Undo:
		a.Kind = plan.Undo
	case o.Compromised:
		a = plan.Action{Kind: plan.DeclareCompromise, Keys: o.keys, Pin: plan.Successor(in, o.keys...), Accept: o.AcceptBreakage, Now: o.Now, Entries: in.Ledger.Head().Entries}
	}
	if err := in.Follow(a, plan.Result{At: in.Now}); err != nil {
		var refused *plan.Refusal
		if errors.As(err, &refused) && refused.Finding.Code == plan.NoSuccessor {
			refused.Finding.Target = o.Key
		}
		return fail(err)
	}
	for _, p := range plan.Next(in).Problems {
		if p.Blocks {
			return fail(&plan.Refusal{Lineage: cert.Name, Finding: p})
		}
	}
	return l, in, a, nil
}

// nothingYet refuses what is asked of a lineage that was never begun, or says what keeps
// it from being begun: a renewal would not help where the state was lost.
func (l *lineage) nothingYet() error {
	f := plan.Finding{Code: plan.NothingYet}
	for _, p := range plan.Next(l.input()).Problems {
		if p.Blocks {
			f = p
			break
		}
	}
	return &plan.Refusal{Lineage: l.cert.Name, Finding: f}
}

// Confirm puts on record that a person says that a pin set is out on a channel.
func (r *Runner) Confirm(ctx context.Context, cert config.Certificate, channel string, version int) error {
	return r.say(ctx, cert, plan.Action{Kind: plan.Confirm, Channel: channel, Version: version})
}

// Retire puts on record that a person says that no supported client of a channel
// carries a pin set any more.
func (r *Runner) Retire(ctx context.Context, cert config.Certificate, channel string, version int) error {
	return r.say(ctx, cert, plan.Action{Kind: plan.Retire, Channel: channel, Version: version})
}

// ClosePlace puts on record that a person says that clients get nothing more from a place
// of a channel, which is not configured any more. The place goes by its ID or its name.
func (r *Runner) ClosePlace(ctx context.Context, cert config.Certificate, channel, place string) error {
	return r.say(ctx, cert, plan.Action{Kind: plan.ClosePlace, Channel: channel, Target: place})
}

// ForgetHost puts on record that a host is gone, so that nothing waits for it any more.
// Its server, if it runs somewhere after all, is not counted from then on.
func (r *Runner) ForgetHost(ctx context.Context, cert config.Certificate, id string) error {
	return r.say(ctx, cert, plan.Action{Kind: plan.ForgetHost, Host: id})
}

func (r *Runner) say(ctx context.Context, cert config.Certificate, a plan.Action) error {
	defer r.hold(cert.Name)()
	l, err := r.newRun(ctx, cert, Options{}).look(ctx)
	if err != nil {
		return err
	}
	if l.state.IsZero() {
		return l.nothingYet()
	}
	if l.disk.LedgerProblem != nil && a.Kind != plan.ForgetHost {
		return &plan.Refusal{Lineage: cert.Name, Finding: plan.Finding{Code: plan.LedgerDamaged, Err: l.disk.LedgerProblem}}
	}
	if a.Kind == plan.ClosePlace {
		a.Target = l.placeID(a.Channel, a.Target)
	}
	if done, err := plan.Said(l.input(), a); done || err != nil {
		return err
	}
	return l.commit(ctx, a, plan.Result{})
}

// placeID returns the ID of the place that goes by a name.
func (l *lineage) placeID(channel, name string) string {
	for _, p := range l.records.Ledger.Published() {
		for _, place := range p.Places {
			if p.Channel == channel && place.Name == name {
				return place.ID
			}
		}
	}
	return name
}

// RestartLedger begins a new ledger where the old one is lost for good; see
// [plan.Restart] for what it says.
func (r *Runner) RestartLedger(ctx context.Context, cert config.Certificate) error {
	defer r.hold(cert.Name)()
	l, err := r.newRun(ctx, cert, Options{}).look(ctx)
	if err != nil {
		return err
	}
	switch {
	case l.state.Active() == nil:
		return l.nothingYet()
	case l.disk.LedgerProblem == nil:
		return &plan.Refusal{Lineage: cert.Name, Finding: plan.Finding{Code: plan.LedgerWhole}}
	}
	skew, known := l.skew(ctx)
	in := l.input()
	if err := plan.CheckClock(in, skew, known); err != nil {
		return &plan.Refusal{Lineage: cert.Name, Finding: plan.Finding{Code: plan.ClockWrong, Err: err}}
	}
	entries := plan.Restart(in, l.records.Known)
	if len(entries) == 0 {
		return &plan.Refusal{Lineage: cert.Name, Finding: plan.Finding{Code: plan.NothingPublished}}
	}
	if _, err := l.store.Records.Restart(l.records, l.records.State, entries, in.Now); err != nil {
		return errors.Join(err, errCommit)
	}
	l.journal(plan.Event{At: in.Now, Action: plan.RestartLedger})
	return nil
}
