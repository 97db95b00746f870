package page

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"keepkey/status"
)

// summary is what somebody who is woken at night has to know: what is wrong, what is safe,
// what to do; or that all is well, and what comes next.
type summary struct {
	Severity status.Severity
	Title    string
	Headline string
	Facts    []string
	Alarms   []alarm
	More     bool // there are more problems
	Commands bool
}

func summaryOf(v View) summary {
	all := briefs(v)
	s := summary{Alarms: alarms(v)}
	for _, a := range s.Alarms {
		if rank(a.Severity) > rank(s.Severity) {
			s.Severity = a.Severity
		}
	}
	switch s.Severity {
	case status.Critical:
		s.Title, s.Headline = "Critical", "Act now: clients are refused, or will be"
	case status.Warning:
		s.Title, s.Headline = "Warning", "Something fails, and no client notices yet"
	default:
		s.Title, s.Headline = "All is well", "All is well"
	}
	if s.Severity == "" && slices.ContainsFunc(all, unknown) {
		s.Title, s.Headline = "Beginning", "No problem is known, and not all certificates were looked at yet"
	}
	s.Facts = facts(all, v.Now, s.Severity == "")
	s.More = len(s.Alarms) > maxAlarms
	s.Alarms = s.Alarms[:min(len(s.Alarms), maxAlarms)]
	s.Commands = slices.ContainsFunc(s.Alarms, func(a alarm) bool {
		return slices.ContainsFunc(a.Do, func(d step) bool { return d.Command != "" })
	})
	return s
}

// briefs returns all certificates, in short.
func briefs(v View) []status.Brief {
	var all []status.Brief
	for _, c := range v.Certificates {
		all = append(all, brief(c))
	}
	return append(all, v.Others...)
}

// facts says in a few sentences how the certificates are and, where nothing is wrong, what
// comes next.
func facts(all []status.Brief, now time.Time, well bool) []string {
	var critical, warned, closed, without, not int
	var expires, opens, next dated
	for _, b := range all {
		switch b.Severity {
		case status.Critical:
			critical++
		case status.Warning:
			warned++
		}
		if b.HasGate && !b.GateOpen {
			closed++
			opens.sooner(b.GateOpens, b)
		}
		expires.sooner(b.NotAfter, b)
		switch {
		case unknown(b):
			not++
		case b.NotAfter.IsZero():
			without++
		}
		if !b.Next.Upkeep() {
			next.sooner(b.NextAt, b)
		}
	}
	text := []string{count(len(all), critical, warned, not)}
	if without > 0 {
		text = append(text, fmt.Sprintf("Not obtained yet: %d.", without))
	}
	when := func(d dated) string { return relative(d.at.Sub(now)) }
	switch {
	case expires.at.IsZero():
	case expires.at.Before(now):
		text = append(text, fmt.Sprintf("The certificate of %s expired %s.", cut(expires.of.Name, maxName), when(expires)))
	case len(all) == 1:
		text = append(text, fmt.Sprintf("It expires %s, at %s.", when(expires), status.Time(expires.at)))
	default:
		text = append(text, fmt.Sprintf("First to expire: %s, %s.", cut(expires.of.Name, maxName), when(expires)))
	}
	if len(all) == 1 || !well {
		return text // the rest is seen soon enough
	}
	if closed > 0 {
		s := fmt.Sprintf("The gate is closed for %d of them", closed)
		if !opens.at.IsZero() {
			s += fmt.Sprintf("; it opens first for %s, %s", cut(opens.of.Name, maxName), when(opens))
		}
		text = append(text, s+".")
	}
	if !next.at.IsZero() {
		text = append(text, fmt.Sprintf("Next: %s for %s, %s.", kindOf(next.of.Next), cut(next.of.Name, maxName), when(next)))
	}
	return text
}

// dated is a certificate with a time that it comes first by.
type dated struct {
	at time.Time
	of status.Brief
}

func (d *dated) sooner(at time.Time, of status.Brief) {
	if !at.IsZero() && (d.at.IsZero() || at.Before(d.at)) {
		*d = dated{at, of}
	}
}

// count says how many certificates there are, and how they are.
func count(all, critical, warned, unknown int) string {
	text := plural(all, "certificate")
	var bad []string
	if critical > 0 {
		bad = append(bad, fmt.Sprintf("%d critical", critical))
	}
	if warned > 0 {
		bad = append(bad, plural(warned, "warning"))
	}
	if unknown > 0 {
		bad = append(bad, fmt.Sprintf("%d not looked at yet", unknown))
	}
	if len(bad) == 0 {
		return text + "."
	}
	if well := all - critical - warned - unknown; well > 0 {
		bad = append(bad, fmt.Sprintf("%d well", well))
	}
	return text + ": " + strings.Join(bad, ", ") + "."
}
