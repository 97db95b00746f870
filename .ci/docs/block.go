package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// kind says what is done with a block of a page.
type kind int

const (
	commands kind = iota // are run by bash, which stops at the first that fails
	session              // commands after "$ ", with what they print
	file                 // is written
	addition             // is added at the end of a file
)

// block is something in a page that is to be done.
type block struct {
	page string
	line int // its first line, from 1
	kind kind
	path string // of the file
	text string
}

// notRun lists lines that are not run, each as PAGE, LINE and the reason, with tabs between.
const notRun = ".ci/docs/not-run.txt"

// read returns what the pages say is to be done, without the lines that can't be run.
func read(pages []string) ([]block, error) {
	list, err := os.ReadFile(notRun)
	if err != nil {
		return nil, err
	}
	except := make(map[string]bool) // whether it was met
	for line := range strings.Lines(string(list)) {
		parts := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(parts) != 3 || parts[2] == "" {
			return nil, fmt.Errorf("%s: %q: want a page, a line of it, and why it is not run, with tabs between", notRun, line)
		}
		except[parts[0]+"\t"+parts[1]] = false
	}
	var blocks []block
	for _, page := range pages {
		data, err := os.ReadFile(page)
		if err != nil {
			return nil, err
		}
		found, err := parse(page, string(data))
		if err != nil {
			return nil, err
		}
		for _, b := range found {
			if b.kind == commands {
				b.text = without(b, except)
			}
			if b.text != "" {
				blocks = append(blocks, b)
			}
		}
	}
	for line, met := range except {
		if !met {
			return nil, fmt.Errorf("%s lists a line that is not there: %q", notRun, line)
		}
	}
	return blocks, nil
}

// without takes out the lines that can't be run.
func without(b block, except map[string]bool) string {
	var kept strings.Builder
	for line := range strings.Lines(b.text) {
		key := b.page + "\t" + strings.TrimSuffix(line, "\n")
		if _, listed := except[key]; listed {
			except[key] = true
			continue
		}
		kept.WriteString(line)
	}
	return kept.String()
}

var (
	fence  = regexp.MustCompile("^```([a-z]*)(?: (added to )?(/.*))?$")
	hidden = regexp.MustCompile(`^<!-- walk: (.*) -->$`)
)

// inert are languages of blocks that only show something.
var inert = []string{"text", "json", "xml", "go", "yaml", "ini"}

// parse finds what is to be done in a page:
//
//	```sh             commands
//	```console        commands after "$ ", each with what it must print; "..." stands for
//	                  any lines. Pins, times, serial numbers and counts of days may differ
//	```yaml /a/path   a file (in any language), or "added to /a/path"
//	<!-- walk: ... -->  a command that readers do not see: what happens around, or a proof
//
// A block in another language has to say that it is only shown, and so has one that is
// merely indented.
func parse(page, text string) ([]block, error) {
	var blocks []block
	var open *block
	show := false // the open block is only shown
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSuffix(line, "\n")
		switch m := fence.FindStringSubmatch(line); {
		case line == "```" && (open != nil || show):
			if open != nil {
				blocks = append(blocks, *open)
			}
			open, show = nil, false
		case show:
		case open != nil:
			open.text += line + "\n"
		case m != nil:
			b := block{page: page, line: n + 1, path: m[3]}
			switch {
			case m[3] != "" && m[2] != "":
				b.kind = addition
			case m[3] != "":
				b.kind = file
			case m[1] == "sh":
				b.kind = commands
			case m[1] == "console":
				b.kind = session
			case slices.Contains(inert, m[1]):
				show = true
			default:
				return nil, fmt.Errorf("%s:%d: want ```sh, ```console, a path after the language, or one of %q", page, n, inert)
			}
			if !show {
				open = &b
			}
		case strings.HasPrefix(line, "    "):
			return nil, fmt.Errorf("%s:%d: an indented block does not say what it is; use a fence with a language", page, n)
		case hidden.MatchString(line):
			blocks = append(blocks, block{page: page, line: n, kind: commands, text: hidden.FindStringSubmatch(line)[1] + "\n"})
		}
	}
	if open != nil || show {
		return nil, fmt.Errorf("%s: a block has no end", page)
	}
	return blocks, nil
}

// variable is what differs from one machine and day to another.
var variable = regexp.MustCompile(`[A-Za-z0-9+/]{43}=|\d{4}-\d\d-\d\d \d\d:\d\d UTC|\b\d+ days\b|\b[0-9a-f]{16,}\b`)

// differs returns what a command printed otherwise than a page shows it, or "".
func differs(shown, printed string) string {
	want := strings.Split(strings.TrimRight(variable.ReplaceAllString(shown, "*"), "\n"), "\n")
	got := strings.Split(strings.TrimRight(variable.ReplaceAllString(printed, "*"), "\n"), "\n")
	for i, line := range want {
		if line == "..." {
			if i+1 == len(want) {
				return ""
			}
			j := slices.Index(got, want[i+1])
			if j < 0 {
				return fmt.Sprintf("nowhere: %q", want[i+1])
			}
			got = append(slices.Clone(want[:i+1]), got[j:]...)
			continue
		}
		if i >= len(got) || got[i] != line {
			return fmt.Sprintf("line %d is not %q in:\n%s", i+1, line, printed)
		}
	}
	if len(got) > len(want) {
		return fmt.Sprintf("more than is shown: %q", got[len(want)])
	}
	return ""
}
