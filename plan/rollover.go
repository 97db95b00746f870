package plan

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"keepkey/pinset"
)

// Rollover is the replacement of the active key by a backup key, or its undoing.
// It begins only when a person asks for it, now or by a schedule.
type Rollover struct {
	From  pinset.Pin `json:"from"`
	To    pinset.Pin `json:"to"`
	Asked time.Time  `json:"asked"`
	// Compromised says that others may have the key From. The switch away from it waits
	// for no publication, its pin is published no more, and there is no way back to it.
	Compromised bool `json:"compromised,omitempty"`
	// BreakageAccepted says that a person gives up the clients that keep the gate of
	// the key To closed. Only with Compromised.
	BreakageAccepted bool `json:"breakage_accepted,omitempty"`
	// Entries is how long the ledger was when a person accepted that: clients that were
	// given up before are not this rollover's.
	Entries int `json:"entries,omitempty"`
	// Switched is when the certificate for the new key was accepted. From then on
	// the new key is the active one; the old key's pin stays in the pin set for a
	// while, so that the rollover can be undone.
	Switched time.Time `json:"switched,omitzero"`
	// Before is the certificate that was in use before the switch: with it, the rollover
	// can be undone without a CA.
	Before *Certificate `json:"before,omitempty"`
	// Now says that nothing waits for hosts that do not serve the key To yet. Only with
	// Compromised.
	Now bool `json:"now,omitempty"`
	// Interrupted is the rollover that was not over when this one, of a key that is
	// compromised, took its place. It comes back when this one is called off: servers
	// may still present the key that it replaces.
	Interrupted *Rollover `json:"interrupted,omitempty"`
}

func (r *Rollover) clone() *Rollover {
	if r == nil {
		return nil
	}
	c := *r
	c.Before = r.Before.clone()
	c.Interrupted = r.Interrupted.clone()
	return &c
}

// Pending returns the rollover that waits for its switch, or nil.
func (s State) Pending() *Rollover {
	if r := s.Rollover; r != nil && r.Switched.IsZero() && s.Certificate != nil {
		return r
	}
	return nil
}

// beginRollover has a backup key become the active one; a zero pin stands for the first.
func (s *State) beginRollover(to pinset.Pin, now time.Time) error {
	backups := s.Backups()
	if to.IsZero() && len(backups) > 0 {
		to = backups[0].Pin
	}
	switch k := s.key(to); {
	case s.Certificate == nil || k == nil || k.Role != Backup:
		return s.refuse(Finding{Code: NothingYet})
	case s.Rollover != nil && s.Rollover.Switched.IsZero():
		return nil // asked for already; it goes on
	case s.Rollover != nil:
		return s.refuse(Finding{Code: RolloverNotOver, Time: s.Rollover.Switched})
	}
	s.Rollover = &Rollover{From: s.Active().Pin, To: to, Asked: now}
	return nil
}

// undo has the key before the last switch become the active one again, or calls off a
// rollover that has not switched yet.
//
// The clients that were given up for a rollover that is called off count again.
func (s *State) undo(now time.Time) (*pinset.Entry, error) {
	r := s.Rollover
	switch {
	case r == nil:
		return nil, s.refuse(Finding{Code: NothingToUndo})
	case r.Switched.IsZero() && s.key(r.To).Role == Retired:
		return nil, nil // asked for already
	case r.Switched.IsZero():
		s.Rollover, s.Since = r.Interrupted, now
		if r.BreakageAccepted && r.Entries > 0 {
			return &pinset.Entry{Kind: pinset.Readmit, After: r.Entries, By: pinset.ByPerson}, nil
		}
	case r.Compromised:
		return nil, s.refuse(Finding{Code: NoWayBack})
	default:
		s.Rollover = &Rollover{From: r.To, To: r.From, Asked: now, Before: r.Before}
	}
	return nil, nil
}

func (s *State) refuse(f Finding) error { return refuse(s.Lineage, f) }

