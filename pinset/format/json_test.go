package format

import (
	"strings"
	"testing"
	"time"

	"keepkey/pinset"
)

func TestJSONIsTheDocumentedOne(t *testing.T) {
	t.Parallel()
	doc := Document{
		Name: "api", Domains: []string{"api.example.com"},
		Set:       pinset.Set{Version: 7, Pins: []pinset.Pin{{1}, {2}}},
		Published: time.Date(2026, 11, 21, 6, 0, 0, 500, time.FixedZone("", 3600)),
		Lifetime:  30 * 24 * time.Hour,
		Expires:   time.Date(2027, 6, 1, 2, 0, 0, 999_999_999, time.FixedZone("", 7200)),
	}
	want := `{
  "schema": 1,
  "name": "api",
  "domains": [
    "api.example.com"
  ],
  "version": 7,
  "published": "2026-11-21T05:00:00Z",
  "expires": "2027-06-01T00:00:00Z",
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
	if got, err := JSON.Encode(doc); string(got) != want || err != nil {
		t.Errorf("got\n%s(%v), want\n%s", got, err, want)
	}
	doc.Expires, doc.Lifetime = time.Time{}, 0
	want = strings.Replace(want, "  \"expires\": \"2027-06-01T00:00:00Z\",\n", "", 1)
	want = strings.Replace(want, "  \"max_age_seconds\": 2592000,\n", "", 1)
	if got, err := JSON.Encode(doc); string(got) != want || err != nil {
		t.Errorf("without an end, got\n%s(%v), want\n%s", got, err, want)
	}
}

const somePins = `"pins":[{"algorithm":"sha256","value":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}]`

func TestJSONIsFoundHoweverItIsLaidOut(t *testing.T) {
	t.Parallel()
	for _, good := range []string{
		`{"schema":1,"version":7,` + somePins + `}`,
		"\n\t{ \"" + `version":7, "schema" :1,"unknown":{"a":[]},` + somePins + "}\n\n",
		`{"schema":1,"version":7,"expires":null,` + somePins + `}`,
	} {
		if got, err := JSON.Decode([]byte(good)); err != nil || got.Version != 7 || !got.Expires.IsZero() || !pinset.SamePins(got.Pins, []pinset.Pin{{1}}) {
			t.Errorf("%q: found %v (%v)", good, got, err)
		}
	}
	got, err := JSON.Decode([]byte(`{"schema":1,"version":7,"expires":"2027-06-01T02:00:00+02:00",` + somePins + `}`))
	if err != nil || !got.Expires.Equal(expiry) {
		t.Errorf("found %v (%v)", got, err)
	}
}

func TestWhatIsNotAJSONDocumentIsNotTakenForOne(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"", "null", "[]", "{}", "<html>",
		`{"schema":2,"version":7,` + somePins + `}`,
		`{"schema":1,"version":0,` + somePins + `}`,
		`{"schema":1,"version":-7,` + somePins + `}`,
		`{"schema":1,"version":7,"pins":[]}`,
		`{"schema":1,"version":7,"pins":[{"algorithm":"sha1","value":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}]}`,
		`{"schema":1,"version":7,"pins":[{"algorithm":"sha256","value":"AQ=="}]}`,
		`{"schema":1,"version":7,"expires":"soon",` + somePins + `}`,
		`{"schema":1,"version":7,` + somePins + `} {}`,
	} {
		if got, err := JSON.Decode([]byte(bad)); err == nil {
			t.Errorf("%q is taken for %v", bad, got)
		}
	}
}
