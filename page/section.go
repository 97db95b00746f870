package page

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"keepkey/status"
)

// section is a certificate in full.
type section struct {
	row
	Domains  string
	Problems []alarm
	Notes    []alarm
	Answer   string
	State    string // ready, asked or closed
	Gates    []gate
	Picture  drawing
	Served   *served
	Next     []next
	Rollover string
	Channels []channel
	Keys     []key
	Hosts    []host
	Events   []event
	LeftOut  string
}

type gate struct {
	Pin  string
	Text string
	Do   []step
}

type served struct {
	Version   int
	Serial    string
	Pin       string
	Directory string
	Installed bool
	To        moment
	Left      string
}

type next struct {
	What, Why string
	At        moment
}

type channel struct {
	Name      string
	Version   int
	Intended  moment
	Confirmed moment
	Enforced  string
}

type key struct {
	Pin, Type, Role string
	Created         moment
	Accept          bool
}

type host struct {
	Name      string
	This      bool
	Text      string
	Addresses []address
}

type address struct {
	Address string
	Served  bool
	Looked  moment
}

type event struct {
	At   moment
	What string
}

func sectionOf(c Certificate, now time.Time) section {
	s := section{
		row: rowOf(brief(c), now), Answer: c.Timeline.Switch.Text, State: "closed",
		Picture: draw(c.Timeline),
	}
	if len(c.Domains) != 1 || c.Domains[0] != c.Name {
		s.Domains = listed(c.Domains, maxDomains)
	}
	switch {
	case c.Timeline.Switch.Ready:
		s.State = "ready"
	case c.Timeline.Switch.Asked:
		s.State = "asked"
	}
	left := counter{}
	for _, p := range c.Problems[:left.cut(len(c.Problems), maxProblems, "problem")] {
		s.Problems = append(s.Problems, alarmOf(p))
	}
	for _, p := range c.Notes[:left.cut(len(c.Notes), maxProblems, "note")] {
		s.Notes = append(s.Notes, alarmOf(p))
	}
	for _, g := range c.Gates[:left.cut(len(c.Gates), maxGates, "gate")] {
		s.Gates = append(s.Gates, gate{shortPin(g.Pin.String()), cut(g.Text, maxLong), steps(g.Do)})
	}
	if cert := c.Certificate; cert != nil {
		s.Served = &served{
			Version: cert.Version, Serial: clean(cert.Serial), Pin: cert.Pin.String(), Directory: clean(cert.Directory), Installed: cert.Installed,
			To: momentOf(cert.NotAfter, now), Left: status.Left(cert.NotAfter.Sub(now)),
		}
	}
	for _, a := range []*status.Action{c.Next, c.Renewal} {
		if a != nil && !a.Action.Upkeep() && (len(s.Next) == 0 || *a != *c.Next) {
			s.Next = append(s.Next, next{cut(sentence(a.Text), maxLong), cut(a.Why, maxLong), momentOf(a.At, now)})
		}
	}
	if r := c.Rollover; r != nil {
		s.Rollover = sentence(status.RolloverText(*r))
	}
	names := slices.Sorted(maps.Keys(c.Channels))
	for _, name := range names[:left.cut(len(names), maxRows, "channel")] {
		ch := c.Channels[name]
		s.Channels = append(s.Channels, channel{clean(name), ch.Version, momentOf(ch.Intended, now), momentOf(ch.Confirmed, now), versions(ch.Enforced)})
	}
	for _, k := range c.Keys[len(c.Keys)-left.cut(len(c.Keys), maxRows, "older key"):] {
		s.Keys = append(s.Keys, key{k.Pin.String(), string(k.Type), string(k.Role), momentOf(k.Created, now), k.Accept})
	}
	for _, h := range c.Hosts[:left.cut(len(c.Hosts), maxRows, "host")] {
		s.Hosts = append(s.Hosts, hostOf(h, now, &left))
	}
	history := status.HistoryOf(c.Name, c.Events[max(len(c.Events)-maxEvents, 0):], nil, nil, nil)
	for _, e := range slices.Backward(history.Events) {
		s.Events = append(s.Events, event{momentOf(e.At, now), cut(sentence(e.String()), maxLong)})
	}
	s.LeftOut = left.String()
	return s
}

func hostOf(h status.Host, now time.Time, left *counter) host {
	out := host{Name: clean(h.Hostname), This: h.This, Text: fmt.Sprintf("certificate version %d is installed", h.Installed)}
	if out.Name == "" {
		out.Name = clean(h.ID)
	}
	if h.Deployed {
		out.Text += " and deployed"
	} else {
		out.Text += ", and not deployed yet"
	}
	for _, a := range h.Addresses[:left.cut(len(h.Addresses), maxRows, "address")] {
		out.Addresses = append(out.Addresses, address{clean(a.Address), a.Served, momentOf(a.Looked, now)})
	}
	return out
}

// counter counts what there is no room for.
type counter []string

// cut returns how many of n are shown.
func (c *counter) cut(n, most int, what string) int {
	if more := n - most; more > 0 {
		*c = append(*c, plural(more, what))
	}
	return min(n, most)
}

func (c counter) String() string { return strings.Join(c, ", ") }