// completeSwitch makes the rollover's new key the active one.
func (s *State) completeSwitch(now time.Time) {
	from, to := s.key(s.Rollover.From), s.key(s.Rollover.To)
	undo := to.Role == Retired
	from.Role, to.Role = Retired, Active
	s.Rollover.Switched, s.Rollover.Interrupted, s.Since = now, nil, now
	s.Rollover.Before = s.Certificate
	switch {
	case s.Rollover.Compromised:
		from.Role, s.Rollover.Before = Compromised, nil
	case undo:
		// The key that was active in between goes back among the backups, and nothing has
		// to leave the pin set.
		from.Role, s.Rollover = Backup, nil
	}
}

// usable returns the backup keys whose files are there and whole.
func (in Input) usable() []Key {
	return slices.DeleteFunc(in.State.Backups(), func(k Key) bool { return in.Disk.KeyProblems[k.Pin] != nil })
}

// NextActive is the key that a rollover goes to: the first backup key that is usable, or
// zero.
func NextActive(in Input) pinset.Pin {
	if usable := in.usable(); len(usable) > 0 {
		return usable[0].Pin
	}
	return pinset.Pin{}
}

// writeOffs returns the backup keys to write off: their files are missing or damaged, and
// others have taken their places in every pin set. That waits as long as an old pin does
// after a rollover, since somebody may restore the files.
func writeOffs(in Input) []Action {
	usable := in.usable()
	if len(usable) < wantedBackups(in) || len(usable) == len(in.State.Backups()) || unpublished(in) != nil {
		return nil
	}
	newest := slices.MaxFunc(usable, func(a, b Key) int { return a.Created.Compare(b.Created) })
	var actions []Action
	for _, k := range in.State.Backups() {
		if r := in.State.Rollover; in.Disk.KeyProblems[k.Pin] != nil && (r == nil || r.To != k.Pin) {
			actions = append(actions, Action{Kind: WriteOff, Pin: k.Pin, At: newest.Created.Add(in.Goal.KeepOldPin), Why: Why{Code: WhyKeyLost}})
		}
	}
	return actions
}

// switchKey returns the switch of a pending rollover with the time at which it can
// be, or a note that says what it waits for.
func switchKey(in Input) (Action, *Finding) {
	r := in.State.Pending()
	if r == nil {
		return Action{}, nil
	}
	if in.Disk.KeyProblems[r.To] != nil {
		return Action{}, &Finding{Code: SuccessorMissing, Pin: r.To, Compromised: r.Compromised, CanRotate: len(in.usable()) > 0}
	}
	if r.Compromised { // no publication is waited for
		if len(in.usable()) < wantedBackups(in) {
			return Action{}, &Finding{Code: BackupsAwaited, Compromised: true}
		}
	} else if waits := unpublished(in); waits != nil {
		return Action{}, waits
	}
	slack := in.slack()
	v := gateAt(in, r.To, in.Now.Add(-slack))
	a := Action{Kind: SwitchKey, At: in.Now, Version: in.storedBefore(), Why: Why{Code: WhyRolloverAsked, Asked: r.Asked, Gate: v}}
	if r.Compromised {
		a.Why.Code = WhyCompromiseDeclared
	}
	if !v.Open {
		if v.OpensAt.IsZero() {
			return Action{}, &Finding{Code: RolloverWaits, Gate: v, Compromised: r.Compromised}
		}
		a.At = v.OpensAt.Add(slack)
	}
	if at, _, waits := in.retries(a); waits && at.After(a.At) {
		a.At = at
	}
	return a, nil
}

// storedBefore is the version of the stored certificate with which a rollover can be undone;
// 0 if there is none that would do for a while.
func (in Input) storedBefore() int {
	r := in.State.Pending()
	if r == nil || in.Disk.BeforeProblem != nil || in.State.key(r.To).Role != Retired {
		return 0
	}
	c := r.Before
	if c == nil || c.Pin != r.To || !SameNames(c.Domains, in.Goal.Domains) || in.Now.Before(c.NotBefore) || c.expiresSoon(in.Now) {
		return 0
	}
	return c.Version
}

