package status

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"keepkey/pinset"
	"keepkey/plan"
)

// Gate is the gate's answer for a key.
type Gate struct {
	Pin       pinset.Pin `json:"pin,omitzero"` // of the key, where the gate is that of a lineage
	Open      bool       `json:"open"`
	OpensAt   time.Time  `json:"opens_at,omitzero"` // by itself; zero when a person is needed
	Obstacles []Obstacle `json:"obstacles,omitempty"`
	// Reported are pin sets that lack the key and that clients enforce, as they report.
	Reported []InUse `json:"reported,omitempty"`
	// Shut is what keeps the gate closed, whatever the pin sets say: a problem's code.
	Shut plan.Code `json:"shut,omitempty"`
	Text string    `json:"text"`
	Do   []string  `json:"do,omitempty"` // what a person can do, with the commands to run
}

// Obstacle is a pin set that lacks the key and may still be enforced.
type Obstacle struct {
	Channel string    `json:"channel"`
	Version int       `json:"version"`
	Until   time.Time `json:"until,omitzero"` // zero: see Retire
	Retire  bool      `json:"retire,omitempty"`
}

// GateOf puts the gate's verdict into words, with what a person has to run where only
// a person can open it. Every command in it works at once, and is safe to run where
// what stands before it is true.
func GateOf(name string, v plan.Verdict) Gate {
	g := Gate{Open: v.Open, OpensAt: v.OpensAt, Shut: v.Shut, Text: gateText(v)}
	switch v.Shut {
	case plan.LedgerDamaged:
		g.Do = mendLedger(name)
	case plan.ChannelsMissing:
		g.Do = []string{
			"if clients pin this key, list the channels by which they get its pins in the configuration, such as: " + compiledIn,
			"if no client does, say so in the configuration: channels: []",
		}
	case plan.ReportsDamaged:
		g.Do = mendReports(name)
	}
	for _, r := range v.Reported {
		g.Reported = append(g.Reported, InUse{ID: r.ID, Channel: r.Set.Channel, Version: r.Set.Version, Over: r.Over, Last: r.Last})
		if !v.Open {
			g.Do = append(g.Do, dismissal(name, r.ID))
		}
	}
	for _, o := range v.Obstacles {
		g.Obstacles = append(g.Obstacles, Obstacle{Channel: o.Channel, Version: o.Version, Until: o.Until, Retire: o.Retire})
		g.Do = append(g.Do, remove(name, o, v.Channels)...)
	}
	g.Do = slices.Compact(g.Do)
	return g
}

// compiledIn is the channel of clients that carry pins in their code.
const compiledIn = "channels: [{name: app, lifetime: forever, confirm: manual}]"

// mendLedger is what to do about a damaged ledger.
func mendLedger(name string) []string {
	return []string{
		"restore it from a backup, then check: keepkey ledger verify --name " + name,
		"if it is lost for good, begin a new one: keepkey ledger restart --name " + name,
	}
}

// remove says what a person can do about an obstacle that does not end by itself.
func remove(name string, o pinset.Obstacle, channels []plan.Channel) []string {
	of := fmt.Sprintf("--name %s --channel %s", name, o.Channel)
	i := slices.IndexFunc(channels, func(ch plan.Channel) bool { return ch.Name == o.Channel })
	var do []string
	for _, p := range o.Places {
		do = append(do, fmt.Sprintf("once clients get nothing from %s any more: keepkey channel retire %s --place %s", p.Name, of, p.ID))
	}
	switch {
	case !o.Until.IsZero():
	case i < 0, o.Retire && o.Confirmed && len(o.Places) == 0:
		do = append(do, fmt.Sprintf("once no supported client carries it: keepkey channel retire %s --version %d", of, o.Version))
	case o.Confirmed:
	case o.Newer == 0:
		do = append(do, "have a newer one published: keepkey renew --name "+name)
	case channels[i].Manual:
		do = append(do, fmt.Sprintf("once version %d is out, so that every client gets it: keepkey channel confirm %s --version %d", o.Newer, of, o.Newer))
	default:
		do = append(do, fmt.Sprintf("see why version %d is not confirmed: keepkey renew --name %s", o.Newer, name))
	}
	return do
}

// gateText names the time at which the gate opens once.
func gateText(v plan.Verdict) string {
	switch {
	case v.Open:
		return "open"
	case v.Shut == plan.ChannelsMissing:
		return "closed, since nobody knows which clients pin: the configuration names no channel"
	case v.Shut == plan.LedgerDamaged:
		return "closed, since the ledger is not whole"
	case v.Shut == plan.ReportsDamaged:
		return "closed, since what clients reported can't be read"
	case v.Shut != "":
		return fmt.Sprintf("closed, since what is out there is not what is on record (%s)", v.Shut)
	case !v.OpensAt.IsZero():
		return fmt.Sprintf("closed until %s: %s", Time(v.OpensAt), obstacles(v))
	}
	return "closed: " + obstacles(v)
}

func obstacles(v plan.Verdict) string {
	var why []string
	for _, o := range v.Obstacles {
		s := fmt.Sprintf("version %d on channel %s lacks the key's pin", o.Version, o.Channel)
		switch {
		case len(o.Places) > 0:
			s += " and is enforced as long as clients may get it from " + names(o.Places)
		case o.Retire:
			s += " and is enforced until a person retires it"
		case o.Until.IsZero():
			s += " and is enforced until a newer one is confirmed"
		case !o.Until.Add(1).Equal(v.OpensAt):
			s += " and may be enforced until " + Time(o.Until)
		default:
			s += " and may be enforced until then"
		}
		why = append(why, s)
	}
	for _, r := range v.Reported {
		why = append(why, "clients report that they enforce "+heldSet(r)+", which lacks the key's pin")
	}
	return strings.Join(why, "; ")
}

// enforced tells which pin sets may be enforced, and until when.
func enforced(v plan.Verdict) string {
	var all []string
	for _, o := range v.Obstacles {
		s := fmt.Sprintf("version %d on channel %s", o.Version, o.Channel)
		if !o.Until.IsZero() {
			s += " until " + Time(o.Until)
		}
		all = append(all, s)
	}
	return strings.Join(all, "; ")
}

// names lists places for people.
func names(places []pinset.Place) string {
	var all []string
	for _, p := range places {
		all = append(all, p.Name)
	}
	return strings.Join(all, ", ")
}
