package format

import (
	"encoding/json"
	"fmt"
	"time"

	"keepkey/pinset"
)

// JSON is keepkey's own format, for apps that fetch their pins. docs/json.md
// describes it.
var JSON = Format{
	Name: "json", ContentType: "application/json", Ext: ".json",
	Encode: encodeJSON, Decode: decodeJSON,
}

type jsonDocument struct {
	Schema    int       `json:"schema"`
	Name      string    `json:"name"`
	Domains   []string  `json:"domains"`
	Version   int       `json:"version"`
	Published time.Time `json:"published"`
	Expires   time.Time `json:"expires,omitzero"`
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
		Published: wholeSeconds(d.Published), Expires: wholeSeconds(d.Expires),
		MaxAge: int64(d.Lifetime / time.Second),
		Pins:   []jsonPin{},
	}
	for _, p := range d.Set.Pins {
		doc.Pins = append(doc.Pins, jsonPin{Algorithm: "sha256", Value: p})
	}
	data, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(data, '\n'), nil
}

// wholeSeconds rounds down: an expiry must not be later for clients than it is for
// the ledger.
func wholeSeconds(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// maxAge is the longest that a document can say; anything longer is forever.
const maxAge = 100 * 365 * 24 * time.Hour

func decodeJSON(data []byte) (Found, error) {
	var doc jsonDocument
	if err := json.Unmarshal(data, &doc); err != nil {
		return Found{}, fmt.Errorf("not a pin set document: %.200q", err.Error())
	}
	if doc.Schema != 1 || doc.Version < 1 || len(doc.Pins) == 0 {
		return Found{}, fmt.Errorf("not a pin set document of schema 1: schema %d, version %d, %d pins", doc.Schema, doc.Version, len(doc.Pins))
	}
	found := Found{Name: doc.Name, Version: doc.Version, Expires: doc.Expires.UTC(), Lifetime: pinset.Lifetime{Forever: true}}
	if doc.MaxAge > 0 && doc.MaxAge <= int64(maxAge/time.Second) {
		found.Lifetime = pinset.Lifetime{Duration: time.Duration(doc.MaxAge) * time.Second}
	}
	for _, p := range doc.Pins {
		if p.Algorithm != "sha256" {
			return Found{}, fmt.Errorf("a pin with the algorithm %.50q: want sha256", p.Algorithm)
		}
		found.Pins = append(found.Pins, p.Value)
	}
	return found, nil
}
