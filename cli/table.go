package cli

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"keepkey/status"
)

// table is rows of cells, aligned and cut to the width of the terminal, with colour
// for what needs a person.
type table struct {
	header []string
	rows   []row
}

type row struct {
	severity status.Severity // "" when nothing needs a person
	cells    []string
}

func (t *table) add(severity status.Severity, cells ...string) {
	for i := range cells {
		cells[i] = printable(cells[i])
	}
	t.rows = append(t.rows, row{severity, cells})
}

// minCell is how narrow a column may become where the terminal is too narrow for all.
const minCell = 8

// widths are the columns' widths: what the widest cell takes, the widest columns
// narrowed until a row fits.
func (t *table) widths(total int) []int {
	widths := make([]int, len(t.header))
	for _, cells := range append([][]string{t.header}, cellsOf(t.rows)...) {
		for i, c := range cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	const gap = 2
	for {
		sum, widest := gap*(len(widths)-1), 0
		for i, w := range widths {
			sum += w
			if w > widths[widest] {
				widest = i
			}
		}
		if sum <= total || widths[widest] <= minCell {
			return widths
		}
		widths[widest]--
	}
}

func cellsOf(rows []row) [][]string {
	var all [][]string
	for _, r := range rows {
		all = append(all, r.cells)
	}
	return all
}

var colours = map[status.Severity]string{status.Critical: "\x1b[31m", status.Warning: "\x1b[33m"}

func (t *table) print(env Env) {
	widths := t.widths(env.Width)
	line := func(cells []string) string {
		var b strings.Builder
		for i, c := range cells {
			if n := utf8.RuneCountInString(c); n > widths[i] {
				c = string([]rune(c)[:widths[i]-1]) + "…"
			}
			fmt.Fprintf(&b, "%-*s  ", widths[i], c)
		}
		return strings.TrimRight(b.String(), " ")
	}
	fmt.Fprintln(env.Stdout, line(t.header))
	for _, r := range t.rows {
		text := line(r.cells)
		if colour := colours[r.severity]; colour != "" && env.Getenv("NO_COLOR") == "" {
			text = colour + text + "\x1b[0m"
		}
		fmt.Fprintln(env.Stdout, text)
	}
}

// dateOf is a time in a table, where there is no room for the hour. Who asks for one
// certificate by its name is told that, too.
func dateOf(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.DateOnly)
}

// nextIn is what comes next, in a table.
func nextIn(o *status.Outcome, now time.Time) string {
	if o.Next == nil {
		return ""
	}
	when := "now"
	if o.Next.At.After(now) {
		when = dateOf(o.Next.At)
	}
	return strings.ReplaceAll(string(o.Next.Kind), "-", " ") + " " + when
}
