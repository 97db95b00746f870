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

// What Load would refuse is refused before anything is written (design, rule 19).
func TestNothingIsStoredThatCouldNotBeReadAgain(t *testing.T) {
	t.Parallel()
	l := newLineage(t)
	s := begun(t, l, 1)
	text := func(n int) string { return `"` + strings.Repeat("x", n) + `"` }
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
		{"an entry that makes no sense", `{}`, never, "never published"},
		{"a channel that is not text", `{}`, unreadable, "can't be the name of a channel"},
		{"no JSON with an entry", `{`, intent(2), "nothing was written"},
	} {
		if _, err := l.Records.Swap(s, []byte(tt.state), tt.entry); err == nil || !strings.Contains(err.Error(), tt.want) || len(err.Error()) > 500 {
			t.Errorf("%s: error %.500v, want one that says %q", tt.name, err, tt.want)
		}
	}
	if after := snapshot(t, l.Records.dir); after != before {
		t.Errorf("something was written:\n%s\n%s", before, after)
	}
	if err := checkLedgerSize(maxLedger + 1); err == nil || checkLedgerSize(maxLedger) != nil {
		t.Error("a ledger may be larger than what is read back")
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
	store, err := Open(writer.Records.store.dir, "")
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
