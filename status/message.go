package status

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"keepkey/plan"
)

// Message is what a hook is handed: a notice; or many that say the same of as many lineages,
// so that what went wrong for all of them wakes somebody once.
type Message struct {
	ID      string
	State   State
	Summary string // a line
	Text    string // lines: what is wrong, what is safe, what to do
	Problem Problem
	Names   []string // of the lineages that it is about; none where it is keepkey as a whole
	Domains []string
	Since   time.Time // of the first; zero for a test
	Expires time.Time // of the certificate that ends first; zero where that means nothing

	Notices []Notice // that are delivered with it
}

const (
	// few is how many notices of one kind are each told by themselves.
	few = 3
	// maxSummary and maxText bound what a message says, in bytes, and maxListed the lineages
	// that it lists.
	maxSummary = 200
	maxText    = 16 << 10
	maxListed  = 20
)

// Messages puts what a hook is owed into messages, the worst first. host is this one's name.
func Messages(owed []Notice, host string) []Message {
	type kind struct {
		code  plan.Code
		state State
		level level
	}
	of := make(map[kind][]Notice)
	var kinds []kind
	for _, n := range owed {
		k := kind{n.Problem.Code, n.State, n.level}
		if of[k] == nil {
			kinds = append(kinds, k)
		}
		of[k] = append(of[k], n)
	}
	slices.SortStableFunc(kinds, func(a, b kind) int { return int(b.level) - int(a.level) })
	var messages []Message
	for _, k := range kinds {
		if notices := of[k]; len(notices) > few {
			messages = append(messages, message(notices, host))
		} else {
			for _, n := range notices {
				messages = append(messages, message([]Notice{n}, host))
			}
		}
	}
	return messages
}

// TestMessage is sent to see whether messages arrive.
func TestMessage(id, host string) Message {
	return Message{
		ID: id, State: Test, Problem: Problem{ID: string(Test), Code: plan.Code(Test), Severity: Info},
		Summary: "keepkey" + on(host) + ": a test of notifications",
		Text:    "nothing is wrong: somebody ran keepkey notify --test" + on(host) + "\n",
	}
}

// message words notices of one kind.
func message(notices []Notice, host string) Message {
	first := notices[0]
	m := Message{ID: first.ID, State: first.State, Problem: first.Problem, Domains: first.Lineage.Domains, Since: first.Since, Notices: notices}
	var ids []string
	for _, n := range notices {
		ids = append(ids, n.ID)
		if n.Lineage.Name != "" {
			m.Names = append(m.Names, n.Lineage.Name)
		}
		m.Since = earlier(m.Since, n.Since)
		if e := n.Lineage.Expires; !e.IsZero() {
			m.Expires = earlier(m.Expires, e)
		}
	}
	if len(notices) > 1 {
		slices.Sort(ids)
		m.ID, m.Problem.ID, m.Domains = identity(ids...), string(first.Problem.Code), nil
	}
	what := string(m.Problem.Severity)
	switch m.State {
	case Worse:
		what = "worse, " + what
	case Over:
		what = "over"
	}
	subject := first.Problem.Subject
	if len(m.Names) > 0 {
		subject = Several(m.Names) + ": " + subject
	}
	m.Summary = cut(plain(fmt.Sprintf("keepkey%s: %s: %s", on(host), what, strings.ReplaceAll(subject, "\n", " "))), maxSummary)
	m.Text = m.text(host)
	return m
}

// text is what a message says in full.
func (m Message) text(host string) string {
	var b strings.Builder
	line := func(format string, args ...any) { b.WriteString(plain(fmt.Sprintf(format, args...)) + "\n") }
	for i, n := range m.Notices {
		if i == maxListed {
			line("... and %d more", len(m.Notices)-i)
			break
		}
		name := ""
		if n.Lineage.Name != "" {
			name = n.Lineage.Name + ": "
		}
		subject := n.Problem.Subject
		if len(m.Notices) > 1 {
			subject = cut(subject, maxTold)
		}
		line("%s%s", name, subject)
	}
	switch {
	case m.State == Over:
		line("\nthis is over; it began at %s", Time(m.Since))
		return cut(b.String(), maxText)
	case len(m.Notices) > 1:
		line("\nwhat is safe, and what to do, for each of them: keepkey status")
	default:
		for _, l := range m.Problem.Lines()[1:] {
			line("%s", l)
		}
	}
	line("\nseverity %s, code %s%s, since %s", m.Problem.Severity, m.Problem.Code, on(host), Time(m.Since))
	if !m.Expires.IsZero() {
		line("the certificate in use expires at %s", Time(m.Expires))
	}
	return cut(b.String(), maxText)
}

func on(host string) string {
	if host == "" {
		return ""
	}
	return " on " + host
}

// plain escapes what is not to be printed: some of it comes from elsewhere.
func plain(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r == '\n' || unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "\\u%04x", r)
		}
	}
	return b.String()
}

// cut shortens a text to so many bytes.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit-3], "") + "..."
}
