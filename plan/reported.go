package plan

import (
	"slices"
	"time"

	"keepkey/pinset"
)

// toldFor is how long reports that close no gate are told of after the last. Those that do are
// told of until a person has decided.
const toldFor = 30 * 24 * time.Hour

// Reported is a group of reports, and what it means.
type Reported struct {
	ReportGroup
	// Set is the pin set in the ledger that the clients hold; without a version when
	// keepkey never published these pins. Where several channels have them it is that of a
	// channel whose clients may still enforce it, or else did for the longest.
	Set  pinset.Published
	Over time.Time // since when nobody should be enforcing it; zero while some may
	// Closes says that the gate is closed for keys that the pin set lacks.
	Closes bool
	Codes  []Code // what a person is told of it now
}

// Reported returns all groups of reports with what they mean.
func (in Input) Reported() []Reported {
	var all []Reported
	for _, g := range in.Reports.Groups {
		all = append(all, in.meaning(g, in.Now))
	}
	return all
}

// meaning compares a group of reports with the ledger and the keys.
func (in Input) meaning(g ReportGroup, at time.Time) Reported {
	r := Reported{ReportGroup: g}
	r.Set, r.Over = in.held(g.Known, at)
	inUse := r.Set.Version > 0 && !r.Over.IsZero() && !r.Set.Abandoned && g.Enforced.After(r.Over)
	// A dismissal from when the pin set was still in use is about something else.
	r.Closes = inUse && (g.raised() || !g.Dismissed.At.After(r.Over))
	if r.Closes {
		r.Codes = append(r.Codes, ReportedInUse)
	}
	if !g.raised() || at.Sub(g.Last) > toldFor {
		return r
	}
	if r.Set.Version == 0 {
		r.Codes = append(r.Codes, ReportedUnknownPins)
		active, next := in.State.Active(), NextActive(in)
		if active != nil && !next.IsZero() && slices.Contains(g.Known, active.Pin) && !slices.Contains(g.Known, next) {
			r.Codes = append(r.Codes, ReportedBackupMissing)
		}
	}
	for _, k := range g.Served {
		switch ours := in.Has(k.Pin); {
		case !ours:
			r.Codes = append(r.Codes, ReportedInterception)
		case k.Matched:
			r.Codes = append(r.Codes, ReportedNoFailure)
		case r.Set.Version > 0 && r.Over.IsZero() && !g.Enforced.IsZero():
			r.Codes = append(r.Codes, ReportedLockedOut)
		}
	}
	slices.Sort(r.Codes)
	r.Codes = slices.Compact(r.Codes)
	return r
}

// Published reports whether keepkey published exactly these pins.
func (in Input) Published(pins []pinset.Pin) bool { return len(in.published(pins)) > 0 }

// Has reports whether a key is one of the lineage's.
func (in Input) Has(key pinset.Pin) bool { return in.State.key(key) != nil }

// held returns the pin set in the ledger that clients with these pins hold, and since when
// nobody should be enforcing it.
func (in Input) held(pins []pinset.Pin, at time.Time) (held pinset.Published, over time.Time) {
	clients := in.Goal.Clients()
	for _, p := range in.published(pins) {
		since := p.Over(clients[p.Channel], at)
		if since.IsZero() {
			return p, time.Time{}
		}
		longer := p.Abandoned == held.Abandoned && since.After(over)
		if held.Version == 0 || longer || (held.Abandoned && !p.Abandoned) {
			held, over = p, since
		}
	}
	return held, over
}

// stillInUse returns what clients report of pin sets that lack a key and that, by the ledger,
// nobody should be enforcing any more. Whoever forges reports can at most bring back what was
// published once, and a person can dismiss that.
//
// Clients that were given up don't count: a person has decided about them, and they refuse the
// active key already, so that another one takes nothing from them.
func (in Input) stillInUse(key pinset.Pin, at time.Time) []Reported {
	var all []Reported
	for _, g := range in.Reports.Groups {
		if slices.Contains(g.Known, key) {
			continue
		}
		if r := in.meaning(g, at); r.Closes {
			all = append(all, r)
		}
	}
	return all
}

// ReportSum sums up reports.
type ReportSum struct {
	Count   int
	Sources int // at least
	First   time.Time
	Last    time.Time
	Hosts   []string // some of them
	IDs     []string // of the groups
}

// ReportFindings returns what people should know of the reports. Of one kind there is one finding,
// however many reports there are, but for pin sets in the ledger, of which each has its own.
func (in Input) ReportFindings() (problems, notes []Finding) {
	if err := in.Disk.ReportsProblem; err != nil {
		return []Finding{{Code: ReportsDamaged, Err: err}}, nil
	}
	all := in.Reported()
	for _, r := range all {
		f := Finding{Channel: r.Set.Channel, Version: r.Set.Version, Target: r.ID, Reports: sum(r), Time: r.Over, Retired: r.Set.Retired}
		for _, code := range r.Codes {
			if f.Code = code; code == ReportedInUse || code == ReportedLockedOut {
				f.Pins = in.refused(r)
				problems = append(problems, f)
			}
		}
	}
	for _, code := range []Code{ReportedInterception, ReportedUnknownPins, ReportedBackupMissing, ReportedNoFailure} {
		of := slices.DeleteFunc(slices.Clone(all), func(r Reported) bool { return !slices.Contains(r.Codes, code) })
		if len(of) == 0 {
			continue
		}
		f := Finding{Code: code, Reports: sum(of...)}
		switch code {
		case ReportedInterception:
			f.Pins = in.notOurs(of)
		case ReportedBackupMissing:
			f.Pins = []pinset.Pin{NextActive(in)}
		case ReportedNoFailure:
			notes = append(notes, f)
			continue
		}
		problems = append(problems, f)
	}
	return problems, notes
}

// refused returns the keys of ours that were served to clients and that they refused.
func (in Input) refused(r Reported) []pinset.Pin {
	var pins []pinset.Pin
	for _, k := range r.Served {
		if !k.Matched && in.Has(k.Pin) {
			pins = append(pins, k.Pin)
		}
	}
	return pins
}

// notOurs returns the keys that were served and that this lineage never had.
func (in Input) notOurs(all []Reported) []pinset.Pin {
	var pins []pinset.Pin
	for _, r := range all {
		for _, k := range r.Served {
			if !in.Has(k.Pin) && !slices.Contains(pins, k.Pin) {
				pins = append(pins, k.Pin)
			}
		}
	}
	return pins
}

// sum sums groups of reports up.
func sum(all ...Reported) ReportSum {
	var s ReportSum
	sources := make(map[string]bool)
	for _, r := range all {
		s.Count += r.Count
		if s.First.IsZero() || r.First.Before(s.First) {
			s.First = r.First
		}
		s.Last = later(s.Last, r.Last)
		s.IDs = append(s.IDs, r.ID)
		for _, h := range r.Hosts {
			s.Hosts = remember(s.Hosts, h, maxHosts)
		}
		for _, from := range r.AllSources() {
			sources[from] = true
		}
	}
	s.Sources = len(sources)
	return s
}

// AllSources returns the sources that are on record, from before a dismissal, too.
func (g ReportGroup) AllSources() []string {
	if g.Dismissed == nil {
		return g.Sources
	}
	return slices.Concat(g.Dismissed.Sources, g.Sources)
}
