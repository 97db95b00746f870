package status

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"keepkey/plan"
)

// Level is what a check comes to, as monitoring plugins have it.
type Level string

// The levels. What was skipped could not be looked at from here, and is no reason to worry.
const (
	LevelOK       Level = "ok"
	LevelWarning  Level = "warning"
	LevelCritical Level = "critical"
	LevelUnknown  Level = "unknown"
	LevelSkipped  Level = "skipped"
)

// levels are in the order of how much they matter.
var levels = []Level{LevelSkipped, LevelOK, LevelUnknown, LevelWarning, LevelCritical}

func worse(a, b Level) Level {
	if slices.Index(levels, b) > slices.Index(levels, a) {
		return b
	}
	return a
}

// levelOf is that of the worst problem, ok when there is none.
func levelOf(problems []Problem) Level {
	level := LevelOK
	for _, p := range problems {
		switch p.Severity {
		case Critical:
			level = worse(level, LevelCritical)
		case Warning:
			level = worse(level, LevelWarning)
		}
	}
	return level
}

// Summary is what checks come to, on one line as monitoring plugins print it: the worst that
// was found, and after a bar the days that are left for each certificate.
func Summary(all []Check) (Level, string) {
	level, servers, channels, skipped := LevelOK, 0, 0, 0
	var performance []string
	count := func(s Level, n *int) {
		if s == LevelSkipped {
			n = &skipped
		}
		*n++
	}
	for _, c := range all {
		level = worse(level, c.Status)
		for _, s := range c.Servers {
			count(s.Status, &servers)
		}
		for _, ch := range c.Channels {
			count(ch.Status, &channels)
		}
		performance = append(performance, c.performance)
	}
	text := strings.ToUpper(string(level)) + ": " + worst(all, level) + fmt.Sprintf("%s, %s", number(servers, "server"), number(channels, "channel"))
	if skipped > 0 {
		text += fmt.Sprintf(", %d skipped", skipped)
	}
	return level, text + " | " + strings.Join(performance, " ")
}

// worst tells the first problem of a level, if there is one, and how many there are.
func worst(all []Check, level Level) string {
	first, n := "", 0
	for _, c := range all {
		for _, p := range c.all() {
			if c.Status != level || (level != LevelUnknown && levelOf([]Problem{p}) != level) {
				continue
			}
			if n++; n == 1 {
				first = c.Name + ": " + p.Subject
			}
		}
	}
	const most = 300
	if len(first) > most {
		first = strings.ToValidUTF8(first[:most], "") + "..."
	}
	first = strings.NewReplacer("|", "/", "\n", "; ").Replace(first) // a bar and a line's end are for programs
	switch {
	case level == LevelOK || n == 0:
		return ""
	case n > 1:
		return fmt.Sprintf("%s (and %d more); ", first, n-1)
	}
	return first + "; "
}

// all are the problems of a check.
func (c Check) all() []Problem {
	problems := slices.Clone(c.Problems)
	for _, s := range c.Servers {
		problems = append(problems, s.Problems...)
	}
	for _, ch := range c.Channels {
		problems = append(problems, ch.Problems...)
	}
	return problems
}

func number(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// setLeft says how much validity is left of what is served, and from when on that is a reason
// to worry.
func (c *Check) setLeft(in plan.Input, s plan.Server) {
	if len(s.Chain) == 0 {
		c.performance = fmt.Sprintf("'%s'=U", c.Name)
		return
	}
	leaf := s.Chain[0]
	left := leaf.NotAfter.Sub(in.Now)
	whole := int(math.Floor(days(left)))
	c.DaysLeft = &whole
	warning, critical := plan.Ending(in, leaf)
	scale := 1.0
	if leaf.NotAfter.Sub(leaf.NotBefore) < 10*24*time.Hour {
		scale = 10
	}
	value := func(days float64) string { return strconv.FormatFloat(days/scale, 'f', -1, 64) }
	c.performance = fmt.Sprintf("'%s'=%sd;%s:;%s:;;", c.Name, value(math.Floor(days(left)*scale)), value(math.Round(days(warning)*scale)), value(math.Round(days(critical)*scale)))
}

func days(d time.Duration) float64 { return d.Hours() / 24 }
