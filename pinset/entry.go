package pinset

import (
	"bytes"
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
	// Extend: the newest pin set of a channel is about to go to further places, and
	// has to be confirmed again.
	Extend EntryKind = "extend"
	// Confirm: a pin set is out on a channel, at all its places, so that it supersedes
	// older ones there.
	Confirm EntryKind = "confirm"
	// Retire: a person says that no supported client carries a pin set any more.
	Retire EntryKind = "retire"
	// Abandon: a person accepts that the clients that enforce a pin set are locked
	// out, because a key is compromised.
	Abandon EntryKind = "abandon"
	// Readmit: the rollover for which clients were abandoned was called off. Those
	// abandoned after an entry count again, on all channels.
	Readmit EntryKind = "readmit"
	// Seen: clients were found to get something else than the newest pin set: an older
	// one that was superseded, or, with pins, one that is not in the ledger at all. It may
	// be enforced from then on. The newest has to be confirmed again.
	Seen EntryKind = "seen"
	// Gone: a person says that clients get nothing more from a place of a channel.
	Gone EntryKind = "gone"
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
	Channel  string    `json:"channel,omitempty"` // all but Readmit
	Version  int       `json:"version,omitempty"` // of the pin set; all but Readmit and Gone

	// With Intent and Unknown, and with Seen where the pin set is not in the ledger.
	Pins     []Pin     `json:"pins,omitempty"`
	Lifetime *Lifetime `json:"lifetime,omitempty"` // the channel's at that time
	Cache    Lifetime  `json:"cache,omitzero"`     // the channel's at that time; never forever
	Expires  time.Time `json:"expires,omitzero"`   // carried in the document, and honoured by its clients

	Places []Place `json:"places,omitempty"` // with Intent and Extend: where it goes
	Place  string  `json:"place,omitempty"`  // with Gone, and with Seen where it is known: the place's ID
	After  int     `json:"after,omitempty"`  // with Readmit: the number of that entry

	// By says who vouches for the entry; an Intent and an Extend need nobody.
	By string `json:"by,omitempty"`
}

// WithClients returns the entry with what is known of the channel's clients.
func (e Entry) WithClients(c Clients) *Entry {
	e.Lifetime, e.Cache = &c.Lifetime, Lifetime{Duration: c.Cache}
	return &e
}

// Place is where a channel's documents lie, or what takes them there.
type Place struct {
	ID   string `json:"id"`
	Name string `json:"name"` // for people
}

// Who vouches for an entry.
const (
	ByKeepkey = "keepkey"
	ByPerson  = "person"
)

// Bounds of an entry. Names are in bytes. With these a line stays under 64 KiB, and
// whatever was appended can be read again.
const (
	maxChannel = 255
	maxPins    = 100
	maxPlaces  = 32
	maxPlace   = 255
)

// shape is what entries of a kind are made of.
type shape struct {
	channel, version    bool
	leastPins, mostPins int // apart from Seen, which may have none
	places              bool
	place, placeMay     bool
	after               bool
	vouched             bool // somebody has to vouch for it
}

var shapes = map[EntryKind]shape{
	Intent:  {channel: true, version: true, leastPins: 2, mostPins: maxPins, places: true},
	Extend:  {channel: true, version: true, places: true},
	Confirm: {channel: true, version: true, vouched: true},
	Retire:  {channel: true, version: true, vouched: true},
	Abandon: {channel: true, version: true, vouched: true},
	Readmit: {after: true, vouched: true},
	Seen:    {channel: true, version: true, mostPins: maxPins, placeMay: true, vouched: true},
	Gone:    {channel: true, place: true, vouched: true},
	Unknown: {channel: true, version: true, leastPins: 1, mostPins: 1, vouched: true},
}

// publishes reports whether the entry brings a pin set into the ledger.
func (e Entry) publishes() bool {
	return e.Kind == Intent || e.Kind == Unknown || (e.Kind == Seen && len(e.Pins) > 0)
}

// asRead returns the entry as it will be when it has been written and read again.
func (e Entry) asRead() Entry {
	e.At = e.At.UTC().Round(0)
	if len(e.Pins) == 0 {
		e.Pins = nil
	}
	if len(e.Places) == 0 {
		e.Places = nil
	}
	if !e.Expires.IsZero() {
		e.Expires = e.Expires.UTC().Round(0)
	}
	if e.Lifetime != nil {
		lifetime := e.Lifetime.wholeSeconds()
		e.Lifetime = &lifetime
	}
	e.Cache = e.Cache.wholeSeconds()
	return e
}

// check says what is wrong with an entry by itself.
func (e Entry) check() error {
	is, known := shapes[e.Kind]
	if !known {
		return fmt.Errorf("%.50q is not a kind of entry", e.Kind)
	}
	switch published := e.publishes(); {
	case is.channel != (e.Channel != ""), is.version != (e.Version != 0), e.Version < 0:
		return errors.New("it lacks a channel or a version, or has one and should not")
	case !writable(e.Channel, maxChannel):
		return fmt.Errorf("%.50q can't be the name of a channel", e.Channel)
	case !datable(e.At) || !datable(e.Expires):
		return errors.New("its time can't be written")
	case e.By != ByKeepkey && e.By != ByPerson && (e.By != "" || is.vouched):
		return errors.New("it does not say who vouches for it")
	case len(e.Pins) < is.leastPins || len(e.Pins) > is.mostPins:
		return fmt.Errorf("an entry of kind %s has %s, not %d", e.Kind, counted(is.leastPins, is.mostPins), len(e.Pins))
	case repeats(e.Pins):
		return errors.New("a pin is listed twice")
	case published != (e.Lifetime != nil) || (!published && (!e.Expires.IsZero() || e.Cache != Lifetime{})):
		return errors.New("a pin set needs a lifetime, and nothing else has a lifetime, a cache or an expiry")
	case published && (!e.Lifetime.valid() || !e.Cache.valid() || e.Cache.Forever):
		return errors.New("its lifetime or cache is negative or longer than a century")
	case is.after != (e.After > 0) || e.After < 0:
		return errors.New("it says after which entry, and should not, or does not")
	}
	return e.checkPlaces(is)
}

func (e Entry) checkPlaces(is shape) error {
	for i, p := range e.Places {
		if p.ID == "" || !writable(p.ID, maxPlace) || !writable(p.Name, maxPlace) || slices.ContainsFunc(e.Places[:i], p.same) {
			return fmt.Errorf("%.50q can't be a place, or is listed twice", p.ID)
		}
	}
	switch {
	case len(e.Places) > maxPlaces || (len(e.Places) > 0 && !is.places) || (e.Kind == Extend && len(e.Places) == 0):
		return fmt.Errorf("an entry of kind %s does not have %d places", e.Kind, len(e.Places))
	case (e.Place == "" && is.place) || (e.Place != "" && !is.place && !is.placeMay) || !writable(e.Place, maxPlace):
		return fmt.Errorf("an entry of kind %s does not have the place %.50q", e.Kind, e.Place)
	}
	return nil
}

func (p Place) same(o Place) bool { return p.ID == o.ID }

// writable reports whether a text can be written and read again.
func writable(s string, limit int) bool { return len(s) <= limit && utf8.ValidString(s) }

func datable(t time.Time) bool { return t.Year() >= 0 && t.Year() <= 9999 }

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
