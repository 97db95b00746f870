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
	Lifetime Lifetime // when it was published
	Expires  time.Time
	Intended time.Time

	Confirmed time.Time // zero: it may be out, or not
	Retired   bool      // no supported client carries it
	Abandoned bool      // a person accepted that its clients are locked out
	// Superseded is when a newer one was first confirmed on the channel; zero if
	// none was.
	Superseded time.Time
}

// Published returns every pin set on every channel, in the order in which they
// were intended.
func (l Ledger) Published() []Published { return slices.Clone(l.published) }

// Channel returns the newest pin set that was intended for a channel.
func (l Ledger) Channel(name string) (Published, bool) {
	for i := len(l.published) - 1; i >= 0; i-- {
		if l.published[i].Channel == name {
			return l.published[i], true
		}
	}
	return Published{}, false
}

// Newest returns the newest pin set on any channel, or one of version 0.
func (l Ledger) Newest() Set {
	var newest Set
	for _, p := range l.published {
		if p.Version > newest.Version {
			newest = Set{Version: p.Version, Pins: p.Pins}
		}
	}
	return newest
}

// until returns the last instant at which a client may still be enforcing the pin
// set, or zero if nothing on record ends that. lifetime is the channel's as configured
// now. The longer of the two counts: one is what clients were told, the other what is
// now known of them.
func (p Published) until(lifetime Lifetime) time.Time {
	var end time.Time
	if l := p.Lifetime.Longer(lifetime); !l.Forever && !p.Superseded.IsZero() {
		end = p.Superseded.Add(l.Duration)
	}
	if !p.Expires.IsZero() && (end.IsZero() || p.Expires.Before(end)) {
		end = p.Expires
	}
	return end
}

// Enforced reports whether a client may still be enforcing the pin set at t. Clients
// that a person retired or abandoned don't count.
func (p Published) Enforced(lifetime Lifetime, t time.Time) bool {
	if p.Retired || p.Abandoned {
		return false
	}
	end := p.until(lifetime)
	return end.IsZero() || !t.After(end)
}

// Obstacle is a pin set that lacks a key and may still be enforced.
type Obstacle struct {
	Channel string `json:"channel"`
	Version int    `json:"version"`
	// Until is the last instant at which it may be enforced; zero if a newer pin set
	// has to be confirmed first, or a person has to retire this one.
	Until time.Time `json:"until,omitzero"`
	// Retire says that only a person can end it: its clients enforce it forever.
	Retire bool `json:"retire,omitempty"`
}

// Verdict is the gate's answer for a key at a time.
type Verdict struct {
	Open      bool       `json:"open"`
	Obstacles []Obstacle `json:"obstacles,omitempty"`
	// OpensAt is the first instant at which the gate opens by itself, if nothing more
	// is published; zero if it does not.
	OpensAt time.Time `json:"opens_at,omitzero"`
}

// Gate says whether a key may be served at t: whether its pin is in every pin set
// that a client may still be enforcing then. lifetimes are the channels' as configured
// now. A channel that is no longer configured counts too, as it is in the ledger.
func (l Ledger) Gate(key Pin, lifetimes map[string]Lifetime, t time.Time) Verdict {
	v := Verdict{Open: true}
	byItself := true
	for _, p := range l.published {
		lifetime := lifetimes[p.Channel]
		if slices.Contains(p.Pins, key) || !p.Enforced(lifetime, t) {
			continue
		}
		end := p.until(lifetime)
		v.Open = false
		v.Obstacles = append(v.Obstacles, Obstacle{
			Channel: p.Channel, Version: p.Version, Until: end,
			Retire: end.IsZero() && p.Lifetime.Longer(lifetime).Forever,
		})
		if end.IsZero() {
			byItself = false
		} else if next := end.Add(1); next.After(v.OpensAt) {
			v.OpensAt = next
		}
	}
	if !byItself {
		v.OpensAt = time.Time{}
	}
	return v
}
