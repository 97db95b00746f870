package status

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"keepkey/pinset"
	"keepkey/plan"
)

// Reports sum up what clients reported of pin validations that failed.
type Reports struct {
	Count  int       `json:"count"`  // of reports
	Groups int       `json:"groups"` // of pin sets that they are about
	Last   time.Time `json:"last"`
}

// InUse is a pin set that clients enforce, as they report, although nobody should.
type InUse struct {
	ID      string    `json:"id"` // of the reports
	Channel string    `json:"channel"`
	Version int       `json:"version"`
	Over    time.Time `json:"over"` // since when nobody should
	Last    time.Time `json:"last"` // the last report
}

// Reported is all that clients with the same pins reported.
type Reported struct {
	ID    string       `json:"id"`
	Codes []plan.Code  `json:"codes"` // those of the problems that come of it
	Text  string       `json:"text"`
	Pins  []pinset.Pin `json:"pins"` // that the clients accept
	// Channel and Version are those of the pin set, where keepkey published it.
	Channel string    `json:"channel,omitempty"`
	Version int       `json:"version,omitempty"`
	Over    time.Time `json:"over,omitzero"`
	Closes  bool      `json:"closes"` // the gate, for keys whose pin is not among them
	Count   int       `json:"count"`
	Sources int       `json:"sources"` // that can be told apart
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
	Served  []Served  `json:"served"`
	Hosts   []string  `json:"hosts"`
	Apps    []string  `json:"apps"`
	// Dismissed is when a person last dismissed them, and By who that was.
	Dismissed time.Time `json:"dismissed,omitzero"`
	By        string    `json:"by,omitempty"`
}

// Served is a key that a server presented to clients, as they report.
type Served struct {
	Pin   pinset.Pin `json:"pin"`
	Role  plan.Role  `json:"role,omitempty"` // of our keys
	Count int        `json:"count"`
	Last  time.Time  `json:"last"`
	// Allowed says that the clients' pins allow it, and Untrusted that they did not trust its
	// certificate all the same.
	Allowed   bool `json:"allowed"`
	Untrusted bool `json:"untrusted"`
}

// String is the key with what clients say of it.
func (s Served) String() string {
	text := s.Pin.String() + ", none of ours"
	if s.Role != "" {
		text = fmt.Sprintf("%s, the %s key", s.Pin, s.Role)
	}
	if s.Allowed {
		text += ", which their pins allow"
	}
	if s.Untrusted {
		text += ", with a certificate that they do not trust"
	}
	return fmt.Sprintf("%s: %d times, the last at %s", text, s.Count, Time(s.Last))
}

// ReportList is what clients reported of a lineage.
type ReportList struct {
	Name    string     `json:"name"`
	Reports []Reported `json:"reports"`
}

// ReportsOf returns what clients reported, with what it means.
func ReportsOf(in plan.Input) ReportList {
	list := ReportList{Name: in.Goal.Name, Reports: []Reported{}}
	for _, r := range in.Reported() {
		out := Reported{
			ID: r.ID, Codes: emptyIfNil(r.Codes), Text: meaning(r), Pins: r.Known, Channel: r.Set.Channel, Version: r.Set.Version, Over: r.Over,
			Closes: r.Closes, Count: r.Count, Sources: len(r.AllSources()), First: r.First, Last: r.Last,
			Served: []Served{}, Hosts: emptyIfNil(r.Hosts), Apps: emptyIfNil(r.Apps),
		}
		for _, k := range r.Served {
			s := Served{Pin: k.Pin, Count: k.Count, Last: k.Last, Allowed: k.Matched, Untrusted: k.Untrusted}
			if i := slices.IndexFunc(in.State.Keys, func(own plan.Key) bool { return own.Pin == k.Pin }); i >= 0 {
				s.Role = in.State.Keys[i].Role
			}
			out.Served = append(out.Served, s)
		}
		if d := r.Dismissed; d != nil {
			out.Dismissed, out.By = d.At, d.By
		}
		list.Reports = append(list.Reports, out)
	}
	return list
}

func emptyIfNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// reportsOf sums up what clients reported; nil if that is nothing.
func reportsOf(in plan.Input) *Reports {
	r := Reports{Groups: len(in.Reports.Groups)}
	for _, g := range in.Reports.Groups {
		r.Count += g.Count
		if g.Last.After(r.Last) {
			r.Last = g.Last
		}
	}
	if r.Groups == 0 {
		return nil
	}
	return &r
}

// meaning says which pin set clients hold.
func meaning(r plan.Reported) string {
	switch {
	case r.Set.Version == 0:
		return "a pin set that keepkey never published"
	case r.Set.Abandoned:
		return heldSet(r) + "; these clients were given up"
	case r.Closes:
		return heldSet(r) + "; the gate is closed for the keys that it lacks"
	}
	return heldSet(r)
}

