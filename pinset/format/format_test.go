package format

import (
	"bytes"
	"encoding/hex"
	"errors"
	"mime"
	"slices"
	"strings"
	"testing"
	"time"

	"keepkey/pinset"
)

var expiry = time.Date(2027, 6, 1, 0, 0, 0, 0, time.UTC)

func document(version int, expires time.Time, pins ...pinset.Pin) Document {
	return Document{
		Name: "api", Domains: []string{"api.example.com", "api2.example.com"},
		Set:       pinset.Set{Version: version, Pins: pins},
		Published: time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC), Lifetime: 30 * 24 * time.Hour, Expires: expires,
	}
}

// holds says what is wrong with a format: whatever it writes, it has to find again.
func holds(f Format) error {
	for _, d := range []Document{
		document(1, time.Time{}, pinset.Pin{1}, pinset.Pin{2}),
		document(7, time.Time{}, pinset.Pin{3}, pinset.Pin{2}, pinset.Pin{1}),
		document(8, expiry, pinset.Pin{1}, pinset.Pin{2}),
		{Set: pinset.Set{Version: 1, Pins: []pinset.Pin{{1}}}},
	} {
		data, err := f.Encode(d)
		if err != nil {
			return err
		}
		if again, err := f.Encode(d); err != nil || !bytes.Equal(data, again) {
			return errors.New("the same document gives other bytes")
		}
		found, err := f.Decode(data)
		switch other := (pinset.Set{Version: d.Set.Version, Pins: append([]pinset.Pin{{9}}, d.Set.Pins[1:]...)}); {
		case err != nil:
			return err
		case !found.Is(d.Set, d.Expires):
			return errors.New("what it wrote is not what it finds")
		case found.Is(other, d.Expires):
			return errors.New("what it finds is taken for a pin set with a different pin")
		case found.Version != 0 && found.Version != d.Set.Version:
			return errors.New("it finds a different version")
		case !found.Expires.IsZero() && !found.Expires.Equal(d.Expires):
			return errors.New("it finds a different expiry")
		}
	}
	return nil
}

