package page

import (
	"slices"
	"time"

	"keepkey/pinset"
	"keepkey/plan"
)

// Timeline is when each key was and will be served, which pin sets may be enforced when, and
// when the gate opens.
type Timeline struct {
	Name     string
	Now      time.Time
	From, To time.Time // what the picture shows
	Switch   Switch

	Keys        []KeyTime // in the order in which they were served
	Channels    []ChannelTime
	Gates       []GateTime // of each backup key, the next active one first
	Certificate *CertificateTime
	Rollover    *RolloverTime // the next one, if one is foreseen
	LeftOut     int           // rows that there was no room for
}

// Switch answers whether the next backup key can take over.
type Switch struct {
	Ready bool      // it can, now
	Asked bool      // it will, by itself
	At    time.Time // the earliest time; zero when nobody can tell
	Text  string
}

// Span is a stretch of time. Its beginning is zero where it is not on record, its end where
// nothing is known to end it.
type Span struct{ From, To time.Time }

// KeyTime is when a key was served, and will be.
type KeyTime struct {
	Pin    pinset.Pin
	Role   plan.Role
	Served []Span
	Ahead  Span // what is expected; zero if nothing is
}

// ChannelTime is what clients of a channel may enforce.
type ChannelTime struct {
	Name    string
	PinSets []PinSetTime // the oldest first
}

// PinSetTime is when clients may enforce a pin set.
type PinSetTime struct {
	Version int
	Span
	Confirmed bool
	Person    bool // nothing ends it but a person
	// Lacks says that the next backup key's pin is not in it: it keeps the gate closed for as
	// long as it may be enforced.
	Lacks bool
}

// GateTime is when a backup key may take over.
type GateTime struct {
	Pin   pinset.Pin
	Open  bool
	Opens time.Time // by itself; zero when it is open, or nobody can tell
	// Person says that it does not open before a person acts.
	Person bool
}

// CertificateTime is the validity of the newest certificate.
type CertificateTime struct {
	Version int
	Span
	Renewal time.Time // when the next one is due; zero when that is not foreseen
	Window  Span      // when the CA wants it to be asked for; zero where it does not say
}

// RolloverTime is when keys will be switched.
type RolloverTime struct {
	To    pinset.Pin
	At    time.Time // zero when nobody can tell
	Asked bool      // else it is the schedule's, and lies ahead
}

// Bounds of a timeline.
const (
	maxKeys     = 6
	maxGates    = 6
	maxChannels = 12
	maxPinSets  = 6  // of a channel
	maxServed   = 16 // times that a key was served

	day     = 24 * time.Hour
	minSpan = 30 * day
	maxSpan = 2 * 365 * day
)

// TimelineOf computes the timeline of a lineage from what was found, what is planned
// ([plan.Forecast]), and the end of its journal.
func TimelineOf(in plan.Input, forecast plan.Plan, events []plan.Event) Timeline {
	t := Timeline{Name: in.Goal.Name, Now: in.Now}
	for _, k := range in.State.Backups() {
		if in.Disk.KeyProblems[k.Pin] == nil {
			v := plan.Gate(in, k.Pin)
			t.Gates = append(t.Gates, GateTime{Pin: k.Pin, Open: v.Open, Opens: v.OpensAt, Person: personOpens(in, v)})
		}
	}
	t.Rollover = rolloverOf(in, forecast)
	t.Switch = switchOf(in, forecast, t.Rollover)
	t.Certificate = certificateOf(in, forecast)
	t.Keys = keysOf(in, events, t.Rollover)
	t.Channels = channelsOf(in)
	t.frame()
	t.bound()
	return t
}

// personOpens reports whether a gate stays closed until a person acts: not even a newer pin set
// that keepkey publishes and confirms will open it.
func personOpens(in plan.Input, v plan.Verdict) bool {
	return v.Shut != "" || slices.ContainsFunc(v.Obstacles, func(o pinset.Obstacle) bool {
		ch, configured := in.Goal.Channel(o.Channel)
		return o.Until.IsZero() && (!configured || ch.Manual || len(o.Places) > 0 || (o.Retire && o.Confirmed))
	})
}

