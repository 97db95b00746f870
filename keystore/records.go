package keystore

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"keepkey/internal/durable"
	"keepkey/pinset"
)

// Records are the state and the ledger of a lineage.
//
// They are two files, because the ledger grows line by line and the state is replaced as
// a whole, but they have one commit point: the file of the state. It also holds the
// ledger's head, that is the number of entries and the hash of the last one:
//
//	{"ledger": {"entries": 2, "hash": "..."}, "state": {...}}
//
// A change with an entry
//
//  1. appends the entry's line to ledger.jsonl, after the lines that count;
//  2. replaces state.json, and with it the head and the state in one step.
//
// A crash leaves one of these:
//
//   - During 1: the beginning of a line after those that count. It does not count, and
//     the next append overwrites it.
//   - Between 1 and 2: one whole entry beyond the head, and the old state. The entry
//     counts: an intent precedes anything that leaves this host, and a confirmation
//     follows what it confirms, so neither can be wrong. Before another entry is
//     appended, the head must follow: two entries beyond it would be damage.
//   - After 2: everything.
//
// Anything else (a line that was changed, lost or added) is damage, reported as a
// [pinset.LedgerError]. Nothing is appended to a damaged ledger; see [Records.Restart].
type Records struct{ *place }

// Revision identifies one content of a lineage's records. The zero value stands
// for "there are none".
type Revision string

// Snapshot is what the records of a lineage hold.
type Snapshot struct {
	// State is the state document; nil when there is none: the lineage was never
	// begun, or its state.json was lost.
	State []byte
	// Ledger is empty when LedgerProblem is set.
	Ledger pinset.Ledger
	// LedgerProblem says where the ledger is damaged (it wraps a
	// [*pinset.LedgerError] then) or why it cannot be read, and names its path. A
	// ledger without a state is a problem, too.
	LedgerProblem error
	// Known is what the readable lines of a damaged ledger say of clients; see
	// [pinset.Known].
	Known    map[string]pinset.Clients
	Revision Revision

	head   pinset.Head // that the state names: one entry less, after a crash
	ahead  []byte      // the line of the entry beyond head, if there is one
	ledger int64       // size of the ledger's file
}

// ErrConflict says that somebody else changed the records since they were read.
var ErrConflict = errors.New("the state or the ledger changed since they were read")

// loads limits how often a reader starts again because a writer was at work.
const loads = 10

// Load reads the records. It fails only when the state cannot be read: a missing state
// file and a damaged ledger are reported in the [Snapshot].
func (r *Records) Load() (Snapshot, error) {
	var s Snapshot
	for range loads {
		data, err := r.readState()
		if err != nil {
			return Snapshot{}, err
		}
		if s, err = r.load(data); err != nil {
			return Snapshot{}, err
		}
		if s.LedgerProblem == nil {
			return s, nil
		}
		if same, err := r.unchanged(s); err != nil || same {
			return s, err
		}
	}
	return s, nil
}

// unchanged reports whether the records still are what was read. If they are not, a
// writer may have changed both files after we read the first, and a ledger that does not
// fit the state may only be a newer one.
func (r *Records) unchanged(s Snapshot) (bool, error) {
	data, err := r.readState()
	return revisionOf(data, sizeOf(r.ledgerPath())) == s.Revision, err
}

func (r *Records) load(data []byte) (Snapshot, error) {
	s := Snapshot{head: pinset.Ledger{}.Head()}
	if data == nil {
		s.ledger = sizeOf(r.ledgerPath())
		if s.ledger != 0 {
			s.LedgerProblem = fmt.Errorf("%s is there, but no state.json beside it: it was lost; restore it from a backup", r.ledgerPath())
		}
		s.Revision = revisionOf(nil, s.ledger)
		return s, nil
	}
	var err error
	if s.head, s.State, err = parseEnvelope(data); err != nil {
		return Snapshot{}, fmt.Errorf("the state of %s is damaged: %s: %w; restore it from a backup", r.name, r.statePath(), err)
	}
	lines, err := readRecord(r.ledgerPath(), maxLedger)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		s.ledger = int64(len(lines))
		s.Ledger, _, err = pinset.ParseLedger(lines, s.head)
	} else {
		s.ledger = sizeOf(r.ledgerPath())
	}
	s.Revision = revisionOf(data, s.ledger)
	if err != nil {
		s.Ledger, s.LedgerProblem, s.Known = pinset.Ledger{}, fmt.Errorf("%s: %w", r.ledgerPath(), err), pinset.Known(lines)
		return s, nil
	}
	if s.Ledger.Head() != s.head {
		whole := lines[:s.Ledger.Size()]
		s.ahead = bytes.Clone(whole[bytes.LastIndexByte(whole[:len(whole)-1], '\n')+1:])
	}
	return s, nil
}

