package keystore

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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
// They are two files, since the ledger grows by a line at a time and the state is
// replaced as a whole, and they have one commit point. The state's file also holds the
// ledger's head, the number of its entries and the hash of the last:
//
//	{"ledger": {"entries": 2, "hash": "..."}, "state": {...}}
//
// so whoever reads both can tell what belongs together. A change with an entry goes
//
//  1. ledger.jsonl: append the entry's line behind the lines that count;
//  2. state.json:   replace the head and the state, in one step.
//
// A crash leaves one of:
//
//   - before 1, or within it: the beginning of a line behind those that count. It does
//     not count, and the next append is written over it.
//   - between 1 and 2: one whole entry beyond the head. It counts (whatever it says may
//     be so: an intent is on the disk before anything leaves this host, and the
//     confirmation of what happened was true), while the state is the old one. The next
//     swap lets the head follow first: two entries beyond it would be damage.
//   - after 2: all of it.
//
// Everything else, a line that was changed, is missing or comes from nowhere, is damage,
// and a [pinset.LedgerError]. Nothing is appended to a damaged ledger; see
// [Records.Restart].
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
	// LedgerProblem says where the ledger is damaged (then there is a
	// [*pinset.LedgerError] in it) or why it cannot be read, and names its path. A
	// ledger without a state is a problem, too.
	LedgerProblem error
	Revision      Revision

	head   pinset.Head // that the state names: one entry less, after a crash
	ahead  []byte      // the line of the entry beyond head, if there is one
	ledger int64       // size of the ledger's file
}

// ErrConflict says that the records were changed by somebody else since they were read.
var ErrConflict = errors.New("the state or the ledger changed since they were read")

// loads bounds how often a reader begins again because a writer was at work.
const loads = 10

// Load reads the records. The error is that the state cannot be read; a state file
// that is missing is none (see [Snapshot]), and a damaged ledger is in the snapshot.
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
		// A writer may have changed both files after we read one of them.
		now, err := r.revision()
		if err != nil || now == s.Revision {
			return s, err
		}
	}
	return s, nil
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
	lines, _, err := readFile(r.ledgerPath(), maxLedger)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		s.ledger = int64(len(lines))
		s.Ledger, _, err = pinset.ParseLedger(lines, s.head)
	} else {
		s.ledger = sizeOf(r.ledgerPath())
	}
	s.Revision = revisionOf(data, s.ledger)
	if err != nil {
		s.Ledger, s.LedgerProblem = pinset.Ledger{}, fmt.Errorf("%s: %w", r.ledgerPath(), err)
		return s, nil
	}
	if s.Ledger.Head() != s.head {
		whole := lines[:s.Ledger.Size()]
		s.ahead = bytes.Clone(whole[bytes.LastIndexByte(whole[:len(whole)-1], '\n')+1:])
	}
	return s, nil
}

// Swap replaces the state and, unless entry is nil, adds an entry to the ledger with
// it, if the records still are what old says; otherwise the error is [ErrConflict]. It
// returns what the records hold then. The entry's number and hash are filled in, and a
// time that would be before the last entry's is set to that (see
// [pinset.Ledger.Append]); what makes no sense after the entries before is refused.
//
// The state has to be JSON. A state or ledger that would be larger than what
// [Records.Load] reads is refused. While the ledger has a problem, an entry is refused
// with that problem, and the state alone is swapped. A lineage is begun by a state
// alone.
//
// All that is refused is refused before anything is written. When writing fails, either
// content may be on disk: load again before going on.
//
//	stat(ledger.jsonl) read(state.json)            is it what was read?
//	durable.Rewrite(ledger.jsonl)                  if an entry is ahead of the head
//	durable.Replace(state.json, new head, old)     if so, and there is a further one
//	durable.Append(ledger.jsonl)                   with an entry
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
		next.head = old.Ledger.Head() // it follows an entry that is ahead
	}
	var line, follow []byte
	var err error
	if entry != nil {
		if len(old.ahead) > 0 {
			if follow, _, err = r.envelope(next.head, old.State); err != nil {
				return Snapshot{}, err
			}
		}
		if next.Ledger, line, err = old.Ledger.Append(*entry); err != nil {
			return Snapshot{}, fmt.Errorf("ledger of %s: %w", r.name, err)
		}
		if err := r.checkLedgerSize(next.Ledger.Size()); err != nil {
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
		// What a crash left is perhaps not on the disk; the head must never be first.
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

// Restart puts a new ledger in the place of a damaged one, together with a state, if
// the records still are what old says; otherwise the error is [ErrConflict]. The
// damaged ledger is kept beside the new one, under a name with the time. A ledger that
// is whole is not replaced: it says more than a new one could. For the rest it is like
// [Records.Swap].
//
// The two files cannot change at once here: a crash in between leaves a ledger that
// does not fit the state, which is a damaged one, and is restarted again.
//
//	stat(ledger.jsonl) read(state.json)            is it what was read?
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
		ledger, line, err := next.Ledger.Append(e)
		if err != nil {
			return Snapshot{}, fmt.Errorf("ledger of %s: %w", r.name, err)
		}
		next.Ledger, lines = ledger, append(lines, line...)
	}
	if err := r.checkLedgerSize(len(lines)); err != nil {
		return Snapshot{}, err
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
	// It is there already when a restart a moment ago did not get further, and there is
	// nothing to keep when the ledger was lost.
	if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
		return Snapshot{}, fmt.Errorf("keeping the damaged ledger of %s: %w", r.name, err)
	}
	if err := r.store.wrote(durable.Replace(r.ledgerPath(), lines, secret)); err != nil {
		return Snapshot{}, fmt.Errorf("ledger of %s: %w", r.name, err)
	}
	return r.commit(next, data)
}

