package pinset

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
)

// Ledger is the append-only record of every pin set that was ever published on a
// channel. Each entry carries the hash of the line before, so nothing in the middle
// can be changed or removed unnoticed. The zero value is an empty ledger.
//
// Invariant: every entry made sense after the ones before it (see [Ledger.Append]).
type Ledger struct {
	entries   []Entry
	published []Published // what the entries amount to
	size      int         // bytes of all lines
	head      string      // hash of the last line
}

// Head identifies the last entry of a ledger. Kept apart from the ledger, it shows
// when entries are lost.
type Head struct {
	Entries int    `json:"entries"`
	Hash    string `json:"hash"`
}

// Head returns the ledger's head.
func (l Ledger) Head() Head { return Head{Entries: len(l.entries), Hash: l.hash()} }

// Entries returns all entries, the oldest first.
func (l Ledger) Entries() []Entry { return slices.Clone(l.entries) }

// Last returns the newest entry, if there is one.
func (l Ledger) Last() (Entry, bool) {
	if len(l.entries) == 0 {
		return Entry{}, false
	}
	return l.entries[len(l.entries)-1], true
}

// Size returns the length of all lines in bytes.
func (l Ledger) Size() int { return l.size }

func (l Ledger) hash() string {
	if l.head == "" {
		return hashLine(nil)
	}
	return l.head
}

func hashLine(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}

// Append returns the ledger with one more entry, and the entry's line with its
// final line end. The number and the hash are filled in, and the entry is dated no
// earlier than the one before, so that a clock that went back shortens nothing. It
// refuses an entry that makes no sense, or that could not be read again.
func (l Ledger) Append(e Entry) (Ledger, []byte, error) {
	e = e.asRead()
	e.N, e.Previous = len(l.entries)+1, l.hash()
	if n := len(l.entries); n > 0 && e.At.Before(l.entries[n-1].At) {
		e.At = l.entries[n-1].At
	}
	if err := l.check(e); err != nil {
		return Ledger{}, nil, err
	}
	line, err := json.Marshal(e)
	if err != nil {
		return Ledger{}, nil, err
	}
	next := l.clone()
	next.add(e, line)
	return next, append(line, '\n'), nil
}

// clone makes a copy that can be added to without touching l.
func (l Ledger) clone() Ledger {
	l.entries, l.published = slices.Clone(l.entries), slices.Clone(l.published)
	return l
}

// check says why an entry can't follow, if it can't.
func (l Ledger) check(e Entry) error {
	err := e.check()
	if err == nil {
		err = l.follows(e)
	}
	if err != nil {
		return fmt.Errorf("entry %d: %w", e.N, err)
	}
	return nil
}

// follows says why an entry can't follow those that are there.
func (l Ledger) follows(e Entry) error {
	newest, known := l.newest(e.Channel)
	switch e.Kind {
	case Readmit:
		return nil
	case Intent, Unknown:
		if known >= e.Version {
			return fmt.Errorf("version %d on channel %q would follow version %d, and versions only grow", e.Version, e.Channel, known)
		}
		return l.agrees(e)
	case Gone:
		if !slices.ContainsFunc(l.published, func(p Published) bool { return p.Channel == e.Channel && p.Went(e.Place) }) {
			return fmt.Errorf("nothing was ever published on channel %q at the place %.50q", e.Channel, e.Place)
		}
		return nil
	case Seen:
		if len(e.Pins) > 0 {
			return nil
		}
		if newest.Version <= e.Version {
			return fmt.Errorf("version %d is the newest on channel %q", e.Version, e.Channel)
		}
	case Extend:
		if newest.Version != e.Version || newest.Version == 0 {
			return fmt.Errorf("version %d is not the newest on channel %q", e.Version, e.Channel)
		}
		if len(newest.Places)+len(e.Places) > maxPlaces || slices.ContainsFunc(e.Places, func(p Place) bool { return newest.Went(p.ID) }) {
			return fmt.Errorf("version %d is at too many places on channel %q, or at one of these already", e.Version, e.Channel)
		}
	}
	if !slices.ContainsFunc(l.published, func(p Published) bool {
		return p.Channel == e.Channel && p.Version == e.Version && (!p.Found || e.Kind == Retire || e.Kind == Abandon)
	}) {
		return fmt.Errorf("version %d was never published on channel %q", e.Version, e.Channel)
	}
	return nil
}

