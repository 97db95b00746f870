package page

import (
	"fmt"
	"slices"
	"strings"

	"keepkey/status"
)

// step is one thing to do, with the command that does it.
type step struct{ Text, Command string }

// alarm is a problem or a note.
type alarm struct {
	Severity status.Severity
	Word     string
	Of       string // what has it, unless that is certificates
	Subject  string
	Safe     string
	Do       []step

	Certificates []link // that have it; in the summary
	More         int    // that have it, too
}

// alarms returns what is wrong, the worst first. What many certificates have in common is
// told once.
func alarms(v View) []alarm {
	var all []alarm
	if v.ConfigProblem != "" {
		all = append(all, alarm{
			Severity: status.Warning, Word: severities[status.Warning], Of: "the configuration",
			Subject: "The file is not in force: " + cut(v.ConfigProblem, maxText),
			Safe:    "keepkey goes on with the configuration that it read before",
			Do:      []step{{"Mend the file, then have it read again", "systemctl reload keepkey-daemon"}},
		})
	}
	type told struct {
		at   int    // in all
		last string // the certificate that it was told of last
	}
	before := make(map[string]told)
	tell := func(name string, p status.Problem) {
		id := string(p.Code) + " " + string(p.Severity)
		t, known := before[id]
		if !known {
			a := alarmOf(p)
			a.Subject, a.Safe = cut(a.Subject, maxText), cut(a.Safe, maxText)
			t.at, all = len(all), append(all, a)
		}
		a := &all[t.at]
		switch {
		case known && t.last == name:
		case len(a.Certificates) < maxNames:
			a.Certificates = append(a.Certificates, linkOf(name))
		default:
			a.More++
		}
		before[id] = told{t.at, name}
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

func alarmOf(p status.Problem) alarm {
	return alarm{
		Severity: p.Severity, Word: severities[p.Severity], Subject: sentence(p.Subject), Safe: cut(p.Safe, maxLong), Do: steps(p.Do),
	}
}

// steps takes sentences apart into words and the command at their end.
func steps(do []string) []step {
	var all []step
	for _, s := range do[:min(len(do), maxSteps)] {
		text, command, found := strings.Cut(clean(s), ": keepkey ")
		if found {
			command = "keepkey " + command
		}
		all = append(all, step{cut(sentence(text), maxLong), command})
	}
	if more := len(do) - maxSteps; more > 0 {
		all = append(all, step{Text: fmt.Sprintf("And so on: there are %d more", more)})
	}
	return all
}
