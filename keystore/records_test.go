package keystore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"keepkey/pinset"
)

// intent is an entry that makes sense after version-1 others like it.
func intent(version int) *pinset.Entry {
	return &pinset.Entry{
		At: testNow.Add(time.Duration(version) * time.Hour), Kind: pinset.Intent, Channel: "app", Version: version,
		Pins: []pinset.Pin{{1}, {byte(version), byte(version >> 8), 2}}, Lifetime: &pinset.Lifetime{Duration: 30 * day},
	}
}

func swap(t testing.TB, l *Lineage, old Snapshot, state string, entry *pinset.Entry) Snapshot {
	t.Helper()
	s, err := l.Records.Swap(old, []byte(state), entry)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func load(t testing.TB, l *Lineage) Snapshot {
	t.Helper()
	s, err := l.Records.Load()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// begun is a lineage with a state and a ledger of n entries.
func begun(t testing.TB, l *Lineage, n int) Snapshot {
	t.Helper()
	s := swap(t, l, Snapshot{}, `{"n":0}`, nil)
	for i := 1; i <= n; i++ {
		s = swap(t, l, s, fmt.Sprintf(`{"n":%d}`, i), intent(i))
	}
	return s
}

// same compares JSON, whatever its white space.
func same(a []byte, b string) bool {
	var x, y bytes.Buffer
	return json.Compact(&x, a) == nil && json.Compact(&y, []byte(b)) == nil && x.String() == y.String()
}

func TestRecordsAreSwappedOnlyAgainstWhatWasRead(t *testing.T) {
	t.Parallel()
	l := newLineage(t)
	if s := load(t, l); s.State != nil || s.LedgerProblem != nil || s.Revision != "" {
		t.Fatalf("before the first: %+v", s)
	}
	first := swap(t, l, Snapshot{}, `{"n":1}`, nil)
	if _, err := l.Records.Swap(Snapshot{}, []byte(`{"n":2}`), nil); !errors.Is(err, ErrConflict) {
		t.Errorf("a swap that expects no state says %v", err)
	}
	second := swap(t, l, first, `{"n":2}`, nil)
	if _, err := l.Records.Swap(first, []byte(`{"n":3}`), nil); !errors.Is(err, ErrConflict) {
		t.Errorf("a swap against an old revision says %v", err)
	}
	if _, err := l.Records.Swap(first, []byte(`{"n":3}`), intent(1)); !errors.Is(err, ErrConflict) {
		t.Errorf("a swap with an entry against an old revision says %v", err)
	}
	third := swap(t, l, second, `{"n":2}`, intent(1)) // the same state, and an entry
	if _, err := l.Records.Swap(second, []byte(`{"n":3}`), nil); !errors.Is(err, ErrConflict) {
		t.Errorf("a swap against a shorter ledger says %v", err)
	}
	if s := load(t, l); !same(s.State, `{"n":2}`) || len(s.Ledger.Entries()) != 1 || s.Revision != third.Revision {
		t.Errorf("there is %s with %d entries", s.State, len(s.Ledger.Entries()))
	}
}

func TestSwapReturnsWhatLoadReads(t *testing.T) {
	t.Parallel()
	l := newLineage(t)
	s := Snapshot{}
	for i, state := range []string{`{}`, `{"a":[1,2,{"b":"<&>\u2028"}]}`, " [ 1 ,\n2 ] ", `"text"`, `{"a":[1,2,{"b":"<&>"}]}`} {
		var entry *pinset.Entry
		if i > 0 {
			entry = intent(i)
		}
		s = swap(t, l, s, state, entry)
		got := load(t, l)
		if !reflect.DeepEqual(got, s) {
			t.Errorf("%s: loaded\n%+v\nswapped\n%+v", state, got, s)
		}
		if !same(s.State, state) {
			t.Errorf("%s became %s", state, s.State)
		}
		if len(s.Ledger.Entries()) != i {
			t.Errorf("%d entries, want %d", len(s.Ledger.Entries()), i)
		}
	}
	// Read back and stored unchanged, it is the same file.
	before, err := os.ReadFile(l.Records.statePath())
	if err != nil {
		t.Fatal(err)
	}
	swap(t, l, s, string(s.State), nil)
	after, err := os.ReadFile(l.Records.statePath())
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("%s became %s (%v)", before, after, err)
	}
}

func TestEntryIsFilledIn(t *testing.T) {
	t.Parallel()
	l := newLineage(t)
	s := begun(t, l, 1)
	e := intent(2)
	e.N, e.Previous, e.At = 77, "wrong", testNow.Add(-time.Hour) // a clock that went back
	s = swap(t, l, s, `{}`, e)
	entries := s.Ledger.Entries()
	if got := entries[1]; got.N != 2 || got.Previous == "wrong" || !got.At.Equal(entries[0].At) {
		t.Errorf("the entry is %+v", got)
	}
}

// A crash at any moment of a swap leaves the old records, the new ones, or the new
// entry with the old state; and whatever it leaves, the next process goes on from it.
func TestCrashWhileSwapping(t *testing.T) {
	for _, start := range []struct {
		name    string
		prepare func(l *Lineage)
		entries int
	}{
		{"the first entry", func(l *Lineage) { begun(t, l, 0) }, 0},
		{"a further entry", func(l *Lineage) { begun(t, l, 2) }, 2},
		{"after a torn line", func(l *Lineage) { begun(t, l, 2); torn(t, l) }, 2},
		{"after an entry that is ahead", func(l *Lineage) { begun(t, l, 1); ahead(t, l, 2) }, 2},
		{"after an entry that is ahead and a torn line", func(l *Lineage) { begun(t, l, 1); ahead(t, l, 2); torn(t, l) }, 2},
	} {
		t.Run(start.name, func(t *testing.T) {
			var before Snapshot
			crashEverywhere(t, crash{
				before: func(l *Lineage) {
					start.prepare(l)
					before = load(t, l)
				},
				do: func(l *Lineage) error {
					_, err := l.Records.Swap(before, []byte(`{"n":"new"}`), intent(start.entries+1))
					return err
				},
				after: func(t *testing.T, l *Lineage, done bool) {
					s := load(t, l)
					if s.LedgerProblem != nil {
						t.Fatal(s.LedgerProblem)
					}
					oldState, newState := bytes.Equal(s.State, before.State), same(s.State, `{"n":"new"}`)
					n := len(s.Ledger.Entries())
					if n < start.entries || n > start.entries+1 {
						t.Fatalf("there are %d entries, and were %d", n, start.entries)
					}
					if !slices.EqualFunc(s.Ledger.Entries()[:start.entries], before.Ledger.Entries(), sameEntry) {
						t.Error("the entries before have changed")
					}
					switch {
					case done && (!newState || n != start.entries+1):
						t.Errorf("it was reported done, and there are %d entries and %s", n, s.State)
					case !oldState && !newState:
						t.Errorf("the state is neither the old nor the new one: %s", s.State)
					case newState && n != start.entries+1:
						t.Error("the new state is there without its entry")
					}
					next := swap(t, l, s, `{"n":"next"}`, intent(n+1))
					if again := load(t, l); !reflect.DeepEqual(again, next) || again.LedgerProblem != nil {
						t.Errorf("afterwards: %+v", again)
					}
				},
			})
		})
	}
}

func sameEntry(a, b pinset.Entry) bool { return reflect.DeepEqual(a, b) }

// ahead leaves what a crash between the two files leaves: an entry that the state does
// not know.
func ahead(t testing.TB, l *Lineage, version int) {
	t.Helper()
	s := load(t, l)
	_, line, err := s.Ledger.Append(*intent(version))
	if err != nil {
		t.Fatal(err)
	}
	if err := appendTo(l.Records.ledgerPath(), line); err != nil {
		t.Fatal(err)
	}
}

// torn leaves the beginning of a line.
func torn(t testing.TB, l *Lineage) {
	t.Helper()
	if err := appendTo(l.Records.ledgerPath(), []byte(`{"n":`)); err != nil {
		t.Fatal(err)
	}
}

func TestEntryThatIsAheadCounts(t *testing.T) {
	t.Parallel()
	l := newLineage(t)
	before := begun(t, l, 1)
	ahead(t, l, 2)
	s := load(t, l)
	if s.LedgerProblem != nil || len(s.Ledger.Entries()) != 2 || !bytes.Equal(s.State, before.State) {
		t.Fatalf("%d entries, %s, %v", len(s.Ledger.Entries()), s.State, s.LedgerProblem)
	}
	if _, err := l.Records.Swap(before, []byte(`{}`), intent(2)); !errors.Is(err, ErrConflict) {
		t.Errorf("who did not see the entry overwrites it: %v", err)
	}
	if got := load(t, l); !reflect.DeepEqual(got, s) {
		t.Errorf("a refused swap changed the records: %+v", got)
	}
	// A swap without an entry lets the head follow, too: the state may rely on the entry.
	s = swap(t, l, s, `{"n":"alone"}`, nil)
	if s = load(t, l); len(s.ahead) > 0 || len(s.Ledger.Entries()) != 2 {
		t.Errorf("the head is at %d of %d entries", s.head.Entries, len(s.Ledger.Entries()))
	}
}

// The head in the state must never name an entry that a power cut could take back.
func TestWhatIsAheadIsSyncedBeforeTheHeadFollows(t *testing.T) {
	for name, entry := range map[string]*pinset.Entry{"state alone": nil, "with an entry": intent(3)} {
		dir := filepath.Join(t.TempDir(), "state")
		_, l := reopen(t, dir)
		begun(t, l, 1)
		ahead(t, l, 2)
		s := load(t, l)
		seen := points(t, l.Records.dir, func() error {
			_, err := l.Records.Swap(s, []byte(`{}`), entry)
			return err
		})
		first := slices.Index(seen, "rename /state.json")
		written, synced := slices.Index(seen, "write /ledger.jsonl"), slices.Index(seen, "fsync /ledger.jsonl")
		if written < 0 || synced < written || first < synced {
			t.Errorf("%s: %q", name, seen)
		}
		if slices.Contains(seen[:first], "truncate /ledger.jsonl") {
			t.Errorf("%s: an entry that counts was cut off: %q", name, seen)
		}
	}
}

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

// What Load would refuse is refused before anything is written (design, rule 19).
func TestNothingIsStoredThatCouldNotBeReadAgain(t *testing.T) {
	t.Parallel()
	l := newLineage(t)
	s := begun(t, l, 1)
	text := func(n int) string { return `"` + strings.Repeat("x", n) + `"` }
	huge := intent(2)
	huge.Channel = strings.Repeat("x", maxLedger)
	unreadable := intent(2)
	unreadable.Channel = "app\xff"
	never := &pinset.Entry{At: testNow, Kind: pinset.Confirm, Channel: "app", Version: 9, By: pinset.ByKeepkey}
	before := snapshot(t, l.Records.dir)
	for _, tt := range []struct {
		name, state string
		entry       *pinset.Entry
		want        string
	}{
		{"a state that is too large", text(maxFile), nil, "more than the 1048576 that can be read back"},
		{"the same with an entry", text(maxFile), intent(2), "more than the 1048576"},
		{"no JSON", `{"a":`, nil, "nothing was written"},
		{"two documents", `{} {}`, nil, "nothing was written"},
		{"null", `null`, nil, "nothing was written"},
		{"nothing", ``, nil, "nothing was written"},
		{"a ledger that is too large", `{}`, huge, "more than the 67108864 that can be read back"},
		{"an entry that makes no sense", `{}`, never, "never published"},
		{"a channel that is not text", `{}`, unreadable, "would be read back as"},
		{"no JSON with an entry", `{`, intent(2), "nothing was written"},
	} {
		if _, err := l.Records.Swap(s, []byte(tt.state), tt.entry); err == nil || !strings.Contains(err.Error(), tt.want) || len(err.Error()) > 500 {
			t.Errorf("%s: error %.500v, want one that says %q", tt.name, err, tt.want)
		}
	}
	if after := snapshot(t, l.Records.dir); after != before {
		t.Errorf("something was written:\n%s\n%s", before, after)
	}
	// The largest that fits is read again.
	envelope, err := formatEnvelope(s.head, []byte(`""`))
	if err != nil {
		t.Fatal(err)
	}
	s = swap(t, l, s, text(maxFile-len(envelope)), nil)
	if got := load(t, l); !reflect.DeepEqual(got, s) {
		t.Error("the largest state was not read again")
	}
	if _, err := l.Records.Swap(s, []byte(text(maxFile-len(envelope)+1)), nil); err == nil {
		t.Error("one byte more was taken")
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

// `keepkey status` reads while another process works: what it sees is never damage.
func TestReaderBesideAWriter(t *testing.T) {
	t.Parallel()
	writer := newLineage(t)
	begun(t, writer, 0)
	const swaps = 150
	var wg sync.WaitGroup
	defer wg.Wait()
	done := make(chan struct{})
	wg.Go(func() {
		defer close(done)
		s, err := writer.Records.Load()
		for i := 1; i <= swaps && err == nil; i++ {
			s, err = writer.Records.Swap(s, fmt.Appendf(nil, `{"n":%d}`, i), intent(i))
		}
		if err != nil {
			t.Error(err)
		}
	})
	store, err := Open(writer.Records.store.dir)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := store.Lineage(writer.Records.name)
	if err != nil {
		t.Fatal(err)
	}
	entries := 0
	for last := false; ; {
		s, err := reader.Records.Load()
		if err != nil || s.LedgerProblem != nil {
			t.Fatal(err, s.LedgerProblem)
		}
		var state struct{ N int }
		if err := json.Unmarshal(s.State, &state); err != nil {
			t.Fatal(err)
		}
		n := len(s.Ledger.Entries())
		if n < entries || n < state.N || n > state.N+1 {
			t.Fatalf("%d entries after %d, and the state is of %d", n, entries, state.N)
		}
		entries = n
		if last {
			break
		}
		select {
		case <-done:
			last = true
		default:
		}
	}
	if entries != swaps {
		t.Errorf("%d entries in the end, want %d", entries, swaps)
	}
}

// What a reader does that read the state before a swap and the ledger after it.
func TestReaderThatWasOvertakenReadsAgain(t *testing.T) {
	t.Parallel()
	l := newLineage(t)
	s := begun(t, l, 1)
	old, err := l.Records.readState()
	if err != nil {
		t.Fatal(err)
	}
	for i := 2; i <= 3; i++ {
		s = swap(t, l, s, `{}`, intent(i))
	}
	overtaken, err := l.Records.load(old)
	if err != nil || overtaken.LedgerProblem == nil {
		t.Fatalf("%v: this proves nothing", err)
	}
	if same, err := l.Records.unchanged(overtaken); same || err != nil {
		t.Errorf("it takes the problem for real (%v)", err)
	}
	if err := os.Remove(l.Records.ledgerPath()); err != nil {
		t.Fatal(err)
	}
	if same, err := l.Records.unchanged(load(t, l)); !same || err != nil {
		t.Errorf("it does not take the problem for real (%v)", err)
	}
}

const goodHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // of nothing

func TestEnvelopeIsStrict(t *testing.T) {
	t.Parallel()
	envelope := func(entries, hash, state string) string {
		return fmt.Sprintf("{\n  \"ledger\": {\n    \"entries\": %s,\n    \"hash\": \"%s\"\n  },\n  \"state\": %s\n}\n", entries, hash, state)
	}
	other := strings.Replace(goodHash, "e3", "00", 1)
	for name, text := range map[string]string{
		"as it is written":      envelope("0", goodHash, "{\n    \"a\": 1\n  }"),
		"with entries":          envelope("3", other, `{}`),
		"another layout within": envelope("0", goodHash, "{ \"a\":\t1}"),
		"a list":                envelope("0", goodHash, `[]`),
		"parts like these":      envelope("0", goodHash, "{\n  \"state\": null,\n  \"ledger\": {\n    \"entries\": 7}}"),
	} {
		if _, state, err := parseEnvelope([]byte(text)); err != nil || !json.Valid(state) {
			t.Errorf("%s: %v", name, err)
		}
		if !json.Valid([]byte(text)) {
			t.Errorf("%s: the file is not JSON", name)
		}
	}
	good := envelope("0", goodHash, `{}`)
	for name, text := range map[string]string{
		"nothing":                 "",
		"null":                    "null",
		"a list":                  "[]",
		"empty":                   "{}\n",
		"no state":                strings.Replace(good, ",\n  \"state\": {}", "", 1),
		"no ledger":               "{\n  \"state\": {}\n}\n",
		"no hash":                 strings.Replace(good, ",\n    \"hash\": \""+goodHash+"\"", "", 1),
		"no entries":              strings.Replace(good, "    \"entries\": 0,\n", "", 1),
		"something else first":    strings.Replace(good, "{", "{\n  \"more\": 1,", 1),
		"something else last":     strings.Replace(good, "\n}\n", ",\n  \"more\": 1\n}\n", 1),
		"something else between":  strings.Replace(good, "  \"state\"", "  \"more\": 1,\n  \"state\"", 1),
		"something in the ledger": strings.Replace(good, "\n  },", ",\n    \"more\": 1\n  },", 1),
		"another case":            strings.Replace(good, `"state"`, `"State"`, 1),
		"two states":              strings.Replace(good, "\n}\n", ",\n  \"state\": {}\n}\n", 1),
		"two heads":               strings.Replace(good, "\n}\n", ",\n  \"ledger\": {}\n}\n", 1),
		"two numbers":             strings.Replace(good, "    \"entries\"", "    \"entries\": 1,\n    \"entries\"", 1),
		"two hashes":              strings.Replace(good, "    \"hash\"", "    \"hash\": \"\",\n    \"hash\"", 1),
		"a null state":            envelope("0", goodHash, "null"),
		"an empty state":          envelope("0", goodHash, ""),
		"half a state":            envelope("0", goodHash, `{"a":`),
		"two values":              envelope("0", goodHash, "{}\n{}"),
		"a null number":           envelope("null", goodHash, `{}`),
		"a fraction":              envelope("0.5", goodHash, `{}`),
		"a number with a sign":    envelope("+1", other, `{}`),
		"a number with a zero":    envelope("01", other, `{}`),
		"a negative number":       envelope("-1", other, `{}`),
		"a number in a string":    envelope(`"0"`, goodHash, `{}`),
		"a huge number":           envelope("99999999999999999999", other, `{}`),
		"a short hash":            envelope("1", other[1:], `{}`),
		"an upper-case hash":      envelope("1", strings.ToUpper(other), `{}`),
		"no hash at all":          envelope("1", strings.Repeat("x", 64), `{}`),
		"a hash of no entries":    envelope("0", other, `{}`),
		"another document":        good + good,
		"garbage behind":          good + "x",
		"a line behind":           good + "\n",
		"a bracket too many":      good + "}\n",
		"cut short":               good[:len(good)-1],
		"carriage returns":        strings.ReplaceAll(good, "\n", "\r\n"),
		"the state alone":         "{\n  \"schema\": 1,\n  \"lineage\": \"api\"\n}\n",
	} {
		if _, _, err := parseEnvelope([]byte(text)); err == nil {
			t.Errorf("%s was taken: %s", name, text)
		} else if strings.ContainsAny(err.Error(), "\n\x1b") || len(err.Error()) > 300 {
			t.Errorf("%s: the error is %q", name, err)
		}
	}
}

// What is read is written the same, but for the white space of the state.
func FuzzParseEnvelope(f *testing.F) {
	for _, state := range []string{`{"a": [1, "<>"]}`, `"\n}\n"`, "null", ""} {
		f.Add([]byte(beforeEntries + "0" + beforeHash + goodHash + beforeState + state + afterState))
		f.Add([]byte(beforeEntries + "12" + beforeHash + strings.Repeat("0", 64) + beforeState + state + afterState))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		head, state, err := parseEnvelope(data)
		if err != nil {
			return
		}
		written, err := formatEnvelope(head, state)
		if err != nil {
			t.Fatalf("%q was read and cannot be written: %v", data, err)
		}
		again, stateAgain, err := parseEnvelope(written)
		if err != nil || again != head || !same(stateAgain, string(state)) {
			t.Fatalf("%q became %q: %v", data, written, err)
		}
		if twice, err := formatEnvelope(again, stateAgain); err != nil || !bytes.Equal(twice, written) {
			t.Fatalf("%q became %q: %v", written, twice, err)
		}
	})
}