// unpublished finds a channel that does not have the newest pin set yet: a
// publication that failed always blocks a rollover.
func unpublished(in Input) *Finding {
	if in.Disk.LedgerProblem != nil {
		return &Finding{Code: LedgerAwaited}
	}
	if len(in.usable()) < wantedBackups(in) {
		return &Finding{Code: BackupsAwaited}
	}
	want := Wanted(in)
	for _, ch := range in.Goal.Channels {
		newest, _ := in.Ledger.Channel(ch.Name)
		_, lacks := publication(in, ch, want)
		if lacks || (!ch.Manual && newest.Confirmed.IsZero()) {
			return &Finding{Code: PublicationAwaited, Channel: ch.Name, Version: want.Version}
		}
	}
	return nil
}

// wantedBackups is how many backup keys there should be: one more while a switch
// is pending, since one of them is about to leave.
func wantedBackups(in Input) int {
	n := in.Goal.Backups
	if r := in.State.Pending(); r != nil && in.State.key(r.To).Role == Backup {
		n++
	}
	return n
}

// retirePin returns the end of a rollover: the old key's pin leaves the pin set, but
// not before every host on record serves the new key, and not while it can be undone.
func retirePin(in Input) (Action, *Finding) {
	r := in.State.Rollover
	if r == nil || r.Switched.IsZero() || in.State.Certificate == nil {
		return Action{}, nil
	}
	if r.Compromised {
		a := Action{Kind: RetirePin, Why: Why{Code: WhyKeyCompromised}}
		behind := in.behind(in.deployed)
		if len(behind) == 0 || r.Now {
			return a, nil
		}
		note := &Finding{Code: CompromisedPinKept, Hosts: behind, Target: in.otherBehind(in.deployed)}
		if in.Goal.ForceAfter == 0 {
			return Action{}, note
		}
		a.At = r.Switched.Add(in.Goal.ForceAfter)
		note.Time = a.At
		return a, note
	}
	if behind := in.behind(in.checked); len(behind) > 0 {
		return Action{}, &Finding{Code: OldPinKept, Hosts: behind, Target: in.otherBehind(in.checked)}
	}
	return Action{Kind: RetirePin, At: r.Switched.Add(in.Goal.KeepOldPin), Why: Why{Code: WhyUndoPossible}}, nil
}

// behind returns the hosts that do not satisfy something yet: their IDs, with their
// names where they are known. This host is among them as long as it is not on record.
func (in Input) behind(ready func(id string) bool) []string {
	var behind []string
	for _, id := range in.hosts() {
		if ready(id) {
			continue
		}
		if name := in.State.Hosts[id].Hostname; name != "" {
			id = fmt.Sprintf("%s (%s)", id, name)
		}
		behind = append(behind, id)
	}
	slices.Sort(behind)
	return behind
}

// otherBehind returns the ID of another host that is behind, or "".
func (in Input) otherBehind(ready func(id string) bool) string {
	for _, id := range slices.Sorted(maps.Keys(in.State.Hosts)) {
		if id != in.Host && !ready(id) {
			return id
		}
	}
	return ""
}

// hosts returns the IDs of all hosts on record and of this one.
func (in Input) hosts() []string {
	ids := []string{in.Host}
	for id := range in.State.Hosts {
		if id != in.Host {
			ids = append(ids, id)
		}
	}
	return ids
}

// deployed reports whether a host installed the newest certificate and all deploy
// hooks took it up.
func (in Input) deployed(id string) bool {
	c, h := in.State.Certificate, in.State.Hosts[id]
	if id == in.Host && in.Disk.Live != c.Version {
		return false
	}
	return h.Installed == c.Version && len(Outstanding(in.Goal.Deploy, h.Deployed)) == 0
}

// checked reports whether, besides, the new key was seen to be served there.
func (in Input) checked(id string) bool {
	return in.deployed(id) && len(Outstanding(in.Goal.Check, in.State.Hosts[id].Checked)) == 0
}

// schedule returns the rollover that the configuration asks for from time to time.
func schedule(in Input) Action {
	s := in.State
	if in.Goal.RolloverEvery == 0 || s.Rollover != nil || s.Certificate == nil {
		return Action{}
	}
	to := NextActive(in)
	if to.IsZero() {
		return Action{} // another is made first
	}
	return Action{Kind: BeginRollover, Pin: to, At: s.Since.Add(in.Goal.RolloverEvery), Why: Why{Code: WhySchedule, Every: in.Goal.RolloverEvery}}
}
