// Package plan decides what to do next for a lineage, and what a lineage becomes when
// that was done. It is pure: it reads nothing and changes nothing, and asks no clock.
//
// [Next] computes the actions that are due and those that will be, each with its
// reason, from what the configuration asks for, the stored state, the ledger, what was
// found on disk, and the time. [After] returns the state, and the ledger's next entry,
// that follow when an action came out in some way. Package apply carries the actions
// out, one at a time, writes what After returns, and plans again. [Forecast] goes on
// from the same After with results that it imagines. So there is no recovery code
// anywhere: after a crash the next run plans from what it finds.
//
// Two decisions are worth knowing. A renewal with the same key waits for nothing:
// a publication that failed is reported and tried again, but the certificate is
// renewed all the same. And whatever is missing, damaged or contradictory leads to
// a [Finding] for a person, never to a new key.
package plan

import (
	"fmt"
	"slices"
	"time"

	"keepkey/pinset"
)

// Input is everything that a decision depends on.
type Input struct {
	Goal   Goal
	State  State
	Ledger pinset.Ledger
	Disk   Disk
	// Reports are what clients tell of pin validations that failed.
	Reports Reports
	CA      CA
	Host    string // ID of this host
	Now     time.Time

	Force bool // renew now, whether or not it is due
	// Asked says that a person asked for this lineage by name, and so does not want to wait
	// for a back-off.
	Asked bool
	// NewLineage says that a person asked for a fresh start although something
	// speaks against it.
	NewLineage bool
	// Tried holds the IDs of actions that this run has tried already; they are
	// not offered to it again.
	Tried map[string]bool
}

// CA is what is known of the CA before it is asked anything.
type CA struct {
	// Until is when it may be asked again; zero for at once.
	Until time.Time
	// ThisRun says that this was found out in this run, so that even who insists has to
	// wait.
	ThisRun bool
	// Unreachable says that it does not answer; else it asked to be left alone.
	Unreachable bool
	Reason      string
}

// Disk is what was found besides the state document.
type Disk struct {
	Keys []pinset.Pin // the key files there are; looked for only while there is no state
	// KeyProblems says what is wrong with keys that the state names.
	KeyProblems map[pinset.Pin]error
	Live        int   // the version that live/ points to; 0 for none
	LiveProblem error // live/ is there, but is not what keepkey made
	Versions    []int // the stored certificate versions
	// StoredProblem says what is wrong with the stored version that the state
	// names: without one it is what was accepted.
	StoredProblem error
	// AccessProblem says that others can read what is live than should.
	AccessProblem error
	// BeforeProblem says what is wrong with the stored version with which a rollover could
	// be undone.
	BeforeProblem error
	// LedgerProblem says where the ledger is damaged.
	LedgerProblem error
	// ReportsProblem says why the reports of clients can't be read.
	ReportsProblem error
	// Differs has the channels where a file does not hold what should be there.
	Differs map[string]bool
	// Elsewhere lists signs that clients know other keys for this lineage
	// already. Looked for only while there is no state.
	Elsewhere []string
	// Related are the lineages whose keys these may be.
	Related []string
}

// Plan is what to do, in order, and what a person should know.
type Plan struct {
	Actions  []Action
	Problems []Finding
	Notes    []Finding // what is waited for
}

// Due returns the first action whose time has come, if there is one.
func (p Plan) Due(now time.Time) (Action, bool) {
	i := slices.IndexFunc(p.Actions, func(a Action) bool { return !a.At.After(now) })
	if i < 0 {
		return Action{}, false
	}
	return p.Actions[i], true
}

// First returns the action with the earliest time, if there is any. That somebody looks
// again, day after day, is not worth telling.
func (p Plan) First() (Action, bool) {
	actions := slices.DeleteFunc(slices.Clone(p.Actions), func(a Action) bool { return a.Kind == Look })
	if len(actions) == 0 {
		return Action{}, false
	}
	return slices.MinFunc(actions, func(a, b Action) int { return a.At.Compare(b.At) }), true
}

// planner collects a plan.
type planner struct {
	Input
	plan Plan
}