// heldSet names a pin set that clients hold.
func heldSet(r plan.Reported) string {
	s := fmt.Sprintf("version %d of the pin set of channel %s", r.Set.Version, r.Set.Channel)
	switch {
	case r.Over.IsZero():
		return s
	case r.Set.Abandoned:
		return s + ", given up at " + Time(r.Over)
	}
	return s + ended(r.Set.Retired, r.Over)
}

// ended says since when no client should enforce a pin set, and why.
func ended(retired bool, at time.Time) string {
	if retired {
		return ", retired at " + Time(at)
	}
	return ", whose lifetime ended at " + Time(at)
}

// reporting words what clients reported.
func reporting(p *Problem, name string, f plan.Finding) bool {
	seeThem := "see the reports: keepkey report list --name " + name
	dismiss := "to hear no more of them: keepkey report dismiss --name " + name + idFlags(f.Reports.IDs)
	switch f.Code {
	case plan.ReportsDamaged:
		p.Subject = fmt.Sprintf("what clients reported can't be read: %v", f.Err)
		return p.say(renewsOn+"; no key is switched, but a compromised one, until it can be", mendReports(name)...)
	case plan.ReportedInUse:
		p.Subject = fmt.Sprintf("version %d of the pin set of channel %s%s, is still in use%s: %s", f.Version, f.Channel, ended(f.Retired, f.Time), refusing(f), summary(f.Reports))
		return p.say(renewsOn+"; no key that it lacks is switched to", seeThem,
			"if clients that you support have it, get them a newer one before you dismiss this", dismissal(name, f.Target))
	case plan.ReportedLockedOut:
		p.Severity = Critical
		p.Subject = fmt.Sprintf("clients that hold version %d of the pin set of channel %s report that they were served a key that it lacks (%s): %s", f.Version, f.Channel, pinsText(f.Pins), summary(f.Reports))
		return p.say("", "see which server serves it: "+strings.Join(f.Reports.Hosts, ", "), seeThem, dismiss)
	case plan.ReportedInterception:
		p.Subject = fmt.Sprintf("clients report that they were served a key that this lineage never had (%s), by somebody in between, a proxy, or another server: %s", pinsText(f.Pins), summary(f.Reports))
		return p.say("these clients refused it", seeThem, "see that every server of these names has our key: "+strings.Join(f.Reports.Hosts, ", "), dismiss)
	case plan.ReportedUnknownPins:
		p.Subject = "clients report that they hold a pin set that keepkey never published: " + summary(f.Reports)
		return p.say("the gate does not count it", seeThem, "if they are your clients, name the way in which they get these pins as a channel; if not, the reports are forged", dismiss)
	case plan.ReportedBackupMissing:
		p.Subject = fmt.Sprintf("clients report that they hold a pin set, which keepkey never published, with the active key's pin and without the backup key's (%s): a rollover would lock them out: %s", pinsText(f.Pins), summary(f.Reports))
		return p.say("the gate does not count it", seeThem, "if they are your clients, get them the backup key's pin: keepkey pins --name "+name, dismiss)
	case plan.ReportedNoFailure:
		p.Severity = Info
		p.Subject = "clients report failures although they were served a key that their pins allow, so that it is something else: the chain, a date, a clock: " + summary(f.Reports)
		p.Do = []string{seeThem}
		return true
	}
	return false
}

// refusing adds to a pin set in use that its clients are locked out.
func refusing(f plan.Finding) string {
	if len(f.Pins) == 0 {
		return ""
	}
	return ", by clients that refuse the key that is served (" + pinsText(f.Pins) + ")"
}

// summary counts reports.
func summary(s plan.ReportSum) string {
	n := fmt.Sprintf("%d reports from %d sources", s.Count, s.Sources)
	if s.Count == 1 {
		n = "1 report"
	} else if s.Sources == 1 {
		n = fmt.Sprintf("%d reports from one source", s.Count)
	}
	return n + ", the last at " + Time(s.Last)
}

// pinsText lists a few pins.
func pinsText(pins []pinset.Pin) string {
	const shown = 3
	var all []string
	for _, p := range pins[:min(len(pins), shown)] {
		all = append(all, p.String())
	}
	if more := len(pins) - shown; more > 0 {
		all = append(all, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, ", ")
}

func idFlags(ids []string) string {
	const most = 5
	if len(ids) > most {
		return " --all"
	}
	var b strings.Builder
	for _, id := range ids {
		b.WriteString(" --id " + id)
	}
	return b.String()
}

// dismissal is how a person decides that reports change nothing.
func dismissal(name, id string) string {
	return "once no supported client carries it, or if the reports are forged: keepkey report dismiss --name " + name + " --id " + id
}

// mendReports is what to do about damaged reports.
func mendReports(name string) []string {
	return []string{
		"restore reports.json from a backup",
		"or begin anew, which forgets what closed the gate: keepkey report restart --name " + name,
	}
}
