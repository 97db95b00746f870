package page

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"keepkey/plan"
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
	More     int // problems that are not shown here
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
	s.Facts = facts(all, v.Now)
	s.More = max(len(s.Alarms)-maxAlarms, 0)
	s.Alarms = s.Alarms[:len(s.Alarms)-s.More]
	s.Commands = slices.ContainsFunc(s.Alarms, func(a alarm) bool {
		return slices.ContainsFunc(a.Do, func(d step) bool { return d.Command != "" })
	})
	return s
}

// briefs returns all certificates, in short.
func briefs(v View) []status.Brief {
	var all []status.Brief
	for _, c := range v.Certificates {
		all = append(all, c.Brief())
	}
	return append(all, v.Others...)
}

// alarms returns what is wrong, the worst first. What many certificates have in common is
// told once.
func alarms(v View) []alarm {
	var all []alarm
	if v.ConfigProblem != "" {
		all = append(all, alarm{
			Severity: status.Warning, Word: severities[status.Warning],
			Subject: "the configuration that lies there is not in force: " + cut(v.ConfigProblem, maxText),
			Safe:    "the one before it stays in force",
			Do:      []step{{"mend it, then have it read again", "systemctl reload keepkey-daemon"}},
		})
	}
	at := make(map[string]int) // where the alarm is that tells of a problem
	tell := func(name string, p status.Problem) {
		id := string(p.Code) + " " + string(p.Severity)
		i, known := at[id]
		if !known {
			a := alarmOf(p)
			a.Subject, a.Safe = cut(a.Subject, maxText), cut(a.Safe, maxText)
			i, at[id] = len(all), len(all)
			all = append(all, a)
		}
		a := &all[i]
		switch has := slices.ContainsFunc(a.Certificates, func(l link) bool { return l.Name == clean(name) }); {
		case has:
		case len(a.Certificates) < maxNames:
			a.Certificates = append(a.Certificates, linkOf(name))
		default:
			a.More++
		}
	}
	for _, c := range v.Certificates {
		for _, p := range c.Problems {
			tell(c.Name, p)
		}
	}
	for _, b := range v.Others {
		for _, p := range b.Problems {
			tell(b.Name, status.Problem{
				Code: p.Code, Severity: p.Severity, Subject: wordsOf(string(p.Code)), Do: []string{"to see more: keepkey status --name " + b.Name},
			})
		}
	}
	slices.SortStableFunc(all, func(a, b alarm) int { return rank(b.Severity) - rank(a.Severity) })
	return all
}

// facts says in a few sentences how the certificates are.
func facts(all []status.Brief, now time.Time) []string {
	var critical, warned, closed int
	var first, soon *status.Brief
	for i := range all {
		b := &all[i]
		switch b.Severity {
		case status.Critical:
			critical++
		case status.Warning:
			warned++
		}
		if b.HasGate && !b.GateOpen {
			closed++
		}
		if !b.NotAfter.IsZero() && (first == nil || b.NotAfter.Before(first.NotAfter)) {
			first = b
		}
		if b.Next != "" && !plan.Kind(b.Next).Upkeep() && (soon == nil || b.NextAt.Before(soon.NextAt)) {
			soon = b
		}
	}
	text := []string{count(len(all), critical, warned)}
	if first != nil {
		expires := "expires"
		if !first.NotAfter.After(now) {
			expires = "expired"
		}
		what := "It"
		if len(all) > 1 {
			what = "The first of them (" + cut(first.Name, 60) + ")"
		}
		text = append(text, fmt.Sprintf("%s %s %s, %s.", what, expires, relative(first.NotAfter.Sub(now)), status.Time(first.NotAfter)))
	}
	if closed > 0 && len(all) > 1 {
		text = append(text, fmt.Sprintf("The gate is closed for %d of them.", closed))
	}
	if soon != nil && len(all) > 1 {
		text = append(text, fmt.Sprintf("Next: %s for %s, %s.", wordsOf(string(soon.Next)), cut(soon.Name, 60), relative(max(soon.NextAt.Sub(now), 0))))
	}
	return text
}

func count(all, critical, warned int) string {
	text := plural(all, "certificate")
	var bad []string
	if critical > 0 {
		bad = append(bad, fmt.Sprintf("%d critical", critical))
	}
	if warned > 0 {
		bad = append(bad, plural(warned, "warning"))
	}
	if len(bad) == 0 {
		return text + "."
	}
	if well := all - critical - warned; well > 0 {
		bad = append(bad, fmt.Sprintf("%d well", well))
	}
	return text + ": " + strings.Join(bad, ", ") + "."
}
