package format

import (
	"strings"
	"testing"
	"time"

	"keepkey/pinset"
)

func TestJSONIsTheDocumentedOne(t *testing.T) {
	t.Parallel()
	got, err := Encode(pinset.FormatJSON, Document{
		Name: "api", Domains: []string{"api.example.com"},
		Set:       pinset.Set{Version: 7, Pins: []pinset.Pin{{1}, {2}}},
		Published: time.Date(2026, 11, 21, 6, 0, 0, 500, time.FixedZone("", 3600)),
		Lifetime:  30 * 24 * time.Hour,
	})
	want := `{
  "schema": 1,
  "name": "api",
  "domains": [
    "api.example.com"
  ],
  "version": 7,
  "published": "2026-11-21T05:00:00Z",
  "max_age_seconds": 2592000,
  "pins": [
    {
      "algorithm": "sha256",
      "value": "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    },
    {
      "algorithm": "sha256",
      "value": "AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    }
  ]
}
`
	if string(got) != want || err != nil {
		t.Errorf("got\n%s(%v), want\n%s", got, err, want)
	}
}

func TestEveryFormatCanBeWritten(t *testing.T) {
	t.Parallel()
	for _, f := range pinset.Formats() {
		if _, err := Encode(f, Document{}); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
	if _, err := Encode("xml", Document{}); err == nil || !strings.Contains(err.Error(), "json") {
		t.Errorf("error %v, want one that lists the formats", err)
	}
}
