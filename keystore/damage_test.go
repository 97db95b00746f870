package keystore

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"keepkey/pinset"
)

func TestDamagedRecords(t *testing.T) {
	t.Parallel()
	stateFile := func(l *Lineage) string { return l.Records.statePath() }
	ledgerFile := func(l *Lineage) string { return l.Records.ledgerPath() }
	lines := func(l *Lineage) [][]byte {
		data, err := os.ReadFile(ledgerFile(l))
		if err != nil {
			t.Fatal(err)
		}
		return bytes.SplitAfter(data, []byte("\n"))
	}
	tests := map[string]struct {
		damage func(t *testing.T, l *Lineage) error
		want   string // in the LedgerProblem
		ledger bool   // it is a *pinset.LedgerError
	}{
		"the ledger is missing": {func(_ *testing.T, l *Lineage) error { return os.Remove(ledgerFile(l)) }, "line 1", true},
		"its last line is missing": {func(_ *testing.T, l *Lineage) error {
			return os.WriteFile(ledgerFile(l), bytes.Join(lines(l)[:2], nil), 0o600)
		}, "line 3", true},
		"its last line is cut short": {func(_ *testing.T, l *Lineage) error {
			info, err := os.Stat(ledgerFile(l))
			return errors.Join(err, os.Truncate(ledgerFile(l), info.Size()-2))
		}, "line 3 of the ledger is cut short", true},
		"a line was changed": {func(_ *testing.T, l *Lineage) error {
			ls := lines(l)
			ls[1] = bytes.Replace(ls[1], []byte(`"app"`), []byte(`"App"`), 1)
			return os.WriteFile(ledgerFile(l), bytes.Join(ls, nil), 0o600)
		}, "line 3", true},
		"two entries more": {func(t *testing.T, l *Lineage) error {
			s := load(t, l)
			var err error
			for i := 4; i <= 5 && err == nil; i++ {
				var line []byte
				if s.Ledger, line, err = s.Ledger.Append(*intent(i)); err == nil {
					err = appendTo(ledgerFile(l), line)
				}
			}
			return err
		}, "line 5", true},
		"it is a directory": {func(_ *testing.T, l *Lineage) error {
			return errors.Join(os.Remove(ledgerFile(l)), os.Mkdir(ledgerFile(l), 0o700))
		}, "not a regular file", false},
		"it is larger than any": {func(_ *testing.T, l *Lineage) error { return os.Truncate(ledgerFile(l), maxLedger+1) }, "more than", false},
		"another lineage's state": {func(t *testing.T, l *Lineage) error {
			other, err := l.Records.store.Lineage("other")
			if err != nil {
				return err
			}
			s := swap(t, other, Snapshot{}, `{}`, nil)
			for i := 1; i <= 3; i++ {
				e := intent(i)
				e.Channel = "other"
				s = swap(t, other, s, `{}`, e)
			}
			data, err := os.ReadFile(stateFile(other))
			return errors.Join(err, os.WriteFile(stateFile(l), data, 0o600))
		}, "is not the one that the state knows", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLineage(t)
			begun(t, l, 3)
			if err := tt.damage(t, l); err != nil {
				t.Fatal(err)
			}
			s := load(t, l)
			var damaged *pinset.LedgerError
			if s.LedgerProblem == nil || !strings.Contains(s.LedgerProblem.Error(), tt.want) || errors.As(s.LedgerProblem, &damaged) != tt.ledger {
				t.Fatalf("problem %v, want one that says %q", s.LedgerProblem, tt.want)
			}
			if !strings.Contains(s.LedgerProblem.Error(), ledgerFile(l)) {
				t.Errorf("the problem does not name the file: %v", s.LedgerProblem)
			}
			if len(s.Ledger.Entries()) > 0 || s.State == nil {
				t.Errorf("%d entries, state %s", len(s.Ledger.Entries()), s.State)
			}
			// Nothing is appended, and the file stays as it is.
			before := snapshot(t, l.Records.dir)
			if _, err := l.Records.Swap(s, []byte(`{}`), intent(4)); !errors.Is(err, s.LedgerProblem) {
				t.Errorf("an entry: %v", err)
			}
			if after := snapshot(t, l.Records.dir); after != before {
				t.Errorf("it was changed:\n%s\n%s", before, after)
			}
			// The state alone can be swapped, and goes on naming the head that it named.
			s = swap(t, l, s, `{"n":"without"}`, nil)
			again := load(t, l)
			if again.LedgerProblem == nil || again.head != s.head || again.head.Entries != 3 || !same(again.State, `{"n":"without"}`) || again.Revision != s.Revision {
				t.Errorf("afterwards: %+v", again)
			}
		})
	}
}

// A ledger without a state speaks against a first run (design, rule 9).
func TestLostStateIsNotBegunAgain(t *testing.T) {
	t.Parallel()
	l := newLineage(t)
	begun(t, l, 1)
	if err := os.Remove(l.Records.statePath()); err != nil {
		t.Fatal(err)
	}
	s := load(t, l)
	if s.State != nil || s.LedgerProblem == nil || s.Revision == "" {
		t.Fatalf("%+v", s)
	}
	before := snapshot(t, l.Records.dir)
	if _, err := l.Records.Swap(s, []byte(`{}`), nil); !errors.Is(err, s.LedgerProblem) {
		t.Errorf("it was begun again: %v", err)
	}
	if _, err := l.Records.Swap(Snapshot{}, []byte(`{}`), nil); !errors.Is(err, ErrConflict) {
		t.Errorf("it was begun again: %v", err)
	}
	if _, err := l.Records.Restart(s, []byte(`{}`), []pinset.Entry{*intent(1)}, testNow); !errors.Is(err, s.LedgerProblem) {
		t.Errorf("it was begun again: %v", err)
	}
	if after := snapshot(t, l.Records.dir); after != before {
		t.Errorf("it was changed:\n%s\n%s", before, after)
	}
}