// Next computes the plan.
func Next(in Input) Plan {
	p := &planner{Input: in, plan: Plan{Actions: make([]Action, 0, 4)}}
	if p.refuse() {
		return p.plan
	}
	if in.State.IsZero() {
		p.add(Action{Kind: BeginLineage, Target: in.Goal.Name, Why: Why{Code: WhyNewLineage}})
		return p.plan
	}
	p.all()
	return p.plan
}

// all plans for a lineage that was begun.
func (p *planner) all() {
	in := p.Input
	p.expired()
	if err := in.Disk.AccessProblem; err != nil {
		p.plan.Problems = append(p.plan.Problems, Finding{Code: LiveUnreadable, Err: err})
	}
	if wrong := wrongClock(in); wrong != nil {
		p.plan.Problems = append(p.plan.Problems, *wrong)
	}
	if missing := missingKey(in); missing != nil {
		p.add(*missing)
		if in.State.Certificate == nil && len(in.State.Pins()) == 0 {
			return // nothing leaves the machine before there is a backup key
		}
	}
	publish := publications(in)
	next, note := switchKey(in)
	p.add(looks(in, p.leaps(append(slices.Clip(publish), next)))...)
	p.differing()
	p.add(publish...)
	p.plan.Problems = append(p.plan.Problems, ledgerProblems(in)...)
	problems, notes := in.ReportFindings()
	p.plan.Problems, p.plan.Notes = append(p.plan.Problems, problems...), append(p.plan.Notes, notes...)
	p.add(servings(in)...)
	if at, ask := askWindowAt(in); ask && !at.After(in.Now) {
		p.add(Action{Kind: AskWindow, Why: Why{Code: WhyWindowUnknown}})
	}
	p.add(revocations(in)...)
	p.offer(schedule(in), nil)
	p.offer(retirePin(in))
	p.add(abandonments(in)...)
	p.offer(next, note)
	p.add(writeOffs(in)...)
	p.add(prunings(in)...)
	if next.Kind == SwitchKey && !next.At.After(in.Now) && !in.Tried[next.ID()] {
		return // the certificate for the new key makes one for the old key needless
	}
	if active := in.State.Active(); active != nil && in.Disk.KeyProblems[active.Pin] == nil {
		next := obtain(in)
		p.overdue(next)
		p.add(next)
	}
}

// add plans actions, and reports those that keep failing.
func (p *planner) add(actions ...Action) {
	for _, a := range actions {
		wait := p.wait(&a)
		if f, fails := p.failure(a); fails && p.expected(a) {
			p.plan.Problems = append(p.plan.Problems, p.finding(a, f))
		} else if wait != nil {
			p.plan.Problems = append(p.plan.Problems, *wait)
		}
		if p.Tried[a.ID()] {
			continue
		}
		if a.At.IsZero() {
			a.At = p.Now
		}
		p.plan.Actions = append(p.plan.Actions, a)
	}
}

// wait puts an action that asks the CA off while the CA is not to be asked. Nobody waits
// in an emergency, or by force, but for what this very run found out.
func (p *planner) wait(a *Action) *Finding {
	urgent := p.Force || (a.Kind == SwitchKey && p.State.Rollover.Compromised)
	if !a.AsksCA() || !p.CA.Until.After(p.Now) || (urgent && !p.CA.ThisRun) {
		return nil
	}
	due := !a.At.After(p.Now)
	if a.At.Before(p.CA.Until) {
		a.At = p.CA.Until
	}
	if !due || a.Kind == AskWindow {
		return nil
	}
	f := Finding{Code: CAPaused, Action: a.Kind, Time: p.CA.Until, Reason: p.CA.Reason}
	if p.CA.Unreachable {
		f.Code = CAUnreachable
	}
	p.meanwhile(&f)
	return &f
}

