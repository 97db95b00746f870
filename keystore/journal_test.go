package keystore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"keepkey/internal/durable"
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

// What can be read of a journal and of a ledger is shown, whatever became of the rest.
func TestThePastIsReadAsFarAsItGoes(t *testing.T) {
	t.Parallel()
	l := newLineage(t)
	s := swap(t, l, Snapshot{}, `{"n":1}`, nil)
	for i := 1; i <= 3; i++ {
		s = swap(t, l, s, `{"n":1}`, intent(i))
	}
	past := func(want int, problem string) {
		t.Helper()
		entries, err := l.Records.Past()
		if len(entries) != want || (err != nil) != (problem != "") || (err != nil && !strings.Contains(err.Error(), problem)) {
			t.Errorf("%d entries, %v; want %d, %q", len(entries), err, want, problem)
		}
	}
	past(3, "")
	if err := appendTo(l.Records.ledgerPath(), []byte("garbage\n")); err != nil {
		t.Fatal(err)
	}
	past(3, "line 4")
	if err := os.WriteFile(l.Records.statePath(), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	past(3, "the state of")
	if err := os.Remove(l.Records.statePath()); err != nil {
		t.Fatal(err)
	}
	past(3, "no state.json beside it")

	older := durable.Older(l.Journal.path())
	if err := errors.Join(os.WriteFile(l.Journal.path(), []byte("one\n\ntwo\nthr"), 0o600), os.Mkdir(older, 0o700)); err != nil {
		t.Fatal(err)
	}
	lines, err := l.Journal.Lines()
	if got := string(bytes.Join(lines, []byte("|"))); got != "one|two" || err == nil || !strings.Contains(err.Error(), older) {
		t.Errorf("%q, %v; want the lines that are whole, and what can't be read", got, err)
	}
}
