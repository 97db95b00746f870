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

func TestDocumentReadsBackAsThePinSetItHolds(t *testing.T) {
	t.Parallel()
	want := pinset.Set{Version: 7, Pins: []pinset.Pin{{1}, {2}}}
	data, err := Encode(pinset.FormatJSON, Document{Name: "api", Set: want})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Decode(pinset.FormatJSON, data); err != nil || !got.Equal(want) {
		t.Errorf("%v (%v), want %v", got, err, want)
	}
	for _, bad := range []string{
		"", "null", "[]", "{}", "<html>", `{"schema":2,"version":7,"pins":[{"algorithm":"sha256","value":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}]}`,
		`{"schema":1,"version":7,"pins":[{"algorithm":"sha1","value":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}]}`,
		`{"schema":1,"version":7,"pins":[{"algorithm":"sha256","value":"AQ=="}]}`,
	} {
		if got, err := Decode(pinset.FormatJSON, []byte(bad)); err == nil {
			t.Errorf("%q is taken for %v", bad, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	data, err := Encode(pinset.FormatJSON, Document{Set: pinset.Set{Version: 1, Pins: []pinset.Pin{{1}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := Decode(pinset.FormatJSON, data)
		if err != nil {
			if len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\x1b\n") {
				t.Errorf("the error is not fit to be shown: %q", err)
			}
			return
		}
		if set.Version < 1 || len(set.Pins) == 0 {
			t.Errorf("taken for a pin set: %v", set)
		}
	})
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
