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

// Decode reads back what [Encode] wrote. Of a document that differs in spacing, or
// has fields that are not known here, it returns the same pin set.
func Decode(format string, data []byte) (pinset.Set, error) {
	if format != pinset.FormatJSON {
		return pinset.Set{}, fmt.Errorf("%q is no format of pin sets: want json", format)
	}
	var doc jsonDocument
	if err := json.Unmarshal(data, &doc); err != nil {
		return pinset.Set{}, fmt.Errorf("not a pin set document: %.200q", err.Error())
	}
	if doc.Schema != 1 || doc.Version < 1 || len(doc.Pins) == 0 {
		return pinset.Set{}, fmt.Errorf("not a pin set document of schema 1: schema %d, version %d, %d pins", doc.Schema, doc.Version, len(doc.Pins))
	}
	set := pinset.Set{Version: doc.Version}
	for _, p := range doc.Pins {
		if p.Algorithm != "sha256" {
			return pinset.Set{}, fmt.Errorf("a pin with the algorithm %.50q: want sha256", p.Algorithm)
		}
		set.Pins = append(set.Pins, p.Value)
	}
	return set, nil
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
