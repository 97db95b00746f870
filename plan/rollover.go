package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"keepkey/config"
	"keepkey/pinset"
)

// Rollover is the replacement of the active key by a backup key, or its undoing.
// It begins only when a person asks for it, now or by a schedule.
type Rollover struct {
	From  pinset.Pin `json:"from"`
	To    pinset.Pin `json:"to"`
	Asked time.Time  `json:"asked"`
	// Compromised says that others may have the key From. It is switched away from
	// without waiting for publications, its pin is published no more, and there is no
	// way back to it.
	Compromised bool `json:"compromised,omitempty"`
	// BreakageAccepted says that a person gives up the clients that keep the gate of
	// the key To closed. Only with Compromised.
	BreakageAccepted bool `json:"breakage_accepted,omitempty"`
	// Switched is when the certificate for the new key was accepted. From then on
	// the new key is the active one; the old key's pin stays in the pin set for a
	// while, so that the rollover can be undone.
	Switched time.Time `json:"switched,omitzero"`
	// Interrupted is the rollover that was not over when this one, of a key that is
	// compromised, took its place. It comes back when this one is called off: servers
	// may still present the key that it replaces.
	Interrupted *Rollover `json:"interrupted,omitempty"`
}

// key returns a key by its pin, or nil.
func (s *State) key(pin pinset.Pin) *Key {
	for i := range s.Keys {
		if s.Keys[i].Pin == pin {
			return &s.Keys[i]
		}
	}
	return nil
}

// AskRollover puts on record that the first backup key shall become the active one.
func (s *State) AskRollover(now time.Time) error {
	backups := s.Backups()
	switch {
	case s.Certificate == nil || len(backups) == 0:
		return errors.New("there is nothing to roll over yet: run keepkey renew first")
	case s.Rollover != nil && s.Rollover.Switched.IsZero():
		return nil // asked already; it goes on
	case s.Rollover != nil:
		return fmt.Errorf("the rollover of %s is not over: the old key's pin is still in the pin set", stamp(s.Rollover.Switched))
	}
	s.Rollover = &Rollover{From: s.Active().Pin, To: backups[0].Pin, Asked: now}
	return nil
}

// AskCompromised puts on record that others may have the active key, so that the
// backup key `to` has to take over, perhaps at the price of clients. It takes the
// place of any other rollover.
func (s *State) AskCompromised(to pinset.Pin, acceptBreakage bool, now time.Time) error {
	if r := s.Rollover; r != nil && r.Compromised && r.Switched.IsZero() {
		again := *r // asked already; it goes on
		again.BreakageAccepted = again.BreakageAccepted || acceptBreakage
		s.Rollover = &again
		return nil
	}
	if k := s.key(to); s.Certificate == nil || k == nil || k.Role != Backup {
		return errors.New("there is no certificate yet that another key could take over from: run keepkey renew first")
	}
	s.Rollover = &Rollover{From: s.Active().Pin, To: to, Asked: now, Compromised: true, BreakageAccepted: acceptBreakage, Interrupted: s.Rollover}
	return nil
}

// Successor picks the key that takes over from a compromised one: the first backup
// key that can be used and whose gate is open, or the first that can be used. It is
// zero when there is none.
func Successor(in Input) pinset.Pin {
	if r := pendingSwitch(in); r != nil && r.Compromised {
		return r.To
	}
	var first pinset.Pin
	for _, k := range in.State.Backups() {
		if in.Disk.KeyProblems[k.Pin] != nil {
			continue
		}
		if Gate(in, k.Pin).Open {
			return k.Pin
		}
		if first.IsZero() {
			first = k.Pin
		}
	}
	return first
}

// AskUndo puts on record that the key before the last switch shall be active
// again, or that a rollover that has not switched yet shall not happen.
func (s *State) AskUndo(now time.Time) error {
	r := s.Rollover
	switch {
	case r == nil:
		return errors.New("there is no rollover to undo: the old key's pin has left the pin set, or there never was one")
	case r.Switched.IsZero() && s.key(r.To).Role == Retired:
		return nil // asked already
	case r.Switched.IsZero():
		s.Rollover, s.Since = r.Interrupted, now
	case r.Compromised:
		return errors.New("there is no way back to a key that is compromised")
	default:
		s.Rollover = &Rollover{From: r.To, To: r.From, Asked: now}
	}
	return nil
}

