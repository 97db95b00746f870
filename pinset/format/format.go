// Package format writes pin sets as the files that clients read, and reads them back.
//
// A format is a file here that defines a [Format], and its line in the table
// formats. Everything else follows from the table: what `format` accepts in the
// configuration, reading back, a webhook's content type, `keepkey pins --format`, and
// the tests that every format must pass.
//
// The package is pure: it reads no file, opens no connection and asks no clock.
package format

import (
	"time"

	"keepkey/pinset"
)

// Format is a kind of file that tells clients which pins to accept.
type Format struct {
	Name        string // in the configuration
	ContentType string // the media type of its documents (RFC 9110 section 8.3)
	Ext         string // what its files' names usually end with, such as ".json"

	// Encode writes a document. The same document gives the same bytes.
	Encode func(Document) ([]byte, error)
	// Decode finds what Encode wrote, however it is laid out and whatever else is
	// there. The bytes come from outside: its errors quote and bound what they show.
	Decode func([]byte) (Found, error)
}

// formats is the table, in the order in which messages list them.
var formats = []Format{JSON}

// ByName returns the format of that name, if there is one.
func ByName(name string) (Format, bool) {
	for _, f := range formats {
		if f.Name == name {
			return f, true
		}
	}
	return Format{}, false
}

// Names returns the names of all formats, in the order in which messages list them.
func Names() []string {
	var names []string
	for _, f := range formats {
		names = append(names, f.Name)
	}
	return names
}

// Document is a pin set together with what a client has to know about it. A format
// leaves out what its clients can't use.
type Document struct {
	Name      string        // of the lineage
	Domains   []string      // hosts that serve the key
	Set       pinset.Set    // the pins to accept
	Published time.Time     // when this version was first given to the channel
	Lifetime  time.Duration // how long to enforce it after a newer one is out; 0 for no limit
	Expires   time.Time     // when clients stop enforcing it by themselves; zero: they don't
}

// Found is what a document says when it is read back.
type Found struct {
	Name    string // of the lineage; "": the format carries none
	Pins    []pinset.Pin
	Version int       // 0: the format carries none
	Expires time.Time // zero: the format carries none, or the document does not expire
	// Lifetime is how long its clients go on enforcing it after they downloaded it; zero:
	// the format does not say.
	Lifetime pinset.Lifetime
}

// Is reports whether the document found is that of a pin set that expires at a time,
// zero for never. The pins are compared as sets, versions and expiries only where both
// sides have one. Documents carry an expiry in whole seconds, so that is how it is
// compared.
func (f Found) Is(want pinset.Set, expires time.Time) bool {
	switch {
	case !pinset.SamePins(f.Pins, want.Pins):
		return false
	case f.Version != 0 && want.Version != 0 && f.Version != want.Version:
		return false
	}
	return f.Expires.IsZero() || expires.IsZero() || f.Expires.Unix() == expires.Unix()
}
