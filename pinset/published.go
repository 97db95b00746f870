package pinset

import (
	"slices"
	"time"
)

// Published is a pin set on a channel, with everything that the ledger says about it.
type Published struct {
	Channel  string
	Version  int
	Pins     []Pin
	Clients  Clients // as they were when it was published
	Expires  time.Time
	Intended time.Time
	// Found says that it was found on the channel, and that nobody knows who published it.
	Found bool

	Places []Place // where it went; none where a person says what is out
	// Left are those of them where clients may get it still: no newer one that was
	// confirmed went there.
	Left []Place

	Confirmed time.Time // zero: it may be out, or not
	Retired   bool      // no supported client carries it
	Abandoned bool      // a person accepted that its clients are locked out
	// Superseded is when a newer one was first confirmed at all places where this one
	// was, since it was last seen there; zero if that was never so.
	Superseded time.Time

	abandoned int       // the number of that entry
	said      time.Time // when a person first retired or abandoned it
	out       bool      // it was confirmed at some time
}

// Went reports whether the pin set was published at the place with an ID.
func (p Published) Went(place string) bool {
	return slices.ContainsFunc(p.Places, Place{ID: place}.same)
}

// Published returns every pin set on every channel, in the order in which they
// were intended or found.
func (l Ledger) Published() []Published { return slices.Clone(l.published) }

// Channel returns the newest pin set that was intended for a channel.
func (l Ledger) Channel(name string) (Published, bool) {
	for i := len(l.published) - 1; i >= 0; i-- {
		if p := l.published[i]; p.Channel == name && !p.Found {
			return p, true
		}
	}
	return Published{}, false
}

// Newest returns the newest pin set on any channel, or one of version 0. It has no pins
// where its version is taken: on some channel one was found under it, or under a later one,
// that was not intended there.
func (l Ledger) Newest() Set {
	var newest Set
	for _, p := range l.published {
		if p.Version > newest.Version {
			newest = Set{Version: p.Version}
		}
		if p.Version == newest.Version && !p.Found {
			newest.Pins = p.Pins
		}
	}
	for _, p := range l.published {
		if intended, _ := l.Channel(p.Channel); p.Found && p.Version == newest.Version && intended.Version < p.Version {
			newest.Pins = nil
		}
	}
	return newest
}

// Until returns the last instant at which a client may still be enforcing the pin
// set, or zero if nothing on record ends that. A person may have ended it before. now is what the configuration says of the
// clients. The longer counts: one is what clients were told, the other what is now known
// of them.
func (p Published) Until(now Clients) time.Time {
	var end time.Time
	if c := p.Clients.Longer(now); !c.Lifetime.Forever && !p.Superseded.IsZero() {
		end = p.Superseded.Add(c.Cache).Add(c.Lifetime.Duration)
	}
	if !p.Expires.IsZero() && (end.IsZero() || p.Expires.Before(end)) {
		end = p.Expires
	}
	return end
}

// Enforced reports whether a client may still be enforcing the pin set at t. Clients
// that a person retired or abandoned don't count.
func (p Published) Enforced(now Clients, t time.Time) bool {
	if p.Retired || p.Abandoned {
		return false
	}
	end := p.Until(now)
	return end.IsZero() || !t.After(end)
}

// Over returns since when no client should be enforcing the pin set any more; zero while one
// may be.
func (p Published) Over(now Clients, t time.Time) time.Time {
	end := p.Until(now)
	if end.IsZero() || !end.Before(t) || (!p.said.IsZero() && p.said.Before(end)) {
		return p.said
	}
	return end
}