// completeSwitch makes the rollover's new key the active one.
func (s *State) completeSwitch(now time.Time) {
	from, to := s.key(s.Rollover.From), s.key(s.Rollover.To)
	undo := to.Role == Retired
	from.Role, to.Role = Retired, Active
	s.Rollover.Switched, s.Rollover.Interrupted, s.Since = now, nil, now
	switch {
	case s.Rollover.Compromised:
		from.Role = Compromised
	case undo:
		// The key that served in between goes back among the backups, and nothing has
		// to leave the pin set.
		from.Role, s.Rollover = Backup, nil
	}
}

// Accept puts a certificate on record that was obtained by the action. After a
// switch, its key is the active one from now on.
func (s *State) Accept(kind Kind, c Certificate, now time.Time) {
	if kind == Switch {
		s.completeSwitch(now)
	}
	s.Certificate, s.Order, s.Failure = &c, nil, nil
	s.Issued = append(slices.DeleteFunc(s.Issued, func(i Issued) bool { return now.After(i.NotAfter) }),
		Issued{Version: c.Version, Pin: c.Pin, Serial: c.Serial, Directory: c.Directory, NotAfter: c.NotAfter})
}

// checkRollover holds a rollover to the roles of its keys.
func (s *State) checkRollover() error {
	for r := s.Rollover; r != nil; r = r.Interrupted {
		if err := s.checkOne(r); err != nil {
			return err
		}
	}
	return nil
}

func (s *State) checkOne(r *Rollover) error {
	from, to := s.key(r.From), s.key(r.To)
	if from == nil || to == nil || from == to {
		return errors.New("the rollover names keys that are not there")
	}
	if (r.BreakageAccepted || r.Interrupted != nil) && !r.Compromised {
		return errors.New("the rollover is not of a compromised key, but says what only such a one can")
	}
	fits := from.Role == Active && (to.Role == Backup || (to.Role == Retired && !r.Compromised))
	if !r.Switched.IsZero() {
		left := Retired
		if r.Compromised {
			left = Compromised
		}
		fits = from.Role == left && to.Role == Active
	}
	if !fits {
		return errors.New("the rollover does not fit the roles of its keys")
	}
	return nil
}

// pendingSwitch returns the rollover that waits for its switch, or nil.
func pendingSwitch(in Input) *Rollover {
	if r := in.State.Rollover; r != nil && r.Switched.IsZero() && in.State.Certificate != nil {
		return r
	}
	return nil
}

// switchKey returns the switch of a pending rollover with the time at which it can
// be, or a note that says what it waits for.
func switchKey(in Input) (a Action, note string) {
	r := pendingSwitch(in)
	if r == nil {
		return Action{}, ""
	}
	if in.Disk.KeyProblems[r.To] != nil {
		return Action{}, "the rollover waits, since the key that should take over can't be used"
	}
	if r.Compromised { // no publication is waited for
		if len(in.State.Backups()) < wantedBackups(in) {
			return Action{}, "the rollover waits until the next backup key is there"
		}
	} else if waits := unpublished(in); waits != "" {
		return Action{}, "the rollover waits until the pin set with the next backup key is out: " + waits
	}
	v := Gate(in, r.To)
	at := in.Now
	if !v.Open {
		if v.OpensAt.IsZero() {
			note = "the rollover waits for the gate: " + TellGate(in.Config.Name, v)
			if r.Compromised {
				note += "; to lock these clients out all the same: keepkey rotate --compromised --accept-breakage --name " + in.Config.Name
			}
			return Action{}, note
		}
		at = v.OpensAt
	}
	if f := in.State.Failure; f != nil && f.Next.After(at) && !f.Last.After(in.Now) && !in.Force {
		at = f.Next
	}
	a = Action{Kind: Switch, At: at, Reason: "a rollover was asked for at " + stamp(r.Asked)}
	if r.Compromised {
		a.Reason = "the active key was said to be compromised at " + stamp(r.Asked)
	}
	if !v.Open {
		a.Reason += ", and the gate is " + TellGate(in.Config.Name, v)
	}
	return a, ""
}

// unpublished names a channel that does not have the newest pin set yet: a
// publication that failed always blocks a rollover.
func unpublished(in Input) string {
	if in.Disk.LedgerProblem != nil {
		return "the ledger is not whole"
	}
	if len(in.State.Backups()) < wantedBackups(in) {
		return "the next backup key is not there yet"
	}
	want := in.State.WantedPinSet(in.Ledger)
	for _, ch := range in.Config.Channels {
		newest, _ := in.Ledger.Channel(ch.Name)
		progress := in.State.Channels[ch.Name]
		done := newest.Version == want.Version && progress.Version == want.Version && len(Outstanding(ch.Publish, progress.Done)) == 0
		if !done || (!ch.Manual && newest.Confirmed.IsZero()) {
			return fmt.Sprintf("channel %s does not have version %d yet", ch.Name, want.Version)
		}
	}
	return ""
}

