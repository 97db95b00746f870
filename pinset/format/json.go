// Package format writes pin sets as the files that clients read. It is pure.
package format

import (
	"encoding/json"
	"fmt"
	"time"

	"keepkey/pinset"
)

// Document is a pin set together with what a client has to know about it.
type Document struct {
	Name      string        // of the lineage
	Domains   []string      // hosts that serve the key
	Set       pinset.Set    // the pins to accept
	Published time.Time     // when this version was first given to the channel
	Lifetime  time.Duration // how long to enforce it after a newer one is out; 0 for no limit
}

// Encode writes the document in the named format. The same document gives the
// same bytes.
func Encode(format string, d Document) ([]byte, error) {
	if format != pinset.FormatJSON {
		return nil, fmt.Errorf("%q is no format of pin sets: want json", format)
	}
	return encodeJSON(d)
}

type jsonDocument struct {
	Schema    int       `json:"schema"`
	Name      string    `json:"name"`
	Domains   []string  `json:"domains"`
	Version   int       `json:"version"`
	Published time.Time `json:"published"`
	MaxAge    int64     `json:"max_age_seconds,omitempty"`
	Pins      []jsonPin `json:"pins"`
}

type jsonPin struct {
	Algorithm string     `json:"algorithm"`
	Value     pinset.Pin `json:"value"`
}

func encodeJSON(d Document) ([]byte, error) {
	doc := jsonDocument{
		Schema: 1, Name: d.Name, Domains: d.Domains, Version: d.Set.Version,
		Published: d.Published.UTC().Truncate(time.Second),
		MaxAge:    int64(d.Lifetime / time.Second),
		Pins:      []jsonPin{},
	}
	for _, p := range d.Set.Pins {
		doc.Pins = append(doc.Pins, jsonPin{Algorithm: "sha256", Value: p})
	}
	data, err := json.MarshalIndent(doc, "", "  ")
	return append(data, '\n'), err
}