// add adds an entry that was checked.
func (l *Ledger) add(e Entry, line []byte) {
	l.entries = append(l.entries, e)
	l.size += len(line) + 1
	l.head = hashLine(line)
	newest, _ := l.Channel(e.Channel)
	if e.publishes() && !l.back(e) {
		l.published = append(l.published, Published{
			Channel: e.Channel, Version: e.Version, Pins: e.Pins, Clients: Clients{*e.Lifetime, e.Cache.Duration}, Expires: e.Expires,
			Intended: e.At, Found: e.Kind == Seen, Places: e.Places, Left: e.Places,
		})
	}
	for i := range l.published {
		p := &l.published[i]
		switch same := p.Version == e.Version; {
		case e.Kind == Readmit:
			if p.Abandoned && p.abandoned > e.After {
				p.Abandoned = false
				p.unsay()
			}
		case p.Channel != e.Channel:
		case e.Kind == Retire && same:
			p.Retired = true
			p.say(e.At)
		case e.Kind == Abandon && same:
			p.Abandoned, p.abandoned = true, e.N
			p.say(e.At)
		case e.Kind == Extend && same && !p.Found:
			p.Places = slices.Concat(p.Places, e.Places)
			p.Left = slices.Concat(p.Left, e.Places)
			p.Confirmed = time.Time{}
		case e.Kind == Seen && p.Version == newest.Version && !p.Found:
			p.Confirmed = time.Time{}
		case e.Kind == Seen && same && len(e.Pins) == 0:
			p.comesBack(e.Place)
		case e.Kind == Gone:
			p.leaves(e.Place)
			if len(p.Left) == 0 && p.Superseded.IsZero() && slices.ContainsFunc(l.published, func(o Published) bool { return o.out && o.Channel == p.Channel && p.olderThan(o) }) {
				p.Superseded = e.At
			}
		case e.Kind == Confirm && same && !p.Found && p.Confirmed.IsZero():
			p.Confirmed, p.out = e.At, true
		}
	}
	if e.Kind == Confirm {
		l.supersede(e)
	}
}

// supersede follows a confirmation: what is older is not handed out any more where the
// confirmed pin set went.
func (l *Ledger) supersede(e Entry) {
	at := slices.IndexFunc(l.published, func(p Published) bool { return p.Channel == e.Channel && p.Version == e.Version && !p.Found })
	confirmed := l.published[at]
	for i := range l.published {
		p := &l.published[i]
		if p.Channel != e.Channel || !p.olderThan(confirmed) || !p.Superseded.IsZero() {
			continue
		}
		for _, place := range confirmed.Places {
			p.leaves(place.ID)
		}
		if len(p.Left) == 0 {
			p.Superseded = e.At
		}
	}
}

// olderThan reports whether a pin set takes the place of this one on their channel. One
// that was found has no right to its version.
func (p Published) olderThan(o Published) bool {
	return p.Version < o.Version || (p.Found && p.Version == o.Version)
}

// say notes when a person said that the pin set is over.
func (p *Published) say(at time.Time) {
	if p.said.IsZero() {
		p.said = at
	}
}

// unsay notes that what a person said is not so any more, or not for this reason.
func (p *Published) unsay() {
	if !p.Retired && !p.Abandoned {
		p.said = time.Time{}
	}
}

// leaves notes that clients don't get the pin set at a place any more.
func (p *Published) leaves(place string) {
	p.Left = slices.DeleteFunc(slices.Clone(p.Left), Place{ID: place}.same)
}

// comesBack notes that clients get the pin set again: at a place, or somewhere. Where it was
// abandoned, its clients are locked out already, until they are readmitted.
func (p *Published) comesBack(place string) {
	p.Superseded, p.Retired = time.Time{}, false
	p.unsay()
	if at := slices.IndexFunc(p.Places, Place{ID: place}.same); at >= 0 {
		p.Left = append(slices.Clone(p.Left), p.Places[at])
	}
}

// back notes that a pin set was found that had been found before. It reports whether it
// was.
func (l *Ledger) back(e Entry) bool {
	for i := range l.published {
		p := &l.published[i]
		if e.Kind == Seen && p.Found && p.Channel == e.Channel && p.Version == e.Version && SamePins(p.Pins, e.Pins) {
			p.comesBack("")
			p.Clients = p.Clients.Longer(Clients{*e.Lifetime, e.Cache.Duration})
			return true
		}
	}
	return false
}
