package status

import (
	"maps"
	"slices"
	"time"

	"keepkey/plan"
)

// Brief is what is kept in mind of each of many lineages, to be listed and measured.
type Brief struct {
	Name     string
	NotAfter time.Time // of the certificate; zero without one
	// HasGate says that there is a backup key that the gate is for.
	HasGate, GateOpen bool
	GateOpens         time.Time // by itself; zero when it is open, or a person is needed
	Channels          []BriefChannel
	Next              plan.Kind // the next action; "" when none is foreseen
	NextAt            time.Time
	Severity          Severity // of the worst problem; "" without one
	Problems          []BriefProblem
}

// BriefChannel is a channel with its newest pin set.
type BriefChannel struct {
	Name      string
	Version   int
	Confirmed bool
}

// BriefProblem is a problem that there is.
type BriefProblem struct {
	Code     plan.Code
	Severity Severity
}

// Brief returns what is kept in mind of the lineage.
func (l Lineage) Brief() Brief {
	b := Brief{Name: l.Name, Severity: Worst(l.Problems)}
	if c := l.Certificate; c != nil {
		b.NotAfter = c.NotAfter
	}
	if g := l.Gate; g != nil {
		b.HasGate, b.GateOpen, b.GateOpens = true, g.Open, g.OpensAt
	}
	for _, name := range slices.Sorted(maps.Keys(l.Channels)) {
		ch := l.Channels[name]
		b.Channels = append(b.Channels, BriefChannel{Name: name, Version: ch.Version, Confirmed: !ch.Confirmed.IsZero()})
	}
	if n := l.Next; n != nil {
		b.Next, b.NextAt = n.Action, n.At
	}
	for _, p := range l.Problems {
		b.Problems = append(b.Problems, BriefProblem{Code: p.Code, Severity: p.Severity})
	}
	return b
}