// newest returns the newest pin set that was intended for a channel, and the newest
// version that was ever found on it.
func (l Ledger) newest(channel string) (newest Published, known int) {
	newest, _ = l.Channel(channel)
	for _, p := range l.published {
		if p.Channel == channel {
			known = max(known, p.Version)
		}
	}
	return newest, known
}

// agrees says why a pin set can't have the version that it has: another channel has
// other pins under it.
func (l Ledger) agrees(e Entry) error {
	for _, o := range l.published {
		// One pin means that the others are not known.
		if o.Version == e.Version && !o.Found && len(o.Pins) > 1 && len(e.Pins) > 1 && !SamePins(o.Pins, e.Pins) {
			return fmt.Errorf("version %d has different pins on channel %q", e.Version, o.Channel)
		}
	}
	return nil
}

// LedgerError says where a ledger is damaged.
type LedgerError struct {
	Line   int // from 1
	Reason string
}

func (e *LedgerError) Error() string {
	return fmt.Sprintf("line %d of the ledger %s", e.Line, e.Reason)
}

// ParseLedger reads a ledger and checks it against its head: the head's entries must
// be there, unchanged. What a crash leaves is not damage. One whole entry beyond the
// head was written before the head could be, and counts; the beginning of one does
// not, and torn reports it. Everything else is a [*LedgerError].
func ParseLedger(data []byte, head Head) (l Ledger, torn bool, err error) {
	for len(data) > 0 {
		n := len(l.entries) + 1
		line, rest, whole := bytes.Cut(data, []byte("\n"))
		if !whole {
			if n <= head.Entries {
				return Ledger{}, false, &LedgerError{n, "is cut short"}
			}
			torn = true
			break
		}
		data = rest
		if n > head.Entries+1 {
			return Ledger{}, false, &LedgerError{n, fmt.Sprintf("is more than the state knows of (%d entries): the state must be from an old backup", head.Entries)}
		}
		e, err := parseEntry(line)
		if err != nil {
			return Ledger{}, false, &LedgerError{n, "can't be read: " + err.Error()}
		}
		if e.N != n || e.Previous != l.hash() {
			return Ledger{}, false, &LedgerError{n, "does not follow the line before: one of the two was changed, or lines are missing"}
		}
		if n > 1 && e.At.Before(l.entries[n-2].At) {
			return Ledger{}, false, &LedgerError{n, "is older than the line before"}
		}
		if err := l.check(e); err != nil {
			return Ledger{}, false, &LedgerError{n, "makes no sense: " + err.Error()}
		}
		l.add(e, line)
		if n == head.Entries && l.head != head.Hash {
			return Ledger{}, false, &LedgerError{n, "is not the one that the state knows"}
		}
	}
	if len(l.entries) < head.Entries {
		return Ledger{}, false, &LedgerError{len(l.entries) + 1, fmt.Sprintf("is missing: the state knows of %d entries", head.Entries)}
	}
	return l, torn, nil
}

// Known returns what the lines of a ledger say of each channel's clients, as far as they
// can be read: the longest of each. It is for a ledger that is damaged; nothing else in
// it is believed.
func Known(data []byte) map[string]Clients {
	known := make(map[string]Clients)
	for _, e := range Legible(data) {
		if e.publishes() {
			known[e.Channel] = known[e.Channel].Longer(Clients{*e.Lifetime, e.Cache.Duration})
		}
	}
	return known
}

// Legible returns the entries of a ledger that can be read, for people: it may be damaged,
// and nothing proves them.
func Legible(data []byte) []Entry {
	var entries []Entry
	for line := range bytes.Lines(data) {
		e, err := parseEntry(bytes.TrimSuffix(line, []byte("\n")))
		if err == nil && e.check() == nil {
			entries = append(entries, e)
		}
	}
	return entries
}