func TestDamagedStateIsAnError(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(path string) error{
		"empty":           func(p string) error { return os.Truncate(p, 0) },
		"cut short":       func(p string) error { return os.Truncate(p, 50) },
		"zeros":           func(p string) error { return os.WriteFile(p, make([]byte, 300), 0o600) },
		"a directory":     func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) },
		"a symbolic link": func(p string) error { return errors.Join(os.Rename(p, p+".real"), os.Symlink(p+".real", p)) },
		"larger than any": func(p string) error { return os.Truncate(p, maxFile+1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLineage(t)
			s := begun(t, l, 1)
			if err := damage(l.Records.statePath()); err != nil {
				t.Fatal(err)
			}
			before := snapshot(t, l.Records.dir)
			if _, err := l.Records.Load(); err == nil || !strings.Contains(err.Error(), l.Records.statePath()) {
				t.Errorf("error %v, want one that names the file", err)
			}
			if _, err := l.Records.Swap(s, []byte(`{}`), nil); err == nil {
				t.Error("a damaged state was replaced")
			}
			if after := snapshot(t, l.Records.dir); after != before {
				t.Errorf("it was changed:\n%s\n%s", before, after)
			}
		})
	}
}

func TestRestartKeepsTheDamagedLedger(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(path string) error{
		"damaged": func(p string) error { return os.WriteFile(p, []byte("damaged\n"), 0o600) },
		"huge":    func(p string) error { return os.Truncate(p, maxLedger+1) },
		"missing": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLineage(t)
			whole := begun(t, l, 2)
			entries := []pinset.Entry{*intent(7)}
			if _, err := l.Records.Restart(whole, []byte(`{}`), entries, testNow); err == nil || !strings.Contains(err.Error(), "the ledger is whole") {
				t.Errorf("a whole ledger: %v", err)
			}
			if err := damage(l.Records.ledgerPath()); err != nil {
				t.Fatal(err)
			}
			broken, err := os.Stat(l.Records.ledgerPath())
			if err != nil && name != "missing" {
				t.Fatal(err)
			}
			s := load(t, l)
			for _, refused := range []struct {
				old     Snapshot
				state   string
				entries []pinset.Entry
			}{
				{s, `{}`, nil},                              // no client would hold anything
				{s, `{`, entries},                           // no JSON
				{s, `{}`, []pinset.Entry{{Version: 1}}},     // no sense
				{withRevision(s, "other"), `{}`, entries},   // not what was read
				{withRevision(whole, ""), `{}`, entries},    // whole when it was read
				{withRevision(s, ""), `{"a":"b"}`, entries}, // as if there were none
			} {
				before := snapshot(t, l.Records.dir)
				if _, err := l.Records.Restart(refused.old, []byte(refused.state), refused.entries, testNow); err == nil {
					t.Errorf("taken: %+v", refused)
				}
				if after := snapshot(t, l.Records.dir); after != before {
					t.Errorf("it was changed:\n%s\n%s", before, after)
				}
			}
			restarted, err := l.Records.Restart(s, []byte(`{"n":"restarted"}`), entries, testNow)
			if err != nil {
				t.Fatal(err)
			}
			got := load(t, l)
			if got.LedgerProblem != nil || !reflect.DeepEqual(got, restarted) || len(got.Ledger.Entries()) != 1 || !same(got.State, `{"n":"restarted"}`) {
				t.Errorf("%+v", got)
			}
			kept, err := os.Stat(l.Records.ledgerPath() + ".damaged-20261121T120000Z")
			if name == "missing" {
				if err == nil {
					t.Error("there was nothing to keep, and something is kept")
				}
			} else if err != nil || !os.SameFile(kept, broken) {
				t.Errorf("the damaged ledger was not kept: %v", err)
			}
			swap(t, l, got, `{}`, intent(8))
		})
	}
}

func withRevision(s Snapshot, r Revision) Snapshot {
	s.Revision = r
	return s
}

// A crash while a ledger is restarted leaves one that is damaged or one that is whole,
// and the one before is never lost; the next restart gets through.
func TestCrashWhileRestarting(t *testing.T) {
	damaged := []byte("damaged\n")
	restart := func(l *Lineage, at time.Time) error {
		s, err := l.Records.Load()
		if err != nil {
			return err
		}
		_, err = l.Records.Restart(s, []byte(`{"n":"restarted"}`), []pinset.Entry{*intent(7), *intent(8), *intent(9)}, at)
		return err
	}
	crashEverywhere(t, crash{
		before: func(l *Lineage) {
			begun(t, l, 1)
			if err := os.WriteFile(l.Records.ledgerPath(), damaged, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		do: func(l *Lineage) error { return restart(l, testNow) },
		after: func(t *testing.T, l *Lineage, done bool) {
			s := load(t, l)
			if done && s.LedgerProblem != nil {
				t.Error(s.LedgerProblem)
			}
			if s.LedgerProblem != nil {
				if err := restart(l, testNow.Add(time.Second)); err != nil {
					t.Fatal(err)
				}
				s = load(t, l)
			}
			if s.LedgerProblem != nil || len(s.Ledger.Entries()) != 3 || !same(s.State, `{"n":"restarted"}`) {
				t.Errorf("%+v", s)
			}
			kept, err := filepath.Glob(l.Records.ledgerPath() + ".damaged-*")
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(kept, func(path string) bool {
				data, err := os.ReadFile(path)
				return err == nil && bytes.Equal(data, damaged)
			}) {
				t.Errorf("the damaged ledger is in none of %q", kept)
			}
		},
	})
}
