package report_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"keepkey/pinset"
	"keepkey/report"
)

// certificate makes a certificate in PEM, and returns the pin of its key with it.
func certificate(t testing.TB) (text string, pin pinset.Pin) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "api.example.com"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if pin, err = pinset.Of(key.Public()); err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), pin
}

// fields are those of a report.
type fields map[string]any

func (f fields) json(t testing.TB) []byte {
	t.Helper()
	data, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// with returns the fields with some of them changed; nil takes one out.
func (f fields) with(changes fields) fields {
	out := make(fields)
	for _, from := range []fields{f, changes} {
		for name, value := range from {
			out[name] = value
		}
	}
	for name, value := range out {
		if value == nil {
			delete(out, name)
		}
	}
	return out
}

var (
	pinA, pinB = pinset.Pin{1}, pinset.Pin{2}
	// knownAB is how browsers and TrustKit write the two.
	knownAB = []string{fmt.Sprintf("pin-sha256=%q", pinB), fmt.Sprintf("pin-sha256=%q", pinA)}
)

func TestWhatClientsSendIsUnderstood(t *testing.T) {
	t.Parallel()
	served, leaf := certificate(t)
	issuer, _ := certificate(t)
	at := time.Date(2026, 11, 30, 13, 0, 50, 0, time.UTC)
	rfc := fields{
		"date-time": "2026-11-30T13:00:50Z", "hostname": "www.api.example.com", "port": 443, "effective-expiration-date": "2027-01-30T12:40:50Z",
		"include-subdomains": true, "noted-hostname": "api.example.com", "served-certificate-chain": []string{served, issuer},
		"validated-certificate-chain": []string{served, issuer}, "known-pins": knownAB,
	}
	trustKit := fields{
		"app-bundle-id": "com.example.app", "app-version": "1.2", "app-vendor-id": "599F9C00-92DC-4B5C-9464-7971F01F8370", "app-platform": "IOS",
		"app-platform-version": "19.1.0", "trustkit-version": "3.0.7", "date-time": "2026-11-30T13:00:50Z", "hostname": "api.example.com", "port": 0,
		"noted-hostname": "api.example.com", "include-subdomains": false, "enforce-pinning": true,
		"validated-certificate-chain": []string{strings.ReplaceAll(served, "\n", "\r\n")}, "known-pins": knownAB, "validation-result": 1,
		"known-pins-expiration-date": nil,
	}
	ours := fields{
		"date-time": "2026-11-30T14:00:50+01:00", "hostname": "api.example.com", "served-certificate-chain": []string{served}, "known-pins": knownAB,
		"channel": "over-the-air", "pin-set-version": 12,
	}
	known := []pinset.Pin{pinA, pinB}
	for name, tt := range map[string]struct {
		sent fields
		want report.Report
	}{
		"RFC 7469": {rfc, report.Report{Host: "www.api.example.com", Noted: "api.example.com", Known: known, Served: leaf, At: at}},
		"TrustKit": {trustKit, report.Report{Host: "api.example.com", Noted: "api.example.com", Known: known, Served: leaf, At: at, App: "com.example.app 1.2 (IOS)"}},
		"TrustKit for Android": {
			trustKit.with(fields{"app-version": 7, "app-platform": "ANDROID", "date-time": "2026-11-30T13:00:50+0000", "validation-result": 2, "served-certificate-chain": []string{served}}),
			report.Report{Host: "api.example.com", Noted: "api.example.com", Known: known, Served: leaf, At: at, App: "com.example.app 7 (ANDROID)", Untrusted: true},
		},
		"TrustKit, reporting only": {
			trustKit.with(fields{"enforce-pinning": false}),
			report.Report{Host: "api.example.com", Noted: "api.example.com", Known: known, Served: leaf, At: at, App: "com.example.app 1.2 (IOS)", Lax: true},
		},
		"our own clients": {ours, report.Report{Host: "api.example.com", Known: known, Served: leaf, At: at, App: "channel over-the-air pin set version 12"}},
		"a library for .NET, which has no time zone, and the port as a text": {
			fields{"date-time": "2026-11-30T13:00:50", "hostname": "api.example.com", "port": "443", "validated-certificate-chain": []string{served}, "known-pins": []string{"sha256/" + pinA.String(), pinB.String()}},
			report.Report{Host: "api.example.com", Known: known, Served: leaf, At: at},
		},
		"a name in capitals with a final dot": {ours.with(fields{"hostname": "API.example.COM."}), report.Report{Host: "api.example.com", Known: known, Served: leaf, At: at, App: "channel over-the-air pin set version 12"}},
		"a pin twice":                         {ours.with(fields{"known-pins": append(knownAB, knownAB...), "channel": nil, "pin-set-version": nil}), report.Report{Host: "api.example.com", Known: known, Served: leaf, At: at}},
		"a pin of another algorithm":          {ours.with(fields{"known-pins": append(knownAB, `pin-sha1="AAAA"`), "channel": nil, "pin-set-version": nil}), report.Report{Host: "api.example.com", Known: known, Served: leaf, At: at}},
		"the served key is among the pins":    {rfc.with(fields{"noted-hostname": nil, "known-pins": append(knownAB, leaf.String())}), report.Report{Host: "www.api.example.com", Known: sorted(pinA, pinB, leaf), Served: leaf, Matched: true, At: at}},
		"a chain that ends before it begins":  {ours.with(fields{"served-certificate-chain": []string{}, "channel": nil, "pin-set-version": nil}), report.Report{Host: "api.example.com", Known: known, At: at}},
		"a broken issuer":                     {ours.with(fields{"served-certificate-chain": []string{served, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"}, "channel": nil, "pin-set-version": nil}), report.Report{Host: "api.example.com", Known: known, Served: leaf, At: at}},
		"a broken certificate of the server, and what was made of it": {
			ours.with(fields{"served-certificate-chain": []string{"-----", issuer}, "validated-certificate-chain": []string{served, issuer}, "channel": nil, "pin-set-version": nil}),
			report.Report{Host: "api.example.com", Known: known, Served: leaf, At: at},
		},
		"a date that is none": {ours.with(fields{"date-time": []int{1}, "channel": fields{"a": 1}, "pin-set-version": nil}), report.Report{Host: "api.example.com", Known: known, Served: leaf}},
		"an app that paints":  {ours.with(fields{"date-time": 5, "channel": "\x1b[31m\u202e\n" + strings.Repeat("x", 1000), "pin-set-version": nil}), report.Report{Host: "api.example.com", Known: known, Served: leaf, App: "channel ?[31m??" + strings.Repeat("x", 60-9)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := report.Parse(tt.sent.json(t))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func sorted(pins ...pinset.Pin) []pinset.Pin {
	slices.SortFunc(pins, func(a, b pinset.Pin) int { return slices.Compare(a[:], b[:]) })
	return pins
}

func TestWhatSaysNothingIsRefused(t *testing.T) {
	t.Parallel()
	good := fields{"hostname": "api.example.com", "known-pins": knownAB}
	many := make([]string, 33)
	for i := range many {
		many[i] = pinset.Pin{byte(i)}.String()
	}
	for name, tt := range map[string]struct {
		body []byte
		want string
	}{
		"nothing":             {nil, "this is not a report: "},
		"HTML":                {[]byte("<html>"), "this is not a report: "},
		"a list":              {[]byte("[]"), "this is not a report: "},
		"two of them":         {[]byte("{}{}"), "this is not a report: "},
		"null":                {[]byte("null"), "the report's hostname is missing"},
		"no host":             {good.with(fields{"hostname": nil}).json(t), "the report's hostname is missing"},
		"a host that paints":  {good.with(fields{"hostname": "a\x1b[31m"}).json(t), `the report's hostname is not one: "a\x1b[31m"`},
		"a URL":               {good.with(fields{"hostname": "https://api.example.com/"}).json(t), "the report's hostname is not one"},
		"a long host":         {good.with(fields{"hostname": strings.Repeat("a.", 127) + "com"}).json(t), "the report's hostname is not one"},
		"another odd host":    {good.with(fields{"noted-hostname": "*"}).json(t), "the report's noted-hostname is not one"},
		"no pins":             {good.with(fields{"known-pins": nil}).json(t), "the report has no known-pins"},
		"pins of another age": {good.with(fields{"known-pins": []string{`pin-sha1="AAAA"`, "sha1/AAAA"}}).json(t), "the report has no known-pins"},
		"half a pin":          {good.with(fields{"known-pins": append(knownAB, `pin-sha256="AAAA"`)}).json(t), `one of the report's known-pins "AAAA" is not a pin`},
		"many pins":           {good.with(fields{"known-pins": many}).json(t), "the report has 33 known-pins, and keepkey publishes at most 32"},
		"pins in a text":      {good.with(fields{"known-pins": "AAAA"}).json(t), "this is not a report: "},
		"a giant":             {append(good.json(t), []byte(strings.Repeat(" ", report.MaxBody))...), "the report is longer than 65536 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := report.Parse(tt.body); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got %+v, %v; want %s", got, err, tt.want)
			}
		})
	}
}

// FuzzParse holds what comes out, whatever came in, to what the rest of keepkey relies on.
func FuzzParse(f *testing.F) {
	served, _ := certificate(f)
	for _, seed := range []fields{
		{"hostname": "api.example.com", "known-pins": knownAB, "served-certificate-chain": []string{served}, "date-time": "2026-11-30T13:00:50Z"},
		{"hostname": "api.example.com", "noted-hostname": "example.com", "known-pins": []string{"sha256/" + pinA.String()}, "enforce-pinning": false, "validation-result": 2},
		{"hostname": "api.example.com", "known-pins": knownAB, "app-bundle-id": "a\u202eb", "app-version": 1e9, "channel": []int{1}, "pin-set-version": true},
	} {
		f.Add(seed.json(f))
	}
	f.Add([]byte(`{"hostname":"\ud800","known-pins":["pin-sha256=\"\n\""]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := report.Parse(body)
		if err != nil {
			if len(err.Error()) > 2000 || !printable(err.Error()) {
				t.Errorf("%q", err)
			}
			return
		}
		for _, text := range []string{r.Host, r.Noted, r.App} {
			if len(text) > 400 || !printable(text) {
				t.Errorf("%q", text)
			}
		}
		if len(r.Known) == 0 || len(r.Known) > 32 || !slices.IsSortedFunc(r.Known, func(a, b pinset.Pin) int { return slices.Compare(a[:], b[:]) }) || len(slices.Compact(slices.Clone(r.Known))) != len(r.Known) {
			t.Errorf("pins %v", r.Known)
		}
		if r.Host == "" || r.At.Location() != time.UTC || r.At.Year() < 0 || r.At.Year() > 9999 {
			t.Errorf("%+v", r)
		}
	})
}

func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}
