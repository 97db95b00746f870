package status

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"keepkey/plan"
)

// Condition is what is wrong with a lineage, for those who are to be told of it.
type Condition struct {
	Name     string   // of the lineage; "" for what is wrong with keepkey as a whole
	Domains  []string // of its certificate
	CA       string   // the URL of its directory
	Expires  time.Time
	Problems []Problem
	// Blind says that something keeps keepkey from seeing all of it: what is not among the
	// problems may be so all the same.
	Blind bool
	// Again is when somebody looks at it again; zero where nobody knows.
	Again time.Time
}

// ConditionOf returns the condition of a lineage after a run, or one that is not configured.
// Not all that a run reports is worth waking anybody: see [notable].
func ConditionOf(name string, in plan.Input, problems, notes []plan.Finding) Condition {
	c := Condition{Name: name, Domains: in.Goal.Domains, CA: in.Goal.CA}
	if cert := in.State.Certificate; cert != nil {
		c.Expires = cert.NotAfter
	}
	for _, f := range slices.Concat(problems, notes) {
		c.Blind = c.Blind || blinds(f)
		p, ok := notable(name, f)
		if !ok {
			continue
		}
		// The worst of those that are one.
		i := slices.IndexFunc(c.Problems, func(other Problem) bool { return other.ID == p.ID })
		switch {
		case i < 0:
			c.Problems = append(c.Problems, p)
		case p.level > c.Problems[i].level:
			c.Problems[i] = p
		}
	}
	return c
}

// blinds reports whether with a finding others are not looked for, or not to the end.
func blinds(f plan.Finding) bool {
	return f.Blocks || slices.Contains([]plan.Code{plan.StateUnreadable, plan.StateUnwritten, plan.Interrupted, plan.BrokeDown, plan.Endless}, f.Code)
}

// notable returns the problem that a person is to be told of, if it is one: all problems
// but that a run was interrupted; and what a rollover waits for, where it waits for a person.
func notable(name string, f plan.Finding) (Problem, bool) {
	p := ProblemOf(name, f)
	switch {
	case f.Code == plan.Interrupted || f.Code == plan.NotificationFailing:
		return Problem{}, false
	case p.Severity == Info && f.Code != plan.RolloverWaits && f.Code != plan.SuccessorMissing:
		return Problem{}, false
	case p.Severity == Info && f.Compromised:
		p.Severity = Critical
	case p.Severity == Info:
		p.Severity = Warning
	}
	switch {
	case p.Severity == Critical:
		p.level = levelCritical
	case f.Action == plan.Obtain && f.Late:
		p.level = levelLate
	default:
		p.level = levelWarning
	}
	p.ofCA = (f.Code == plan.CAUnreachable || f.Code == plan.CAPaused) && p.Severity != Critical
	if f.Failure != nil {
		p.attempts = f.Failure.Count
	}
	return p, true
}

// level grows when a problem gets worse, so that who knows of it is told again.
type level int

const (
	levelWarning  level = iota + 1
	levelLate           // a warning, and less than a third of the certificate's lifetime is left
	levelCritical       // when less than a sixth is left, among others
)

// severity is that of all problems of a level.
func (l level) severity() Severity {
	if l == levelCritical {
		return Critical
	}
	return Warning
}

// Whole is what is wrong with keepkey as a whole: findings that are no lineage's, and CAs that
// can't be asked. A CA has many certificates, so of that it is told once for all of them;
// those that are about to expire are told of by themselves, too.
func Whole(findings []plan.Finding, all []Condition) Condition {
	var whole Condition
	for _, f := range findings {
		if p, ok := notable("", f); ok {
			whole.Problems = append(whole.Problems, p)
		}
	}
	of := make(map[string][]Condition)
	for _, c := range all {
		if slices.ContainsFunc(c.Problems, func(p Problem) bool { return p.ofCA }) {
			of[c.CA] = append(of[c.CA], c)
		}
	}
	for _, ca := range slices.Sorted(maps.Keys(of)) {
		whole.Problems = append(whole.Problems, forCA(ca, of[ca]))
	}
	return whole
}

// forCA words what certificates of a CA have in common.
func forCA(ca string, all []Condition) Problem {
	slices.SortFunc(all, func(a, b Condition) int { return cmp.Compare(a.Name, b.Name) })
	var names []string
	var expires time.Time
	for _, c := range all {
		names = append(names, c.Name)
		if e := c.Expires; !e.IsZero() && (expires.IsZero() || e.Before(expires)) {
			expires = e
		}
	}
	first := all[0].Problems[slices.IndexFunc(all[0].Problems, func(p Problem) bool { return p.ofCA })]
	p := first
	if len(all) > 1 {
		p = ForMany(first, expires)
	}
	p.ID, p.level, p.ofCA = "ca "+ca, levelWarning, false
	p.Subject = fmt.Sprintf("%s: %s", Several(names), first.Subject)
	return p
}

// Several names certificates, as many as one wants to read.
func Several(names []string) string {
	const shown = 3
	switch n := len(names); {
	case n < 2:
		return strings.Join(names, "")
	case n > shown:
		return fmt.Sprintf("%d certificates (%s, ...)", n, strings.Join(names[:shown], ", "))
	default:
		return fmt.Sprintf("%d certificates (%s)", n, strings.Join(names, ", "))
	}
}