// leaps reports whether something is due that can't be taken back: one of the actions
// given, or that servers get another certificate.
func (p *planner) leaps(actions []Action) bool {
	if active := p.State.Active(); active != nil && p.Disk.KeyProblems[active.Pin] == nil {
		actions = append(actions, obtain(p.Input))
	}
	for _, a := range servings(p.Input) {
		if a.Kind == Install {
			actions = append(actions, a)
		}
	}
	return slices.ContainsFunc(actions, func(a Action) bool {
		return a.Kind != "" && !a.At.After(p.Now) && !p.Tried[a.ID()]
	})
}

// differing reports files that do not hold what should be there, as long as no look did.
func (p *planner) differing() {
	for _, ch := range p.Goal.Channels {
		if _, fails := p.failure(Action{Kind: Look, Channel: ch.Name}); p.Disk.Differs[ch.Name] && !fails {
			p.plan.Problems = append(p.plan.Problems, Finding{Code: PublicationChanged, Channel: ch.Name})
		}
	}
}

// overdue reports a renewal that was due long ago, and that nothing has tried: whatever
// should run keepkey does not.
func (p *planner) overdue(a Action) {
	c := p.State.Certificate
	at, why, _ := renewal(p.Input)
	slack := time.Duration(0)
	if c != nil {
		slack = c.NotAfter.Sub(c.NotBefore) / 12
	}
	byTime := why.Code == WhyThirdLeft || why.Code == WhyHalfLeft || why.Code == WhyWindow
	if _, fails := p.failure(a); fails || !byTime || p.Tried[a.ID()] || p.Force || p.Now.Before(at.Add(slack)) || p.Now.After(c.NotAfter) || p.CA.Until.After(p.Now) {
		return
	}
	f := Finding{Code: RenewalOverdue, Time: at}
	p.meanwhile(&f)
	p.plan.Problems = append(p.plan.Problems, f)
}

// offer plans an action, if there is one, and takes a note.
func (p *planner) offer(a Action, note *Finding) {
	if a.Kind != "" {
		p.add(a)
	}
	if note != nil {
		p.plan.Notes = append(p.plan.Notes, *note)
	}
}

// failure returns how an action has failed so far. A failure in the future counts for
// nothing: it was recorded while the clock was wrong.
func (in Input) failure(a Action) (Failure, bool) {
	failures := in.State.failuresOf(a)
	if len(failures) == 0 {
		return Failure{}, false // mostly
	}
	f, fails := failures[a.purpose()]
	return f, fails && !f.Last.After(in.Now)
}

// retries returns when an action that failed is tried again: after its back-off, unless
// somebody wants it now.
func (in Input) retries(a Action) (at time.Time, f Failure, waits bool) {
	f, fails := in.failure(a)
	if !fails || !f.Next.After(in.Now) || in.Force || in.Asked {
		return a.At, f, false
	}
	return f.Next, f, true
}

// expected reports whether the success of an action is overdue: a forced renewal that
// failed long before it was due is no reason to call anybody, and a switch that failed waits
// for the gate where that is closed again.
func (p *planner) expected(a Action) bool {
	if a.Kind == SwitchKey {
		return a.Why.Gate.Open
	}
	if a.Kind != Obtain || p.Force {
		return true
	}
	at, _, _ := renewal(p.Input)
	return !at.After(p.Now)
}

func (p *planner) finding(a Action, f Failure) Finding {
	found := Finding{Code: f.Code, Action: a.Kind, Channel: a.Channel, Version: a.Version, Target: a.Target, Failure: &f, Earlier: !p.Tried[a.ID()]}
	if p.Force && a.Kind == Obtain {
		at, _, _ := renewal(p.Input)
		found.Forced = at.After(p.Now)
	}
	if found.Code == "" {
		found.Code = failing[a.Kind]
	}
	if found.Code == "" {
		found.Code = ActionFailing
	}
	if a.Kind == Publish || a.Kind == ReadBack {
		found.Version = a.PinSet.Version
	}
	if r := p.State.Rollover; r != nil {
		found.Compromised = r.Compromised
	}
	p.meanwhile(&found)
	return found
}

// meanwhile fills in how long the certificate that stays in use will do.
func (p *planner) meanwhile(f *Finding) {
	if c := p.State.Certificate; c != nil {
		f.Expires, f.Late, f.Urgent = c.NotAfter, c.hasLeft(3, p.Now), c.expiresSoon(p.Now)
	}
}