// Past returns the entries of the ledger for people to read. With an error they are those
// that can be read, and nothing proves them.
func (r *Records) Past() ([]pinset.Entry, error) {
	s, err := r.Load()
	if err == nil {
		err = s.LedgerProblem
	}
	if err == nil {
		return s.Ledger.Entries(), nil
	}
	lines, _ := readRecord(r.ledgerPath(), maxLedger) // what is wrong is known
	return pinset.Legible(lines), err
}

// Swap replaces the state and, unless entry is nil, adds an entry to the ledger in the
// same step. It returns what [Records.Load] would return next. If the records are no
// longer what old says, the error is [ErrConflict].
//
// The entry's number, hash and order in time are filled in, and an entry that makes no
// sense after those before it is refused (see [pinset.Ledger.Append]). The state has to be
// JSON. A state or ledger larger than what [Records.Load] accepts is refused. While the
// ledger has a problem, an entry is refused with that problem; the state alone can still
// be swapped, unless it is missing. A lineage begins with a state alone.
//
// Whatever is refused is refused before anything is written. When writing fails, either
// content may be on disk: load again before going on.
//
//	read(state.json) lstat(ledger.jsonl)           still what was read?
//	durable.Rewrite(ledger.jsonl, last line)       if an entry is beyond the head
//	durable.Replace(state.json, its head, old)     if so, and another one follows
//	durable.Append(ledger.jsonl, entry)            with an entry
//	durable.Replace(state.json, new head, new)
func (r *Records) Swap(old Snapshot, state []byte, entry *pinset.Entry) (Snapshot, error) {
	switch {
	case old.LedgerProblem != nil && (entry != nil || old.State == nil):
		return Snapshot{}, old.LedgerProblem
	case old.State == nil && entry != nil:
		return Snapshot{}, fmt.Errorf("%s has no state yet, and so no ledger", r.name)
	}
	next := Snapshot{Ledger: old.Ledger, LedgerProblem: old.LedgerProblem, head: old.head, ledger: old.ledger}
	if old.LedgerProblem == nil {
		next.head = old.Ledger.Head() // which may be one entry ahead of the state's
	}
	var line, follow []byte
	var err error
	if entry != nil {
		if len(old.ahead) > 0 {
			if follow, _, err = r.envelope(next.head, old.State); err != nil {
				return Snapshot{}, err
			}
		}
		if next.Ledger, line, err = r.append(old.Ledger, *entry); err != nil {
			return Snapshot{}, err
		}
		next.head, next.ledger = next.Ledger.Head(), int64(next.Ledger.Size())
	}
	data, state, err := r.envelope(next.head, state)
	if err != nil {
		return Snapshot{}, err
	}
	next.State = state
	if err := r.begin(old); err != nil {
		return Snapshot{}, err
	}
	if len(old.ahead) > 0 {
		// A crash may have left it in memory only, and the head must not get to the disk
		// before it.
		before := int64(old.Ledger.Size() - len(old.ahead))
		if err := r.store.wrote(durable.Rewrite(r.ledgerPath(), before, old.ahead)); err != nil {
			return Snapshot{}, fmt.Errorf("ledger of %s: %w", r.name, err)
		}
	}
	if follow != nil {
		if err := r.replaceState(follow); err != nil {
			return Snapshot{}, err
		}
	}
	if entry != nil {
		err := r.store.wrote(durable.Append(r.ledgerPath(), int64(old.Ledger.Size()), line, secret))
		if err != nil {
			return Snapshot{}, fmt.Errorf("ledger of %s: %w", r.name, err)
		}
	}
	return r.commit(next, data)
}