// begin proves that nobody changed the records since they were read.
func (r *Records) begin(old Snapshot) error {
	now, err := r.revision()
	if err != nil {
		return err
	}
	if now != old.Revision {
		return fmt.Errorf("%s: %w", r.name, ErrConflict)
	}
	return r.ensure("", durable.Access{})
}

// commit writes the state's file, and with it decides that next is what the records hold.
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

func (r *Records) checkLedgerSize(n int) error {
	if n > maxLedger {
		return fmt.Errorf("the ledger of %s would be %d bytes long, more than the %d that can be read again; nothing was written", r.name, n, maxLedger)
	}
	return nil
}

// envelope writes what the state's file is to hold, and reads it again: the second
// result is the state as [Records.Load] will return it.
func (r *Records) envelope(head pinset.Head, state []byte) (data, stored []byte, err error) {
	data, err = formatEnvelope(head, state)
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("it would be %d bytes long, more than the %d that can be read again", len(data), maxFile)
	}
	if err == nil {
		_, stored, err = parseEnvelope(data)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("the new state of %s cannot be stored, and nothing was written: %w", r.name, err)
	}
	return data, stored, nil
}

// readState reads the state's file; without one it returns nil.
func (r *Records) readState() ([]byte, error) {
	data, _, err := readFile(r.statePath(), maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the state of %s cannot be read: %w", r.name, err)
	}
	return data, nil
}

// revision reads what the records are at now.
func (r *Records) revision() (Revision, error) {
	data, err := r.readState()
	if err != nil {
		return "", err
	}
	return revisionOf(data, sizeOf(r.ledgerPath())), nil
}

// revisionOf covers the state and the head by their hash, and with the head all entries
// up to it. What lies beyond is at most one entry, written by a holder of the lock that
// got no further: its length tells it from none.
func revisionOf(state []byte, ledger int64) Revision {
	if state == nil && ledger == 0 {
		return ""
	}
	sum := sha256.Sum256(state)
	return Revision(hex.EncodeToString(sum[:]) + "." + strconv.FormatInt(ledger, 10))
}

func (r *Records) statePath() string  { return r.dir + "/state.json" }
func (r *Records) ledgerPath() string { return r.dir + "/ledger.jsonl" }

// The layout of the state's file. It is fixed to the last space: whatever else the file
// may hold cannot hide between the lines, and reading takes next to no time. (It is the
// layout that `jq .` writes, for the day on which somebody has to edit it.)
const (
	beforeEntries = "{\n  \"ledger\": {\n    \"entries\": "
	beforeHash    = ",\n    \"hash\": \""
	beforeState   = "\"\n  },\n  \"state\": "
	afterState    = "\n}\n"
)

// formatEnvelope writes what [parseEnvelope] reads.
func formatEnvelope(head pinset.Head, state []byte) ([]byte, error) {
	b := bytes.NewBufferString(beforeEntries + strconv.Itoa(head.Entries) + beforeHash + head.Hash + beforeState)
	if err := json.Indent(b, bytes.TrimSpace(state), "  ", "  "); err != nil {
		return nil, err
	}
	b.WriteString(afterState)
	return b.Bytes(), nil
}

// parseEnvelope reads the state's file: the ledger's head, and the state.
func parseEnvelope(data []byte) (head pinset.Head, state []byte, err error) {
	rest, ok := bytes.CutPrefix(data, []byte(beforeEntries))
	entries, rest, ok2 := bytes.Cut(rest, []byte(beforeHash))
	hash, rest, ok3 := bytes.Cut(rest, []byte(beforeState))
	state, ok4 := bytes.CutSuffix(rest, []byte(afterState))
	if !ok || !ok2 || !ok3 || !ok4 {
		return pinset.Head{}, nil, errors.New("it does not have the layout that keepkey writes: the ledger's entries and hash, then the state, each on its lines")
	}
	if !json.Valid(state) || string(state) == "null" {
		return pinset.Head{}, nil, errors.New("the state in it is not a JSON value")
	}
	head.Hash = string(hash)
	if head.Entries, err = strconv.Atoi(string(entries)); err != nil || head.Entries < 0 || strconv.Itoa(head.Entries) != string(entries) {
		return pinset.Head{}, nil, fmt.Errorf("%.50q is not a number of entries", entries)
	}
	if b, err := hex.DecodeString(head.Hash); err != nil || len(b) != sha256.Size || hex.EncodeToString(b) != head.Hash {
		return pinset.Head{}, nil, fmt.Errorf("%.80q is not a SHA-256 hash", hash)
	}
	if head.Entries == 0 && head != (pinset.Ledger{}).Head() {
		return pinset.Head{}, nil, errors.New("a ledger without entries does not have this hash")
	}
	return head, state, nil
}
