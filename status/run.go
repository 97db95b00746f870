package status

import (
	"fmt"
	"strings"
	"time"

	"keepkey/plan"
)

// Outcome says in a few words what became of a lineage in a run, as far as it can be
// told from what was done.
type Outcome struct {
	Name     string
	What     string
	Expires  time.Time // of the certificate; zero without one
	Next     *plan.Action
	Problems []Problem
	Notes    []Problem
	// Worked says that something was done that a person may want to know of.
	Worked bool
	Did    []string // what was done, in order
}

// OutcomeOf sums up a run: what was done, what is left, how it is now.
func OutcomeOf(name string, done []plan.Action, problems, notes []plan.Finding, state plan.State, next *plan.Action) Outcome {
	o := Outcome{Name: name, Next: next, Problems: Problems(name, problems), Notes: Problems(name, notes)}
	did := make(map[plan.Kind]bool)
	for _, a := range done {
		did[a.Kind] = true
		o.Worked = o.Worked || !a.Kind.Upkeep()
		o.Did = append(o.Did, Describe(a))
	}
	c := state.Certificate
	if c != nil {
		o.Expires = c.NotAfter
	}
	blocked := false
	for _, f := range problems {
		blocked = blocked || f.Blocks
	}
	switch failed := len(problems) > 0; {
	case failed && problems[0].Code == plan.LineageLeft:
		o.What = "not configured"
	case did[plan.SwitchKey]:
		o.What = "switched keys"
	case did[plan.Obtain] && c != nil && c.Version > 1:
		o.What = "renewed with the same key"
	case did[plan.Obtain]:
		o.What = "first certificate obtained"
	case failed && c == nil && !blocked: // else nobody knows
		o.What = "no certificate yet"
	case failed && o.Worked:
		o.What = "partly done"
	case failed:
		o.What = "no change"
	case o.Worked:
		o.What = "brought up to date"
	default:
		o.What = "nothing due"
	}
	return o
}

// String is the outcome in one line.
func (o Outcome) String() string {
	line := o.Name + ": " + o.What
	switch n := len(o.Problems); n {
	case 0:
	case 1:
		line += ", 1 problem"
	default:
		line += fmt.Sprintf(", %d problems", n)
	}
	if !o.Expires.IsZero() {
		line += ", expires " + Time(o.Expires)
	}
	if o.Next != nil && len(o.Problems) == 0 {
		line += ", next: " + o.NextText()
	}
	return line
}

// NextText names the next action with its time; "" when none is foreseen.
func (o Outcome) NextText() string {
	if o.Next == nil {
		return ""
	}
	return fmt.Sprintf("%s at %s", strings.ReplaceAll(string(o.Next.Kind), "-", " "), Time(o.Next.At))
}