func TestEveryFormatFindsWhatItWrote(t *testing.T) {
	t.Parallel()
	for _, f := range formats {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			if err := holds(f); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFormatsAreKnownByTheirNames(t *testing.T) {
	t.Parallel()
	for _, f := range formats {
		if got, ok := ByName(f.Name); !ok || got.Ext != f.Ext {
			t.Errorf("%q is found as %q (%v)", f.Name, got.Name, ok)
		}
		if _, _, err := mime.ParseMediaType(f.ContentType); err != nil || !strings.HasPrefix(f.Ext, ".") || f.Name != strings.ToLower(f.Name) {
			t.Errorf("%q: content type %q (%v), extension %q", f.Name, f.ContentType, err, f.Ext)
		}
	}
	names := Names()
	if slices.Sort(names); len(names) == 0 || len(slices.Compact(names)) != len(formats) {
		t.Errorf("%d formats have the names %q", len(formats), Names())
	}
	if f, ok := ByName("xml"); ok {
		t.Errorf("xml is %q", f.Name)
	}
}

// lines is all that a new format takes, apart from its line in the table. This one is a
// pin in hexadecimal on each line, with neither a version nor an expiry.
var lines = Format{
	Name: "lines", ContentType: "text/plain", Ext: ".txt",
	Encode: func(d Document) ([]byte, error) {
		var b []byte
		for _, p := range d.Set.Pins {
			b = append(b, p.Hex()+"\n"...)
		}
		return b, nil
	},
	Decode: func(data []byte) (found Found, err error) {
		for line := range strings.Lines(string(data)) {
			p, err := pinset.ParseHex(strings.TrimSuffix(line, "\n"))
			if err != nil {
				return Found{}, err
			}
			found.Pins = append(found.Pins, p)
		}
		return found, nil
	},
}

func TestANewFormatIsAFewLines(t *testing.T) {
	t.Parallel()
	if err := holds(lines); err != nil {
		t.Error(err)
	}
}

// The test above would notice a format that does not hold.
func TestAFormatThatDoesNotHoldIsNoticed(t *testing.T) {
	t.Parallel()
	forgetful, vague, hasty := lines, lines, lines
	forgetful.Decode = func(data []byte) (Found, error) { return lines.Decode(data[:65]) }
	vague.Decode = func(data []byte) (Found, error) {
		found, err := lines.Decode(data)
		found.Version = 1
		return found, err
	}
	hasty.Encode = func(d Document) ([]byte, error) { return []byte(hex.EncodeToString(make([]byte, 32)) + "\n"), nil }
	for name, f := range map[string]Format{"one pin is enough": forgetful, "every version is 1": vague, "any pin will do": hasty} {
		if err := holds(f); err == nil {
			t.Errorf("%s: not noticed", name)
		}
	}
}

func TestFoundIsWhatWasPublished(t *testing.T) {
	t.Parallel()
	a, b, c := pinset.Pin{1}, pinset.Pin{2}, pinset.Pin{3}
	never := time.Time{}
	for _, tt := range []struct {
		name    string
		found   Found
		version int
		expires time.Time
		want    bool
	}{
		{"the same", Found{"", []pinset.Pin{a, b}, 7, expiry, pinset.Lifetime{}}, 7, expiry, true},
		{"in another order", Found{"", []pinset.Pin{b, a}, 7, expiry, pinset.Lifetime{}}, 7, expiry, true},
		{"one pin twice", Found{"", []pinset.Pin{a, b, a}, 7, expiry, pinset.Lifetime{}}, 7, expiry, true},
		{"a pin is missing", Found{"", []pinset.Pin{a}, 7, expiry, pinset.Lifetime{}}, 7, expiry, false},
		{"a pin more", Found{"", []pinset.Pin{a, b, c}, 7, expiry, pinset.Lifetime{}}, 7, expiry, false},
		{"a different pin", Found{"", []pinset.Pin{a, c}, 7, expiry, pinset.Lifetime{}}, 7, expiry, false},
		{"no pins", Found{"", nil, 7, expiry, pinset.Lifetime{}}, 7, expiry, false},
		{"an older version", Found{"", []pinset.Pin{a, b}, 6, expiry, pinset.Lifetime{}}, 7, expiry, false},
		{"a newer version", Found{"", []pinset.Pin{a, b}, 8, expiry, pinset.Lifetime{}}, 7, expiry, false},
		{"a format without versions", Found{"", []pinset.Pin{a, b}, 0, expiry, pinset.Lifetime{}}, 7, expiry, true},
		{"an earlier expiry", Found{"", []pinset.Pin{a, b}, 7, expiry.Add(-time.Second), pinset.Lifetime{}}, 7, expiry, false},
		{"a later expiry", Found{"", []pinset.Pin{a, b}, 7, expiry.Add(time.Second), pinset.Lifetime{}}, 7, expiry, false},
		{"a fraction of a second", Found{"", []pinset.Pin{a, b}, 7, expiry, pinset.Lifetime{}}, 7, expiry.Add(999 * time.Millisecond), true},
		{"in another time zone", Found{"", []pinset.Pin{a, b}, 7, expiry.In(time.FixedZone("", 3600)), pinset.Lifetime{}}, 7, expiry, true},
		{"a format without expiries", Found{"", []pinset.Pin{a, b}, 7, never, pinset.Lifetime{}}, 7, expiry, true},
		{"nothing was to expire", Found{"", []pinset.Pin{a, b}, 7, expiry, pinset.Lifetime{}}, 7, never, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := tt.found.Is(pinset.Set{Version: tt.version, Pins: []pinset.Pin{a, b}}, tt.expires); got != tt.want {
				t.Errorf("%+v is it: %v, want %v", tt.found, got, tt.want)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	for _, format := range formats {
		for _, expires := range []time.Time{{}, expiry} {
			data, err := format.Encode(document(1, expires, pinset.Pin{1}, pinset.Pin{2}))
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, format := range formats {
			found, err := format.Decode(data)
			switch {
			case err != nil && (len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\x1b\n")):
				t.Errorf("%s: the error is not fit to be shown: %q", format.Name, err)
			case err == nil && (found.Version < 0 || len(found.Pins) == 0):
				t.Errorf("%s: taken for a pin set: %v", format.Name, found)
			}
		}
	})
}

func TestADocumentSaysHowLongItsClientsHoldOn(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]pinset.Lifetime{
		`, "max_age_seconds": 86400`: {Duration: 24 * time.Hour},
		``:                           {Forever: true},
		`, "max_age_seconds": 0`:     {Forever: true},
		`, "max_age_seconds": -5`:    {Forever: true},
		`, "max_age_seconds": 9000000000000000000`: {Forever: true},
	} {
		doc := `{"schema": 1, "name": "api", "version": 3, "pins": [{"algorithm": "sha256", "value": "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}]` + said + `}`
		if found, err := JSON.Decode([]byte(doc)); err != nil || found.Lifetime != want {
			t.Errorf("%s: %+v, %v", said, found.Lifetime, err)
		}
	}
}