// wantedBackups is how many backup keys there should be: one more while a switch
// is pending, since one of them is about to leave.
func wantedBackups(in Input) int {
	n := in.Config.Backups
	if r := pendingSwitch(in); r != nil && in.State.key(r.To).Role == Backup {
		n++
	}
	return n
}

// abandonments returns the clients to give up, so that a compromised key can be
// replaced: a person accepted that.
func abandonments(in Input) []Action {
	r := pendingSwitch(in)
	if r == nil || !r.BreakageAccepted {
		return nil
	}
	var actions []Action
	for _, o := range Gate(in, r.To).Obstacles {
		actions = append(actions, Action{Kind: Abandon, Channel: o.Channel, Version: o.Version,
			Reason: "they would keep the compromised key in use, and a person accepted the breakage"})
	}
	return actions
}

// retireOld returns the end of a rollover: the old key's pin leaves the pin set,
// but not before the new key is seen to be in use, and not while it can be undone.
func retireOld(in Input) (a Action, note string) {
	r, c := in.State.Rollover, in.State.Certificate
	if r == nil || r.Switched.IsZero() || c == nil {
		return Action{}, ""
	}
	inUse := deployed(in)
	if r.Compromised {
		if !inUse {
			return Action{}, "the compromised key's pin leaves the pin set once the new key is deployed"
		}
		return Action{Kind: RetireOld, Reason: "the key is compromised, and the new one is deployed"}, ""
	}
	for _, addr := range in.Config.Check {
		inUse = inUse && slices.Contains(c.Checked, addr)
	}
	if !inUse {
		return Action{}, "the old key's pin stays in the pin set until the new key is deployed and seen to be served"
	}
	return Action{Kind: RetireOld, At: r.Switched.Add(in.Config.KeepOldPin),
		Reason: "the rollover can be undone until then (keepkey rotate --undo)"}, ""
}

// deployed reports whether the newest certificate is live, and all deploy hooks
// took it up.
func deployed(in Input) bool {
	c := in.State.Certificate
	return c != nil && in.Disk.Live == c.Version && len(Outstanding(in.Config.Deploy, c.Deployed)) == 0
}

// compromisedInUse reports whether clients may still be presented with a key that
// was said to be compromised. Until that is over, nothing is published: a pin set
// with it must not be, and one without it would lock them out.
func compromisedInUse(in Input) bool {
	r := in.State.Rollover
	return r != nil && r.Compromised
}

// revocations returns what is left to revoke of the certificates of compromised
// keys, once these are not in use any more.
func revocations(in Input) []Action {
	if compromisedInUse(in) {
		return nil
	}
	var actions []Action
	for _, c := range in.State.Issued {
		if k := in.State.key(c.Pin); k.Role == Compromised && c.Revoked.IsZero() && in.Now.Before(c.NotAfter) {
			actions = append(actions, Action{Kind: Revoke, Version: c.Version, Target: c.Serial, Reason: "its key is compromised"})
		}
	}
	return actions
}

// schedule returns the rollover that the configuration asks for from time to time.
func schedule(in Input) Action {
	s := in.State
	if in.Config.RolloverEvery == 0 || s.Rollover != nil || s.Certificate == nil {
		return Action{}
	}
	return Action{Kind: BeginRollover, At: s.Since.Add(in.Config.RolloverEvery),
		Reason: fmt.Sprintf("the configuration asks for one every %s", config.FormatDuration(in.Config.RolloverEvery))}
}

// TellGate says in words what the gate's verdict is for a lineage, and what a person
// has to run, where only a person can open it.
func TellGate(lineage string, v pinset.Verdict) string {
	if v.Open {
		return "open"
	}
	if len(v.Obstacles) == 0 {
		return "closed, since the ledger is not whole"
	}
	var why []string
	for _, o := range v.Obstacles {
		s := fmt.Sprintf("version %d on channel %s lacks the key's pin", o.Version, o.Channel)
		switch {
		case o.Retire:
			s += fmt.Sprintf(" until no supported client carries it and a person says so: keepkey channel retire --name %s --channel %s --version %d", lineage, o.Channel, o.Version)
		case o.Until.IsZero():
			s += fmt.Sprintf(" until a newer one is confirmed (where a person does that: keepkey channel confirm --name %s --channel %s)", lineage, o.Channel)
		default:
			s += " and may be enforced until " + stamp(o.Until)
		}
		why = append(why, s)
	}
	text := "closed: " + strings.Join(why, "; ")
	if !v.OpensAt.IsZero() {
		text += "; it opens by itself after " + stamp(v.OpensAt)
	}
	return text
}