// rolloverOf returns the rollover that is to come. The schedule's needs an open gate, too.
func rolloverOf(in plan.Input, forecast plan.Plan) *RolloverTime {
	var r *RolloverTime
	if pending := in.State.Pending(); pending != nil {
		r = &RolloverTime{To: pending.To, Asked: true}
	}
	for _, a := range forecast.Actions {
		switch {
		case a.Kind == plan.BeginRollover && r == nil:
			r = &RolloverTime{To: a.Pin, Asked: !a.At.After(in.Now)}
			if v := plan.Gate(in, a.Pin); !r.Asked && (v.Open || !v.OpensAt.IsZero()) {
				r.At = later(a.At, v.OpensAt)
			}
		case a.Kind == plan.SwitchKey && r != nil:
			r.At = a.At
			return r
		}
	}
	return r
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// certificateOf returns the validity of the newest certificate, and when the next is due.
func certificateOf(in plan.Input, forecast plan.Plan) *CertificateTime {
	c := in.State.Certificate
	if c == nil {
		return nil
	}
	t := &CertificateTime{Version: c.Version, Span: Span{c.NotBefore, c.NotAfter}}
	for _, a := range forecast.Actions {
		if a.Kind == plan.Obtain {
			t.Renewal, t.Window = a.At, Span{a.Why.Start, a.Why.End}
			break
		}
	}
	return t
}

// keysOf returns when each key was served, as far as the journal goes back, and will be.
func keysOf(in plan.Input, events []plan.Event, next *RolloverTime) []KeyTime {
	active := in.State.Active()
	if active == nil || in.State.Certificate == nil {
		return nil
	}
	var keys []KeyTime
	of := func(pin pinset.Pin) *KeyTime {
		i := slices.IndexFunc(keys, func(k KeyTime) bool { return k.Pin == pin })
		if i < 0 {
			k := KeyTime{Pin: pin}
			if at := slices.IndexFunc(in.State.Keys, func(k plan.Key) bool { return k.Pin == pin }); at >= 0 {
				k.Role = in.State.Keys[at].Role
			}
			keys, i = append(keys, k), len(keys)
		}
		return &keys[i]
	}
	var begun plan.Event // the last switch
	for _, e := range switches(in, events) {
		served := Span{To: e.At}
		switch {
		case begun.Pin == e.From:
			served.From = begun.At
		case begun.Pin.IsZero() && e.From == in.State.Keys[0].Pin:
			served.From = first(in, events)
		}
		k := of(e.From)
		k.Served = append(k.Served, served)
		begun = e
	}
	now := Span{From: in.State.Since, To: in.Now}
	switch {
	case begun.Pin == active.Pin:
		now.From = begun.At
	case begun.Pin.IsZero() && active.Pin == in.State.Keys[0].Pin:
		now.From = first(in, events)
	}
	k := of(active.Pin)
	k.Served, k.Ahead = append(k.Served, now), Span{From: in.Now}
	if next != nil && !next.At.IsZero() {
		k.Ahead.To = next.At
		of(next.To).Ahead = Span{From: next.At}
	}
	return keys
}

// first is when the first key of a lineage began to be served: with its first certificate.
func first(in plan.Input, events []plan.Event) time.Time {
	for _, e := range events {
		if e.Action == plan.Obtain && e.Version == 1 && e.Error == "" {
			return e.At
		}
	}
	return in.State.Keys[0].Created
}

// switches returns the switches of keys that are on record, the oldest first. The journal is
// for people, and may have lost the last one, which the state knows until it is over.
func switches(in plan.Input, events []plan.Event) []plan.Event {
	var all []plan.Event
	for _, e := range events {
		if e.Error == "" && !e.From.IsZero() && !e.Pin.IsZero() && !e.At.After(in.Now) {
			all = append(all, e)
		}
	}
	if r := in.State.Rollover; r != nil && !r.Switched.IsZero() && !slices.ContainsFunc(all, func(e plan.Event) bool { return e.At.Equal(r.Switched) }) {
		all = append(all, plan.Event{At: r.Switched, Pin: r.To, From: r.From})
	}
	slices.SortStableFunc(all, func(a, b plan.Event) int { return a.At.Compare(b.At) })
	return all
}

// channelsOf returns when clients may enforce each pin set, by channel: those that keep the
// gate closed first.
func channelsOf(in plan.Input) []ChannelTime {
	next, clients, ended := plan.NextActive(in), in.Goal.Clients(), endedByPerson(in.Ledger)
	var channels []ChannelTime
	for _, p := range in.Ledger.Published() {
		of := clients[p.Channel]
		set := PinSetTime{
			Version: p.Version, Span: Span{p.Intended, p.Until(of)}, Confirmed: !p.Confirmed.IsZero(),
			Lacks: !next.IsZero() && !slices.Contains(p.Pins, next),
		}
		set.Person = set.To.IsZero() && needsPerson(in, p)
		if p.Retired || p.Abandoned {
			set.To, set.Person = ended[setID{p.Channel, p.Version}], false
		}
		set.Lacks = set.Lacks && p.Enforced(of, in.Now)
		i := slices.IndexFunc(channels, func(ch ChannelTime) bool { return ch.Name == p.Channel })
		if i < 0 {
			channels, i = append(channels, ChannelTime{Name: p.Channel}), len(channels)
		}
		channels[i].PinSets = append(channels[i].PinSets, set)
	}
	slices.SortStableFunc(channels, func(a, b ChannelTime) int {
		switch {
		case a.lacks() == b.lacks():
			return 0
		case a.lacks():
			return -1
		}
		return 1
	})
	return channels
}

// needsPerson reports whether a pin set that nothing on record ends will be enforced until a
// person says otherwise: no newer one can take its place for its clients.
func needsPerson(in plan.Input, p pinset.Published) bool {
	ch, configured := in.Goal.Channel(p.Channel)
	latest, _ := in.Ledger.Channel(p.Channel)
	out := (p.Version < latest.Version || p.Found) && !latest.Confirmed.IsZero()
	return !configured || (out && (len(p.Left) > 0 || p.Clients.Longer(ch.Clients).Lifetime.Forever))
}

// lacks reports whether the channel keeps the gate of the next backup key closed.
func (ch ChannelTime) lacks() bool {
	return slices.ContainsFunc(ch.PinSets, func(s PinSetTime) bool { return s.Lacks })
}

// setID names a pin set of a channel.
type setID struct {
	channel string
	version int
}

// endedByPerson returns when a person said that a pin set counts no more.
func endedByPerson(l pinset.Ledger) map[setID]time.Time {
	ended := make(map[setID]time.Time)
	for _, e := range l.Entries() {
		if e.Kind == pinset.Retire || e.Kind == pinset.Abandon {
			ended[setID{e.Channel, e.Version}] = e.At
		}
	}
	return ended
}

// frame chooses what the picture shows: back to the oldest pin set that may be enforced, or
// the last switch; ahead to what comes last of the gate's opening, a rollover, a renewal and
// the certificate's end. The gate's opening is what people look for, so that what lies far
// behind it must not squeeze it.
func (t *Timeline) frame() {
	ahead, gate := minSpan/2, time.Duration(0)
	reach := func(at time.Time) { ahead = max(ahead, min(at.Sub(t.Now), maxSpan)) }
	if c := t.Certificate; c != nil {
		reach(c.To)
		reach(c.Renewal)
	}
	if r := t.Rollover; r != nil {
		reach(r.At)
	}
	for _, g := range t.Gates {
		reach(g.Opens)
		if gate == 0 && g.Opens.After(t.Now) {
			gate = min(g.Opens.Sub(t.Now), maxSpan)
		}
	}
	if gate > 0 {
		ahead = min(ahead, max(8*gate, minSpan))
	}
	behind := ahead / 6
	back := func(at time.Time) {
		if !at.IsZero() {
			behind = max(behind, min(t.Now.Sub(at), maxSpan))
		}
	}
	for _, k := range t.Keys {
		if k.Role == plan.Active && len(k.Served) > 0 {
			back(k.Served[len(k.Served)-1].From)
		}
	}
	for _, ch := range t.Channels {
		for _, s := range ch.PinSets {
			if s.To.IsZero() || s.To.After(t.Now) {
				back(s.From)
			}
		}
	}
	ahead = min(ahead+ahead/12, maxSpan*3/4)
	behind = min(behind+behind/12, ahead, maxSpan-ahead)
	ahead = max(ahead, minSpan-behind)
	t.From, t.To = t.Now.Add(-behind), t.Now.Add(ahead)
}

// bound leaves out what is not in the picture, and what is more than one can look at.
func (t *Timeline) bound() {
	past := func(s Span) bool { return !s.To.IsZero() && s.To.Before(t.From) }
	for i := range t.Keys {
		k := &t.Keys[i]
		k.Served = slices.DeleteFunc(k.Served, past)
		k.Served, _ = bounded(k.Served, maxServed, func(Span) bool { return false })
	}
	t.Keys = slices.DeleteFunc(t.Keys, func(k KeyTime) bool { return len(k.Served) == 0 && k.Ahead.From.IsZero() })
	more := 0
	t.Keys, more = bounded(t.Keys, maxKeys, func(k KeyTime) bool { return !k.Ahead.From.IsZero() })
	t.LeftOut += more
	for i := range t.Channels {
		ch := &t.Channels[i]
		ch.PinSets = slices.DeleteFunc(ch.PinSets, func(s PinSetTime) bool { return past(s.Span) })
		ch.PinSets, more = bounded(ch.PinSets, maxPinSets, func(s PinSetTime) bool { return s.Lacks })
		t.LeftOut += more
	}
	t.Channels = slices.DeleteFunc(t.Channels, func(ch ChannelTime) bool { return len(ch.PinSets) == 0 })
	t.LeftOut += max(len(t.Channels)-maxChannels, 0) + max(len(t.Gates)-maxGates, 0)
	t.Channels = t.Channels[:min(len(t.Channels), maxChannels)]
	t.Gates = t.Gates[:min(len(t.Gates), maxGates)]
}

// bounded returns at most n: the last, and before that those that matter. It says how many are
// left out.
func bounded[T any](all []T, n int, matters func(T) bool) (kept []T, more int) {
	more = max(len(all)-n, 0)
	kept = slices.Clone(all)
	for range more {
		i := slices.IndexFunc(kept[:len(kept)-1], func(v T) bool { return !matters(v) })
		kept = slices.Delete(kept, max(i, 0), max(i, 0)+1)
	}
	return kept, more
}
