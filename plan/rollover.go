package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"keepkey/pinset"
)

// Rollover is the replacement of the active key by a backup key, or its undoing.
// It begins only when a person asks for it.
type Rollover struct {
	From  pinset.Pin `json:"from"`
	To    pinset.Pin `json:"to"`
	Asked time.Time  `json:"asked"`
	// Switched is when the certificate for the new key was accepted. From then on
	// the new key is the active one; the old key's pin stays in the pin set for a
	// while, so that the rollover can be undone.
	Switched time.Time `json:"switched,omitzero"`
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
		s.Rollover = nil
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
	s.Rollover.Switched = now
	if undo {
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
}

// checkRollover holds a rollover to the roles of its keys.
func (s *State) checkRollover() error {
	r := s.Rollover
	if r == nil {
		return nil
	}
	from, to := s.key(r.From), s.key(r.To)
	switch {
	case from == nil || to == nil || from == to:
		return errors.New("the rollover names keys that are not there")
	case r.Switched.IsZero() && (from.Role != Active || (to.Role != Backup && to.Role != Retired)),
		!r.Switched.IsZero() && (from.Role != Retired || to.Role != Active):
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
	if waits := unpublished(in); waits != "" {
		return Action{}, "the rollover waits until the pin set with the next backup key is out: " + waits
	}
	v := Gate(in, r.To)
	at := in.Now
	if !v.Open {
		if v.OpensAt.IsZero() {
			return Action{}, "the rollover waits for the gate: " + TellGate(v)
		}
		at = v.OpensAt
	}
	if f := in.State.Failure; f != nil && f.Next.After(at) && !f.Last.After(in.Now) && !in.Force {
		at = f.Next
	}
	a = Action{Kind: Switch, At: at, Reason: "a rollover was asked for at " + stamp(r.Asked)}
	if !v.Open {
		a.Reason += ", and the gate is " + TellGate(v)
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

// retireOld returns the end of a rollover: the old key's pin leaves the pin set,
// but not before the new key is seen to be in use, and not while it can be undone.
func retireOld(in Input) (a Action, note string) {
	r, c := in.State.Rollover, in.State.Certificate
	if r == nil || r.Switched.IsZero() || c == nil {
		return Action{}, ""
	}
	inUse := in.Disk.Live == c.Version && len(Outstanding(in.Config.Deploy, c.Deployed)) == 0
	for _, addr := range in.Config.Check {
		inUse = inUse && slices.Contains(c.Checked, addr)
	}
	if !inUse {
		return Action{}, "the old key's pin stays in the pin set until the new key is deployed and seen to be served"
	}
	return Action{Kind: RetireOld, At: r.Switched.Add(in.Config.KeepOldPin),
		Reason: "the rollover can be undone until then (keepkey rotate --undo)"}, ""
}

// TellGate says in words what the gate's verdict is.
func TellGate(v pinset.Verdict) string {
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
			s += " until a person retires it (keepkey channel retire)"
		case o.Until.IsZero():
			s += " until a newer one is confirmed"
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
