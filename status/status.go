// Package status puts what is known of a lineage into the form that people and
// monitors see: JSON with stable tokens, and plain words with the commands to type. It
// is pure. The command line prints it; every other place where somebody looks uses it
// too, so that all of them say the same.
//
// The JSON structs here are not those of the state on disk, which may change. These
// are documented in docs/json.md: a field keeps its name, type and meaning.
package status

import (
	"slices"
	"time"

	"keepkey/pinset"
	"keepkey/plan"
)

// Lineage is what is known of one lineage.
type Lineage struct {
	Name        string             `json:"name"`
	Domains     []string           `json:"domains"`
	Certificate *Certificate       `json:"certificate"`
	Keys        []Key              `json:"keys"`
	Gate        *Gate              `json:"gate"`  // for the first backup key
	Gates       []Gate             `json:"gates"` // for each backup key
	Channels    map[string]Channel `json:"channels"`
	Rollover    *Rollover          `json:"rollover"`
	Hosts       []Host             `json:"hosts"`
	Reports     *Reports           `json:"reports,omitempty"` // of clients
	Next        *Action            `json:"next"`
	Renewal     *Action            `json:"renewal"` // the next one
	Problems    []Problem          `json:"problems"`
	Notes       []Problem          `json:"notes"`

	now time.Time
}

// Certificate is the newest certificate that was accepted.
type Certificate struct {
	Version   int        `json:"version"`
	Installed bool       `json:"installed"` // live/ of this host points to it
	Pin       pinset.Pin `json:"pin"`
	Serial    string     `json:"serial"` // hexadecimal
	Domains   []string   `json:"domains"`
	Directory string     `json:"directory"` // of the CA
	NotBefore time.Time  `json:"not_before"`
	NotAfter  time.Time  `json:"not_after"`
	Obtained  time.Time  `json:"obtained"`
}

// Key is a key of the lineage.
type Key struct {
	Pin     pinset.Pin     `json:"pin"`
	Type    pinset.KeyType `json:"type"`
	Role    plan.Role      `json:"role"`
	Created time.Time      `json:"created"`
	// Accept says that clients should accept the key: its pin is in the newest pin set.
	Accept bool `json:"accept"`
}

// Channel is the newest pin set of a channel, and the versions that clients may still
// be enforcing.
type Channel struct {
	Version   int       `json:"version"`
	Intended  time.Time `json:"intended"`
	Confirmed time.Time `json:"confirmed,omitzero"`
	Enforced  []int     `json:"enforced"`
}

// Rollover is one that is under way, or can still be undone.
type Rollover struct {
	From        pinset.Pin `json:"from"`
	To          pinset.Pin `json:"to"`
	Asked       time.Time  `json:"asked"`
	Switched    time.Time  `json:"switched,omitzero"`
	Compromised bool       `json:"compromised"`
}

// Host is what a host did with the certificate.
type Host struct {
	ID        string `json:"id"`
	Hostname  string `json:"hostname,omitempty"`
	This      bool   `json:"this"`
	Installed int    `json:"installed"` // the certificate version
	Deployed  bool   `json:"deployed"`  // all deploy hooks took it up
	Checked   bool   `json:"checked"`   // and its key was seen at every address to check
	// Addresses are those to check.
	Addresses []Address `json:"addresses"`
}

// Address is where a host's server is looked at.
type Address struct {
	Address string    `json:"address"`
	Looked  time.Time `json:"looked,omitzero"` // when the key served there was last looked at
	// Served says that it was that of the newest certificate.
	Served bool `json:"served"`
}

// Of returns what is known of a lineage, from what was found and what is planned.
func Of(in plan.Input, p plan.Plan) Lineage {
	l := Lineage{
		Name: in.Goal.Name, Domains: in.Goal.Domains, Keys: []Key{}, Gates: []Gate{}, Channels: map[string]Channel{}, Hosts: []Host{},
		Problems: Problems(in.Goal.Name, p.Problems), Notes: Problems(in.Goal.Name, p.Notes), now: in.Now,
	}
	if next, ok := p.First(); ok {
		a := ActionOf(next)
		l.Next = &a
	}
	if in.State.IsZero() {
		return l
	}
	if i := slices.IndexFunc(p.Actions, func(a plan.Action) bool { return a.Kind == plan.Obtain }); i >= 0 {
		a := ActionOf(p.Actions[i])
		l.Renewal = &a
	}
	l.setCertificate(in)
	l.Keys, l.Reports = keysOf(in.State), reportsOf(in)
	l.setGates(in)
	clients := in.Goal.Clients()
	for _, pub := range in.Ledger.Published() { // the newest of each channel comes last
		ch := l.Channels[pub.Channel]
		if ch.Enforced == nil {
			ch.Enforced = []int{}
		}
		if !pub.Found {
			ch.Version, ch.Intended, ch.Confirmed = pub.Version, pub.Intended, pub.Confirmed
		}
		if pub.Enforced(clients[pub.Channel], in.Now) {
			ch.Enforced = append(ch.Enforced, pub.Version)
		}
		l.Channels[pub.Channel] = ch
	}
	if r := in.State.Rollover; r != nil {
		l.Rollover = &Rollover{From: r.From, To: r.To, Asked: r.Asked, Switched: r.Switched, Compromised: r.Compromised}
	}
	return l
}

// LeftOver returns what is known of a lineage that the configuration does not name.
func LeftOver(in plan.Input, problem plan.Finding) Lineage {
	l := Of(in, plan.Plan{Problems: []plan.Finding{problem}})
	l.Gate, l.Gates = nil, []Gate{} // what the configuration would say of channels is not known
	return l
}

