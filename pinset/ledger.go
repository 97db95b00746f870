package pinset

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// EntryKind is what an entry of the ledger says.
type EntryKind string

// The kinds of entries.
const (
	// Intent: a pin set is about to be given to a channel. From then on some
	// client may hold it.
	Intent EntryKind = "intent"
	// Confirm: a pin set is out on a channel, so that it supersedes older ones.
	Confirm EntryKind = "confirm"
	// Retire: a person says that no supported client carries a pin set any more.
	Retire EntryKind = "retire"
	// Abandon: a person accepts that the clients that enforce a pin set are locked
	// out, since a key is compromised.
	Abandon EntryKind = "abandon"
	// Unknown: the ledger before this one is lost, and with it what clients of a
	// channel may hold. All that is known is that they accept the key that was active.
	// Like an intent it may be enforced, and ends as one.
	Unknown EntryKind = "unknown"
)

// Entry is one line of the ledger.
type Entry struct {
	N        int       `json:"n"`        // from 1
	Previous string    `json:"previous"` // SHA-256 of the line before, in hex; of nothing for the first
	At       time.Time `json:"at"`       // never before the entry before
	Kind     EntryKind `json:"kind"`
	Channel  string    `json:"channel"`
	Version  int       `json:"version"` // of the pin set

	// With Intent and Unknown.
	Pins     []Pin     `json:"pins,omitempty"`
	Lifetime *Lifetime `json:"lifetime,omitempty"` // the channel's at that time
	Expires  time.Time `json:"expires,omitzero"`   // carried in the document, and honoured by its clients

	// By says who it was, but for Intent: "keepkey" or "person".
	By string `json:"by,omitempty"`
}

// Who an entry is by.
const (
	ByKeepkey = "keepkey"
	ByPerson  = "person"
)

// Ledger is the append-only record of every pin set that was ever given to a
// channel. Each entry carries the hash of the line before, so that nothing in the
// middle can change or go unnoticed. The zero value is an empty ledger.
//
// Invariant: the entries make sense one after the other (see [Ledger.Append]).
type Ledger struct {
	entries   []Entry
	published []Published // what the entries come to
	size      int         // bytes of all lines
	head      string      // hash of the last line
}

// Head names the last entry of a ledger. Whoever keeps it notices when entries
// are lost.
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
// final line end. The entry's number, hash and time order are filled in: a clock
// that went back does not shorten anything. It refuses what makes no sense.
func (l Ledger) Append(e Entry) (Ledger, []byte, error) {
	e.N, e.Previous = len(l.entries)+1, l.hash()
	e.At = e.At.UTC().Round(0)
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

// add adds an entry that was checked.
func (l *Ledger) add(e Entry, line []byte) {
	l.entries = append(l.entries, e)
	l.size += len(line) + 1
	l.head = hashLine(line)
	if e.Kind == Intent || e.Kind == Unknown {
		l.published = append(l.published, Published{
			Channel: e.Channel, Version: e.Version, Pins: e.Pins, Lifetime: *e.Lifetime, Expires: e.Expires, Intended: e.At,
		})
		return
	}
	for i := range l.published {
		p := &l.published[i]
		switch {
		case p.Channel != e.Channel:
		case e.Kind == Retire && p.Version == e.Version:
			p.Retired = true
		case e.Kind == Abandon && p.Version == e.Version:
			p.Abandoned = true
		case e.Kind == Confirm && p.Version == e.Version && p.Confirmed.IsZero():
			p.Confirmed = e.At
		case e.Kind == Confirm && p.Version < e.Version && p.Superseded.IsZero():
			p.Superseded = e.At
		}
	}
}

// check says whether an entry can follow.
func (l Ledger) check(e Entry) error {
	if e.Channel == "" || e.Version < 1 {
		return fmt.Errorf("entry %d: it names no channel or no version", e.N)
	}
	switch e.Kind {
	case Intent:
		if len(e.Pins) < 2 || e.Lifetime == nil {
			return fmt.Errorf("entry %d: a pin set has at least two pins and a lifetime", e.N)
		}
		for _, o := range l.published {
			switch {
			case o.Channel == e.Channel && o.Version >= e.Version:
				return fmt.Errorf("entry %d: version %d on channel %s comes after version %d", e.N, e.Version, e.Channel, o.Version)
			case o.Version == e.Version && len(o.Pins) > 1 && !slices.Equal(o.Pins, e.Pins):
				return fmt.Errorf("entry %d: version %d has other pins on channel %s", e.N, e.Version, o.Channel)
			}
		}
	case Unknown:
		if len(e.Pins) != 1 || e.Lifetime == nil || slices.ContainsFunc(l.published, func(p Published) bool { return p.Channel == e.Channel }) {
			return fmt.Errorf("entry %d: what is unknown has one pin and a lifetime, and comes first on its channel", e.N)
		}
	case Confirm, Retire, Abandon:
		if !slices.ContainsFunc(l.published, func(p Published) bool { return p.Channel == e.Channel && p.Version == e.Version }) {
			return fmt.Errorf("entry %d: version %d was never published on channel %s", e.N, e.Version, e.Channel)
		}
		if e.By != ByKeepkey && e.By != ByPerson {
			return fmt.Errorf("entry %d: it does not say who it is by", e.N)
		}
	default:
		return fmt.Errorf("entry %d: %.50q is no kind of entry", e.N, e.Kind)
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

// ParseLedger reads a ledger and holds it to its head: the head's entries must be
// there, unchanged. What a crash leaves is no damage: one whole entry beyond the
// head was written before the head could follow, and counts; the beginning of one
// does not, and torn says so. Everything else is a [*LedgerError].
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

func parseEntry(line []byte) (Entry, error) {
	var e Entry
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		return Entry{}, fmt.Errorf("%.200q", err.Error())
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Entry{}, errors.New("something follows the entry")
	}
	return e, nil
}
