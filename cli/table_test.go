package cli

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"keepkey/status"
)

// printed is what a terminal of some width gets of a table.
func printed(t *table, width int, environ map[string]string) string {
	var out bytes.Buffer
	t.print(Env{Stdout: &out, Width: width, Getenv: func(name string) string { return environ[name] }})
	return out.String()
}

func example() *table {
	t := &table{header: []string{"NAME", "EXPIRES", "PROBLEMS"}}
	t.add("", "api.example.com", "2027-02-19", "")
	t.add(status.Warning, "www.example.com", "2027-02-19", "publication-failing")
	t.add(status.Critical, "mx.example.com", "-", "key-missing")
	t.add(status.Info, "imap.example.com", "2027-02-20", "old-pin-kept")
	return t
}

func TestTableIsAligned(t *testing.T) {
	t.Parallel()
	want := `NAME              EXPIRES     PROBLEMS
api.example.com   2027-02-19
www.example.com   2027-02-19  publication-failing
mx.example.com    -           key-missing
imap.example.com  2027-02-20  old-pin-kept
`
	if got := printed(example(), 80, map[string]string{"NO_COLOR": "1"}); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestTableFitsTheWidth(t *testing.T) {
	t.Parallel()
	wide := example()
	wide.add("", strings.Repeat("a-very-long-name.", 10)+"example.com", "2027-02-19", "issuance-failing")
	wide.add("", "bücher-"+strings.Repeat("ü", 100)+".example", "2027-02-19", "")
	// Three columns of eight, with two spaces between, are the least.
	for width := 28; width <= 250; width++ {
		out := printed(wide, width, map[string]string{"NO_COLOR": "1"})
		lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
		if len(lines) != 7 {
			t.Fatalf("%d lines at width %d:\n%s", len(lines), width, out)
		}
		widest := 0
		for _, line := range lines {
			widest = max(widest, utf8.RuneCountInString(line))
		}
		if widest > width || !utf8.ValidString(out) {
			t.Errorf("%d columns at width %d:\n%s", widest, width, out)
		}
		if cut := strings.Contains(lines[5], "…"); cut != (width < 181+2+10+2+19) {
			t.Errorf("the long name is cut: %v, at width %d:\n%s", cut, width, out)
		}
		if width >= 80 && !strings.Contains(out, "publication-failing") {
			t.Errorf("a short cell is cut at width %d, where there are longer ones:\n%s", width, out)
		}
	}
}

func TestTableIsNotTornByWhatIsInIt(t *testing.T) {
	t.Parallel()
	tab := &table{header: []string{"NAME", "RESULT"}}
	tab.add("", "a\x1b[2Jb", "c\rd")
	if got := printed(tab, 80, nil); strings.ContainsAny(got, "\x1b\r") {
		t.Errorf("it steers the terminal: %q", got)
	}
}

func TestOnlyWhatNeedsAPersonIsColoured(t *testing.T) {
	t.Parallel()
	const red, yellow, off = "\x1b[31m", "\x1b[33m", "\x1b[0m"
	lines := strings.Split(printed(example(), 80, nil), "\n")
	for i, want := range []string{"", "", yellow, red, ""} {
		line := lines[i]
		if want == "" {
			if strings.Contains(line, "\x1b") {
				t.Errorf("coloured for no reason: %q", line)
			}
			continue
		}
		if !strings.HasPrefix(line, want) || !strings.HasSuffix(line, off) || strings.Count(line, "\x1b") != 2 {
			t.Errorf("line %d: %q, want it to be in the colour %q", i, line, want)
		}
	}
	if got := printed(example(), 80, map[string]string{"NO_COLOR": "1"}); strings.Contains(got, "\x1b") {
		t.Errorf("coloured in spite of NO_COLOR: %q", got)
	}
	// An empty one counts for nothing: see no-color.org.
	if got := printed(example(), 80, map[string]string{"NO_COLOR": ""}); !strings.Contains(got, red) {
		t.Errorf("not coloured: %q", got)
	}
}

func TestTheWorstProblemGivesTheColour(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		problems []status.Severity
		want     status.Severity
	}{
		{nil, ""},
		{[]status.Severity{status.Info}, status.Info},
		{[]status.Severity{status.Info, status.Warning}, status.Warning},
		{[]status.Severity{status.Warning, status.Info}, status.Warning},
		{[]status.Severity{status.Warning, status.Critical, status.Warning}, status.Critical},
	} {
		var problems []status.Problem
		for _, s := range tt.problems {
			problems = append(problems, status.Problem{Severity: s})
		}
		if got := status.Worst(problems); got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.problems, got, tt.want)
		}
	}
}