// setGates asks the gate for each key that could take over. The first is the next active key.
func (l *Lineage) setGates(in plan.Input) {
	for _, k := range in.State.Backups() {
		if in.Disk.KeyProblems[k.Pin] != nil {
			continue
		}
		g := GateOf(in.Goal.Name, plan.Gate(in, k.Pin))
		g.Pin = k.Pin
		l.Gates = append(l.Gates, g)
	}
	if len(l.Gates) > 0 {
		l.Gate = &l.Gates[0]
	}
}

func (l *Lineage) setCertificate(in plan.Input) {
	c := in.State.Certificate
	if c == nil {
		return
	}
	l.Certificate = &Certificate{
		Version: c.Version, Installed: in.Disk.Live == c.Version, Pin: c.Pin, Serial: c.Serial, Domains: c.Domains,
		Directory: c.Directory, NotBefore: c.NotBefore, NotAfter: c.NotAfter, Obtained: c.Obtained,
	}
	for id, h := range in.State.Hosts {
		done := h.Installed == c.Version && len(plan.Outstanding(in.Goal.Deploy, h.Deployed)) == 0
		l.Hosts = append(l.Hosts, Host{
			ID: id, Hostname: h.Hostname, This: id == in.Host, Installed: h.Installed, Deployed: done,
			Checked: done && len(plan.Outstanding(in.Goal.Check, h.Checked)) == 0, Addresses: addressesOf(in, id, done),
		})
	}
	slices.SortFunc(l.Hosts, func(a, b Host) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
}

// addressesOf returns where a host's server is looked at. done says that it has the newest
// certificate.
func addressesOf(in plan.Input, host string, done bool) []Address {
	h, all := in.State.Hosts[host], []Address{}
	for _, addr := range in.Goal.Check {
		failing := in.State.Failing(plan.Action{Kind: plan.Look, Target: addr, Host: host}) ||
			in.State.Failing(plan.Action{Kind: plan.Check, Target: addr, Host: host})
		all = append(all, Address{Address: addr, Looked: h.Looked[addr], Served: done && slices.Contains(h.Checked, addr) && !failing})
	}
	return all
}

func keysOf(s plan.State) []Key {
	accepted := s.Pins()
	keys := []Key{}
	for _, k := range s.Keys {
		keys = append(keys, Key{Pin: k.Pin, Type: k.Type, Role: k.Role, Created: k.Created, Accept: slices.Contains(accepted, k.Pin)})
	}
	return keys
}

// Pins are the keys whose pins clients should accept.
type Pins struct {
	Name    string   `json:"name"`
	Domains []string `json:"domains"`
	Version int      `json:"version"` // of the pin set
	Keys    []Key    `json:"keys"`

	channels int
	nobody   bool
}

// Hint tells people who are about to put these pins somewhere that keepkey has to know of
// it. It is empty where the configuration says who pins.
func (p Pins) Hint() []string {
	if p.channels > 0 || p.nobody {
		return nil
	}
	return []string{
		"",
		"keepkey does not know of clients that pin these keys, so it will never switch keys by itself or with",
		"`keepkey rotate`. Before you put pins into an app or anywhere else, name that as a channel of",
		p.Name + " in the configuration, so that no rollover locks its clients out:",
		"",
		"    channels:",
		"      - {name: app, lifetime: forever, confirm: manual}",
		"",
		"If nobody pins, say so: channels: []",
	}
}

// PinsOf returns the keys whose pins clients should accept, or with all every key that
// there ever was.
func PinsOf(in plan.Input, all bool) Pins {
	p := Pins{
		Name: in.Goal.Name, Domains: in.Goal.Domains, Version: plan.Wanted(in).Version, Keys: keysOf(in.State),
		channels: len(in.Goal.Channels), nobody: in.Goal.NobodyPins,
	}
	if !all {
		p.Keys = slices.DeleteFunc(p.Keys, func(k Key) bool { return !k.Accept })
	}
	return p
}

// Plan is what would happen and when.
type Plan struct {
	Name     string    `json:"name"`
	Actions  []Action  `json:"actions"` // in the order of time
	Problems []Problem `json:"problems"`
	Notes    []Problem `json:"notes"`
}

// PlanOf returns what is planned for a lineage.
func PlanOf(name string, p plan.Plan) Plan {
	out := Plan{Name: name, Actions: []Action{}, Problems: Problems(name, p.Problems), Notes: Problems(name, p.Notes)}
	for _, a := range p.Actions {
		if a.Kind != plan.Look { // from day to day, and nothing changes by it
			out.Actions = append(out.Actions, ActionOf(a))
		}
	}
	slices.SortStableFunc(out.Actions, func(a, b Action) int { return a.At.Compare(b.At) })
	return out
}

// Action is something that is done, or will be.
type Action struct {
	Action  plan.Kind    `json:"action"`
	At      time.Time    `json:"at"` // the earliest time
	Reason  plan.WhyCode `json:"reason,omitempty"`
	Text    string       `json:"text"` // the action, for people
	Why     string       `json:"why"`  // the reason, for people
	Role    plan.Role    `json:"role,omitempty"`
	Channel string       `json:"channel,omitempty"`
	PinSet  *pinset.Set  `json:"pin_set,omitempty"`
	Version int          `json:"version,omitempty"` // of the certificate; with abandon of the pin set
	Target  string       `json:"target,omitempty"`
	Host    string       `json:"host,omitempty"`
}

// ActionOf puts an action into words.
func ActionOf(a plan.Action) Action {
	out := Action{
		Action: a.Kind, At: a.At, Reason: a.Why.Code, Text: Describe(a), Why: reason(a),
		Role: a.Role, Channel: a.Channel, Version: a.Version, Target: a.Target, Host: a.Host,
	}
	if a.PinSet.Version > 0 {
		set := a.PinSet
		out.PinSet = &set
	}
	return out
}
