package cli

import (
	"bytes"
	"strings"
	"testing"
)

func TestProgressLineStaysBelowTheLogs(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := newProgress(Env{Stderr: &out, Terminal: true}, 2)
	p.begin("a.example.com")
	p.Write([]byte("a log line\n"))
	p.end("a.example.com", true)
	p.begin("b.example.com")
	p.finish()
	got := screen(out.String())
	if got != "a log line\n" {
		t.Errorf("in the end the screen shows %q", got)
	}
	for _, want := range []string{"0 of 2 done: a.example.com", "1 of 2 done, 1 failed: b.example.com"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q was never shown: %q", want, out.String())
		}
	}
}

func TestNoProgressLineOffATerminal(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := newProgress(Env{Stderr: &out}, 1)
	p.begin("a.example.com")
	p.Write([]byte("a log line\n"))
	p.end("a.example.com", false)
	p.finish()
	if out.String() != "a log line\n" {
		t.Errorf("got %q", out.String())
	}
}

// screen plays carriage returns as a terminal does.
func screen(s string) string {
	var done strings.Builder
	line, column := []rune{}, 0
	for _, r := range s {
		switch r {
		case '\r':
			column = 0
		case '\n':
			done.WriteString(strings.TrimRight(string(line), " ") + "\n")
			line, column = nil, 0
		default:
			if column == len(line) {
				line = append(line, r)
			} else {
				line[column] = r
			}
			column++
		}
	}
	done.WriteString(strings.TrimRight(string(line), " "))
	return done.String()
}

func TestPrintableLeavesNothingThatSteersATerminal(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain":                      "plain",
		"\x1b[2Jgone":                `\u001b[2Jgone`,
		"two\nlines\n":               "two\n    lines",
		"\u202egpj.exe":              `\u202egpj.exe`,
		"a\rb\x00c\u0085d":           `a\u000db\u0000c\u0085d`,
		"bücher.example \u2192 x\ty": "bücher.example → x\ty",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
