package plan

import (
	"slices"
	"time"

	"keepkey/pinset"
)

// declareCompromise puts on record that others may have keys: those of the action, or the
// active one if it names none. The active one is replaced by a backup key, perhaps at the
// price of clients, which takes the place of any other rollover. Any other is not served or
// published again from now on.
func (s *State) declareCompromise(a Action, now time.Time) error {
	active := s.Active()
	if s.Certificate == nil || active == nil {
		return s.refuse(Finding{Code: NothingYet})
	}
	keys := a.Keys
	r := s.Rollover
	under := r != nil && r.Compromised
	switch {
	case len(keys) > 0:
	case r != nil && !r.Switched.IsZero() && !r.Compromised:
		return s.refuse(Finding{Code: WhichKey, Pins: []pinset.Pin{active.Pin, r.From}})
	case under && !r.Switched.IsZero():
		r.Now = r.Now || a.Now // asked for already; it goes on
		return nil
	default:
		keys = []pinset.Pin{active.Pin}
	}
	for _, pin := range keys {
		if s.key(pin) == nil {
			return s.refuse(Finding{Code: NoSuchKey, Pin: pin})
		}
	}
	to := s.key(a.Pin)
	fits := to != nil && to.Role == Backup && !slices.Contains(keys, a.Pin)
	switch {
	case under && r.Switched.IsZero() && (slices.Contains(keys, active.Pin) || slices.Contains(keys, r.To)):
		// Asked for already; it goes on, perhaps with another key, since the one before is
		// lost, or compromised, too. What a person accepted was for that one.
		if slices.Contains(keys, r.To) && !fits {
			return s.refuse(Finding{Code: NoSuccessor})
		}
		if fits && r.To != a.Pin {
			r.To, r.BreakageAccepted, r.Entries = a.Pin, false, 0
		}
		if a.Accept && !r.BreakageAccepted {
			r.BreakageAccepted, r.Entries = true, a.Entries
		}
		r.Now = r.Now || a.Now
	case !slices.Contains(keys, active.Pin):
	case !fits:
		return s.refuse(Finding{Code: NoSuccessor})
	default:
		s.Rollover = &Rollover{From: active.Pin, To: a.Pin, Asked: now, Compromised: true, BreakageAccepted: a.Accept, Now: a.Now, Interrupted: r}
		if a.Accept {
			s.Rollover.Entries = a.Entries
		}
	}
	for _, pin := range keys {
		if pin != active.Pin {
			s.compromise(pin)
		}
	}
	return nil
}

// compromise marks a key that is not the active one. A rollover that would serve it, or
// that keeps its pin published, ends.
func (s *State) compromise(pin pinset.Pin) {
	for r := &s.Rollover; *r != nil; {
		switch ro := *r; {
		case ro.Switched.IsZero() && ro.To == pin && s.key(pin).Role == Retired:
			// There is no way back to it any more, but servers may not have left it yet.
			*r = &Rollover{From: pin, To: ro.From, Asked: ro.Asked, Switched: s.Since, Compromised: true, Interrupted: ro.Interrupted}
		case ro.Switched.IsZero() && ro.To == pin:
			*r = ro.Interrupted
			continue
		case !ro.Switched.IsZero() && ro.From == pin:
			ro.Compromised, ro.Before = true, nil
		}
		r = &(*r).Interrupted
	}
	s.key(pin).Role = Compromised
}

// Successor picks the key that takes over from a compromised one: the first backup
// key that is usable and whose gate is open then, or else the first that is usable. Those that
// are compromised, too, don't count. It is zero when there is none.
func Successor(in Input, compromised ...pinset.Pin) pinset.Pin {
	usable := slices.DeleteFunc(in.usable(), func(k Key) bool { return slices.Contains(compromised, k.Pin) })
	chosen := func(k Key) bool { r := in.State.Pending(); return r != nil && r.Compromised && k.Pin == r.To }
	if i := slices.IndexFunc(usable, chosen); i >= 0 {
		return usable[i].Pin
	}
	for _, k := range usable {
		if EmergencyGate(in, k.Pin).Open {
			return k.Pin
		}
	}
	if len(usable) > 0 {
		return usable[0].Pin
	}
	return pinset.Pin{}
}

// abandonments returns the clients to give up, so that a compromised key can be
// replaced: a person accepted that.
func abandonments(in Input) []Action {
	r := in.State.Pending()
	if r == nil || !r.BreakageAccepted {
		return nil
	}
	var actions []Action
	for _, o := range Gate(in, r.To).Obstacles {
		actions = append(actions, Action{Kind: Abandon, Channel: o.Channel, Version: o.Version, Why: Why{Code: WhyBreakageAccepted}})
	}
	return actions
}

// compromisedInUse reports whether clients may still be presented with a compromised
// key. Until that is over, nothing is published: a pin set with it must not be, and
// one without it would lock them out.
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
	for _, o := range in.State.Orders {
		// What was issued and never stored has to be revoked, too.
		if in.State.key(o.Pin).Role == Compromised {
			actions = append(actions, Action{Kind: Collect, Pin: o.Pin, Target: o.URL, Why: Why{Code: WhyKeyCompromised}})
		}
	}
	for _, c := range in.State.Issued {
		if k := in.State.key(c.Pin); k.Role == Compromised && c.Revoked.IsZero() && in.Now.Before(c.NotAfter) {
			actions = append(actions, Action{Kind: Revoke, Version: c.Version, Target: c.Serial, Why: Why{Code: WhyKeyCompromised}})
		}
	}
	return actions
}