// Restart begins a new ledger with these entries in place of a damaged one, which is kept
// beside it under a name with the time at, and replaces the state. A ledger that is whole
// is not replaced: it says more than a new one could. Errors and limits are those of
// [Records.Swap].
//
// A crash between the two files leaves a new ledger that does not fit the old state. That
// is damage like any other: restart it again.
//
//	read(state.json) lstat(ledger.jsonl)           still what was read?
//	durable.Link(ledger.jsonl, ledger.jsonl.damaged-<at>)
//	durable.Replace(ledger.jsonl)
//	durable.Replace(state.json)
func (r *Records) Restart(old Snapshot, state []byte, entries []pinset.Entry, at time.Time) (Snapshot, error) {
	switch {
	case old.LedgerProblem == nil:
		return Snapshot{}, fmt.Errorf("%s: the ledger is whole, and says more than a new one could; nothing was changed", r.name)
	case old.State == nil:
		return Snapshot{}, old.LedgerProblem
	case len(entries) == 0:
		return Snapshot{}, fmt.Errorf("%s: a new ledger without an entry would say that no client holds anything; nothing was changed", r.name)
	}
	var next Snapshot
	var lines []byte
	for _, e := range entries {
		ledger, line, err := r.append(next.Ledger, e)
		if err != nil {
			return Snapshot{}, err
		}
		next.Ledger, lines = ledger, append(lines, line...)
	}
	next.head, next.ledger = next.Ledger.Head(), int64(len(lines))
	data, state, err := r.envelope(next.head, state)
	if err != nil {
		return Snapshot{}, err
	}
	next.State = state
	if err := r.begin(old); err != nil {
		return Snapshot{}, err
	}
	kept := r.ledgerPath() + ".damaged-" + at.UTC().Format("20060102T150405Z")
	err = durable.Link(r.ledgerPath(), kept)
	// It exists when a restart a moment ago got no further, and there is nothing to keep
	// when the ledger is missing.
	if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
		return Snapshot{}, fmt.Errorf("keeping the damaged ledger of %s: %w", r.name, err)
	}
	if err := r.store.wrote(durable.Replace(r.ledgerPath(), lines, secret)); err != nil {
		return Snapshot{}, fmt.Errorf("ledger of %s: %w", r.name, err)
	}
	return r.commit(next, data)
}

// begin proves that nobody changed the records since they were read, and prepares for
// writing them.
func (r *Records) begin(old Snapshot) error {
	same, err := r.unchanged(old)
	if err != nil {
		return err
	}
	if !same {
		return fmt.Errorf("%s: %w", r.name, ErrConflict)
	}
	return r.ensure("", durable.Access{})
}

// commit replaces the state's file. From then on next is what the records hold.
func (r *Records) commit(next Snapshot, data []byte) (Snapshot, error) {
	if err := r.replaceState(data); err != nil {
		return Snapshot{}, err
	}
	next.Revision = revisionOf(data, next.ledger)
	return next, nil
}

func (r *Records) replaceState(data []byte) error {
	if err := r.store.wrote(durable.Replace(r.statePath(), data, secret)); err != nil {
		return fmt.Errorf("state of %s: %w", r.name, err)
	}
	return nil
}

// append returns the ledger with one more entry, and its line. Package pinset refuses an
// entry that could not be read again, and this a ledger that could not.
func (r *Records) append(l pinset.Ledger, e pinset.Entry) (pinset.Ledger, []byte, error) {
	next, line, err := l.Append(e)
	if err == nil {
		err = checkLedgerSize(next.Size())
	}
	if err != nil {
		return pinset.Ledger{}, nil, fmt.Errorf("ledger of %s: %w; nothing was written", r.name, err)
	}
	return next, line, nil
}

func checkLedgerSize(size int) error {
	if size > maxLedger {
		return fmt.Errorf("it would be %d bytes long, more than the %d that can be read back", size, maxLedger)
	}
	return nil
}

// envelope returns what the state's file is to hold, after proving that it can be read
// back; stored is the state as [Records.Load] will return it.
func (r *Records) envelope(head pinset.Head, state []byte) (data, stored []byte, err error) {
	data, err = formatEnvelope(head, state)
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("it would be %d bytes long, more than the %d that can be read back", len(data), maxFile)
	}
	if err == nil {
		_, stored, err = parseEnvelope(data)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("the new state of %s cannot be stored; nothing was written: %w", r.name, err)
	}
	return data, stored, nil
}

// readState reads the state's file; without one it returns nil.
func (r *Records) readState() ([]byte, error) {
	data, err := readRecord(r.statePath(), maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the state of %s cannot be read: %w", r.name, err)
	}
	return data, nil
}

// revisionOf hashes the state's file: the state, and the head, which stands for all
// entries up to it. Beyond the head there is at most one entry, of a process that got no
// further; the length of the ledger tells whether there is one.
func revisionOf(state []byte, ledger int64) Revision {
	if state == nil && ledger == 0 {
		return ""
	}
	sum := sha256.Sum256(state)
	return Revision(hex.EncodeToString(sum[:]) + "." + strconv.FormatInt(ledger, 10))
}

func (r *Records) statePath() string  { return r.dir + "/state.json" }
func (r *Records) ledgerPath() string { return r.dir + "/ledger.jsonl" }