// expired reports that what this host serves is not valid any more.
func (p *planner) expired() {
	c := p.State.Certificate
	if c == nil {
		return
	}
	version, end := c.Version, c.NotAfter
	for _, i := range p.State.Issued {
		if i.Version == p.Disk.Live { // the newest may not be installed yet
			version, end = i.Version, i.NotAfter
		}
	}
	if p.Now.After(end) {
		p.plan.Problems = append(p.plan.Problems, Finding{Code: CertificateExpired, Version: version, Time: end})
	}
}

// block reports what keeps anything from being done.
func (p *planner) block(f Finding) bool {
	f.Blocks = true
	p.plan.Problems = append(p.plan.Problems, f)
	return true
}

// refuse finds what must not be worked around (rule 9: fail closed).
func (p *planner) refuse() (blocked bool) {
	in := p.Input
	if in.Disk.LiveProblem != nil {
		return p.block(Finding{Code: LiveForeign, Err: in.Disk.LiveProblem})
	}
	if in.State.IsZero() {
		switch {
		case len(in.Disk.Keys)+len(in.Disk.Versions) > 0 || in.Disk.Live != 0 || in.Disk.LedgerProblem != nil:
			return p.block(Finding{Code: StateMissing})
		case len(in.Disk.Elsewhere) > 0 && !in.NewLineage:
			return p.block(Finding{Code: KeysElsewhere, Signs: in.Disk.Elsewhere, Lineages: in.Disk.Related})
		}
		return false
	}
	for _, a := range in.seen(stops...) {
		f, _ := in.failure(a)
		blocked = p.block(p.finding(a, f))
	}
	if blocked {
		for _, a := range in.seen() { // it may have been settled
			if a.At = in.Now; !in.Tried[a.ID()] {
				p.plan.Actions = append(p.plan.Actions, a)
			}
		}
		return true
	}
	if stored := in.State.NewestVersion(); in.Disk.Live > stored {
		// The state is always written first.
		return p.block(Finding{Code: StateOutdated, Signs: []string{
			fmt.Sprintf("certificate version %d is installed, and the state knows of %d", in.Disk.Live, stored),
		}})
	}
	return p.refuseWithoutKey()
}

// refuseWithoutKey finds keys that are not usable.
func (p *planner) refuseWithoutKey() (blocked bool) {
	in := p.Input
	usable := len(in.usable())
	if active := in.State.Active(); active != nil {
		if err := in.Disk.KeyProblems[active.Pin]; err != nil {
			f := Finding{Code: KeyMissing, Pin: active.Pin, Err: err, CanRotate: usable > 0, Gate: Gate(in, NextActive(in))}
			r := in.State.Pending()
			if r == nil || in.Disk.KeyProblems[r.To] != nil {
				f.CanRotate = f.CanRotate && r == nil
				return p.block(f)
			}
			p.plan.Problems = append(p.plan.Problems, f)
		}
	}
	for _, k := range in.State.Backups() {
		if k.Type != in.Goal.KeyType {
			p.plan.Notes = append(p.plan.Notes, Finding{Code: KeyTypeDiffers, Pin: k.Pin, KeyType: k.Type})
		}
		if err := in.Disk.KeyProblems[k.Pin]; err != nil {
			p.plan.Problems = append(p.plan.Problems, Finding{Code: BackupMissing, Pin: k.Pin, Err: err})
		}
	}
	return false
}

// missingKey returns the key to generate, if one is.
func missingKey(in Input) *Action {
	if in.State.Active() == nil {
		return &Action{Kind: GenerateKey, Role: Active, KeyType: in.Goal.KeyType, Why: Why{Code: WhyNoActiveKey}}
	}
	if have, want := len(in.usable()), wantedBackups(in); have < want {
		return &Action{Kind: GenerateKey, Role: Backup, KeyType: in.Goal.KeyType, Why: Why{Code: WhyTooFewBackups, Have: have, Want: want}}
	}
	return nil
}
