package pinset

import (
	"slices"
	"time"
)

// Clients is what is known of the clients of a channel.
type Clients struct {
	// Lifetime is how long one goes on enforcing a pin set after it downloaded it.
	Lifetime Lifetime
	// Cache is how long one can still be handed an older document after a newer one was
	// confirmed: what caches hold, and how long a download takes.
	Cache time.Duration
}

// Longer returns the longer of each.
func (c Clients) Longer(o Clients) Clients {
	return Clients{c.Lifetime.Longer(o.Lifetime), max(c.Cache, o.Cache)}
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
	// Newer is the newest version on the channel, unless that is this one. Confirmed says
	// that it is out.
	Newer     int  `json:"newer,omitempty"`
	Confirmed bool `json:"confirmed,omitempty"`
	// Places are those where clients may get it still, since no newer one that is out went
	// there.
	Places []Place `json:"places,omitempty"`
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
// that a client may still be enforcing then. clients is what is configured now, by
// channel. A channel that is no longer configured counts too, as it is in the ledger.
func (l Ledger) Gate(key Pin, clients map[string]Clients, t time.Time) Verdict {
	v := Verdict{Open: true}
	byItself := true
	for _, p := range l.published {
		of := clients[p.Channel]
		if slices.Contains(p.Pins, key) || !p.Enforced(of, t) {
			continue
		}
		end := p.Until(of)
		v.Open = false
		o := Obstacle{Channel: p.Channel, Version: p.Version, Until: end, Retire: end.IsZero() && p.Clients.Longer(of).Lifetime.Forever}
		if newest, _ := l.Channel(p.Channel); newest.Version > p.Version || p.Found {
			o.Newer, o.Confirmed = newest.Version, !newest.Confirmed.IsZero()
		}
		if end.IsZero() && o.Confirmed && p.Superseded.IsZero() {
			o.Places = p.Left
		}
		v.Obstacles = append(v.Obstacles, o)
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
