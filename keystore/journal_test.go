package keystore

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestTheJournalKeepsTheNewestLines(t *testing.T) {
	t.Parallel()
	l := newLineage(t)
	if lines, err := l.Journal.Lines(); err != nil || lines != nil {
		t.Fatalf("%q, %v before there is one", lines, err)
	}
	swap(t, l, Snapshot{}, `{"n":1}`, nil)
	const length = 1000
	for i := range 3 * maxJournal / length {
		if err := l.Journal.Add([]byte(fmt.Sprintf("%-*d", length, i))); err != nil {
			t.Fatal(err)
		}
	}
	lines, err := l.Journal.Lines()
	if err != nil {
		t.Fatal(err)
	}
	last := strings.TrimSpace(string(lines[len(lines)-1]))
	if n := len(lines); n < maxJournal/length || n > 2*maxJournal/length || last != fmt.Sprint(3*maxJournal/length-1) {
		t.Errorf("%d lines are left, the last is %q", n, last)
	}
	info, err := os.Stat(l.Journal.path())
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() > maxJournal {
		t.Errorf("%v, %v", info, err)
	}
}
