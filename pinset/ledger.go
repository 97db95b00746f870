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
	"unicode/utf8"
)

// EntryKind is what an entry of the ledger says.
type EntryKind string

// The kinds of entries.
const (
	// Intent: a pin set is about to be published on a channel. From then on some
	// client may hold it.
	Intent EntryKind = "intent"
	// Confirm: a pin set is out on a channel, so that it supersedes older ones.
	Confirm EntryKind = "confirm"
	// Retire: a person says that no supported client carries a pin set any more.
	Retire EntryKind = "retire"
	// Abandon: a person accepts that the clients that enforce a pin set are locked
	// out, because a key is compromised.
	Abandon EntryKind = "abandon"
	// Unknown: the ledger before this one is lost, and with it what clients of a
	// channel may hold. All that is known is that they accept the key that was active.
	// It may be enforced like an intent, and ends like one.
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

	// By says who vouches for the entry; an Intent needs nobody.
	By string `json:"by,omitempty"`
}

// Who vouches for an entry.
const (
	ByKeepkey = "keepkey"
	ByPerson  = "person"
)

// Bounds of an entry. A channel's name is in bytes. With these a line stays under
// 8 KiB, and whatever was appended can be read again.
const (
	maxChannel = 255
	maxPins    = 100
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

// asRead returns the entry as it will be when it has been written and read again.
func (e Entry) asRead() Entry {
	e.At = e.At.UTC().Round(0)
	if len(e.Pins) == 0 {
		e.Pins = nil
	}
	if !e.Expires.IsZero() {
		e.Expires = e.Expires.UTC().Round(0)
	}
	if e.Lifetime != nil {
		lifetime := e.Lifetime.wholeSeconds()
		e.Lifetime = &lifetime
	}
	return e
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

// check says what is wrong with an entry by itself.
func (e Entry) check() error {
	var least, most int // pins
	switch e.Kind {
	case Intent:
		least, most = 2, maxPins
	case Unknown:
		least, most = 1, 1
	case Confirm, Retire, Abandon:
	default:
		return fmt.Errorf("%.50q is not a kind of entry", e.Kind)
	}
	published := e.Kind == Intent || e.Kind == Unknown
	switch {
	case e.Channel == "" || e.Version < 1:
		return errors.New("it lacks a channel or a version")
	case len(e.Channel) > maxChannel || !utf8.ValidString(e.Channel):
		return fmt.Errorf("%.50q can't be the name of a channel", e.Channel)
	case e.At.Year() < 0 || e.At.Year() > 9999 || e.Expires.Year() < 0 || e.Expires.Year() > 9999:
		return errors.New("its time can't be written")
	case e.By != ByKeepkey && e.By != ByPerson && (e.By != "" || !published):
		return errors.New("it does not say who vouches for it")
	case len(e.Pins) < least || len(e.Pins) > most:
		return fmt.Errorf("an entry of kind %s has %s, not %d", e.Kind, counted(least, most), len(e.Pins))
	case repeats(e.Pins):
		return errors.New("a pin is listed twice")
	case published != (e.Lifetime != nil) || (!published && !e.Expires.IsZero()):
		return errors.New("a pin set needs a lifetime, and nothing else has a lifetime or an expiry")
	case published && !e.Lifetime.valid():
		return errors.New("its lifetime is negative or longer than a century")
	}
	return nil
}

// counted words a range of pins.
func counted(least, most int) string {
	if least == most {
		return fmt.Sprintf("%d pins", least)
	}
	return fmt.Sprintf("%d to %d pins", least, most)
}

func repeats(pins []Pin) bool {
	for i, p := range pins {
		if slices.Contains(pins[:i], p) {
			return true
		}
	}
	return false
}

// follows says why an entry can't follow those that are there.
func (l Ledger) follows(e Entry) error {
	published := func(p Published) bool { return p.Channel == e.Channel && p.Version == e.Version }
	switch e.Kind {
	case Intent:
		for _, o := range l.published {
			switch {
			case o.Channel == e.Channel && o.Version >= e.Version:
				return fmt.Errorf("version %d on channel %q would follow version %d, and versions only grow", e.Version, e.Channel, o.Version)
			// One pin means kind Unknown: nobody knows what the others were.
			case o.Version == e.Version && len(o.Pins) > 1 && !SamePins(o.Pins, e.Pins):
				return fmt.Errorf("version %d has different pins on channel %q", e.Version, o.Channel)
			}
		}
	case Unknown:
		if _, known := l.Channel(e.Channel); known {
			return fmt.Errorf("an entry of kind %s must be the first on its channel", Unknown)
		}
	default:
		if !slices.ContainsFunc(l.published, published) {
			return fmt.Errorf("version %d was never published on channel %q", e.Version, e.Channel)
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
