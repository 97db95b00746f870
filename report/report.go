// Package report reads what clients tell when they met a server whose key is not in the pin set
// that they enforce: reports of failed pin validations, as RFC 7469 section 3 has them, as
// TrustKit sends them, and our own clients.
//
// Anybody can send one, so nothing in it is believed: what comes out of [Parse] is bounded, its
// texts are printable, and package plan compares it with the ledger. The package is pure.
package report

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"keepkey/pinset"
)

// Report is a pin validation that failed, as a client tells it.
type Report struct {
	Host  string // to which the client connected: in lower case, without a trailing dot
	Noted string // the host whose pins it applied, where that is another
	// Known are the pins that the client accepts, sorted, each once. There is at least one.
	Known []pinset.Pin
	// Served is the pin of the key that the server presented; zero where the report does not
	// show it.
	Served pinset.Pin
	// Matched says that one of the certificates has a key that the client accepts: it was
	// not its pins that failed.
	Matched bool
	// App is what the client says of itself and of its pin set.
	App string
	// At is when it happened by the client's clock; zero where the report does not say.
	At time.Time
	// Lax says that the client went on all the same.
	Lax bool
	// Untrusted says that the client did not trust the certificates, whatever their keys.
	Untrusted bool
}

// MaxBody bounds a report, in bytes.
const MaxBody = 64 << 10

// Bounds of what is in a report.
const (
	maxPins  = 32 // keepkey publishes no pin set with more
	maxChain = 10
	maxHost  = 253 // bytes
	maxWord  = 60
	maxApp   = 150
)

// document is a report as it is sent. Two fields of the RFC's are left out: pins are for all
// ports of a host, and when they expire the ledger knows better.
type document struct {
	DateTime  word     `json:"date-time"`
	Hostname  string   `json:"hostname"`
	Noted     string   `json:"noted-hostname"`
	Served    []string `json:"served-certificate-chain"`
	Validated []string `json:"validated-certificate-chain"`
	KnownPins []string `json:"known-pins"`

	// TrustKit's.
	Bundle   word `json:"app-bundle-id"`
	Version  word `json:"app-version"`
	Platform word `json:"app-platform"`
	Enforce  word `json:"enforce-pinning"`
	Result   word `json:"validation-result"`

	// Our own clients'.
	Channel word `json:"channel"`
	PinSet  word `json:"pin-set-version"`
}

// notTrusted is TrustKit's validation-result of a chain that the system does not trust.
const notTrusted = "2"

// Parse reads a report. Fields that it does not know mean nothing, and certificates that can't
// be read are left out.
func Parse(body []byte) (Report, error) {
	if len(body) > MaxBody {
		return Report{}, fmt.Errorf("the report is longer than %d bytes", MaxBody)
	}
	var d document
	if err := json.Unmarshal(body, &d); err != nil {
		return Report{}, fmt.Errorf("this is not a report: %.200q", err.Error())
	}
	r := Report{App: d.app(), At: parseTime(string(d.DateTime)), Lax: d.Enforce == "false", Untrusted: d.Result == notTrusted}
	var err error
	if r.Host, err = parseHost(d.Hostname); err != nil {
		return Report{}, fmt.Errorf("the report's hostname %w", err)
	}
	if d.Noted != "" {
		if r.Noted, err = parseHost(d.Noted); err != nil {
			return Report{}, fmt.Errorf("the report's noted-hostname %w", err)
		}
	}
	if r.Known, err = parsePins(d.KnownPins); err != nil {
		return Report{}, err
	}
	chain := d.Served
	if len(chain) == 0 || keyOf(chain[0]).IsZero() {
		chain = d.Validated
	}
	for i, text := range chain[:min(len(chain), maxChain)] {
		key := keyOf(text)
		if i == 0 {
			r.Served = key
		}
		r.Matched = r.Matched || (!key.IsZero() && slices.Contains(r.Known, key))
	}
	return r, nil
}

// app puts together what the client says of itself.
func (d document) app() string {
	var parts []string
	for _, part := range []struct {
		format string
		word   word
	}{{"%s", d.Bundle}, {"%s", d.Version}, {"(%s)", d.Platform}, {"channel %s", d.Channel}, {"pin set version %s", d.PinSet}} {
		if part.word != "" {
			parts = append(parts, fmt.Sprintf(part.format, part.word))
		}
	}
	return cut(strings.Join(parts, " "), maxApp)
}

// word is a short text, whether it was sent as a text, a number or true or false. Anything
// else is none.
type word string

func (w *word) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		if bytes.ContainsAny(data[:1], "{[") {
			return nil
		}
		s = string(data)
	}
	*w = word(plain(s))
	return nil
}

// plain cuts a text, and replaces what is not printable.
func plain(s string) string {
	printable := func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}
	return cut(strings.Map(printable, s[:min(len(s), maxWord)]), maxWord)
}

func cut(s string, limit int) string { return strings.ToValidUTF8(s[:min(len(s), limit)], "") }

// parseHost reads a host name. Clients know internationalised ones as A-labels.
func parseHost(s string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(s, "."))
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '.' && r != '-' && r != '_'
	}
	switch {
	case name == "":
		return "", errors.New("is missing")
	case len(name) > maxHost || strings.ContainsFunc(name, odd):
		return "", fmt.Errorf("is not one: %.100q", s)
	}
	return name, nil
}

// parsePins reads the pins that a client accepts. Those of other algorithms mean nothing (RFC
// 7469 section 2.1.1); one that can't be read means that the pin set is not known.
func parsePins(texts []string) ([]pinset.Pin, error) {
	if len(texts) > maxPins {
		return nil, fmt.Errorf("the report has %d known-pins, and keepkey publishes at most %d", len(texts), maxPins)
	}
	var pins []pinset.Pin
	for _, text := range texts {
		value, ok := cutAlgorithm(strings.TrimSpace(text))
		if !ok {
			continue
		}
		pin, err := pinset.Parse(value)
		if err != nil {
			return nil, fmt.Errorf("one of the report's known-pins %w", err)
		}
		pins = append(pins, pin)
	}
	if len(pins) == 0 {
		return nil, errors.New("the report has no known-pins, so nothing can be told from it")
	}
	slices.SortFunc(pins, func(a, b pinset.Pin) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(pins), nil
}

// cutAlgorithm returns the value of a SHA-256 pin, in one of the spellings that clients use:
// pin-sha256="...", sha256/..., or bare.
func cutAlgorithm(text string) (value string, ok bool) {
	if name, quoted, found := strings.Cut(text, `="`); found {
		return strings.TrimSuffix(quoted, `"`), strings.EqualFold(name, "pin-sha256")
	}
	return strings.TrimPrefix(text, "sha256/"), !strings.HasPrefix(text, "sha1/")
}

// keyOf returns the pin of a certificate's key, or zero if it can't be read.
func keyOf(text string) pinset.Pin {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return pinset.Pin{}
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return pinset.Pin{}
	}
	return pinset.OfCertificate(cert)
}

// parseTime reads a time as clients write it; zero if it can't be.
func parseTime(s string) time.Time {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}
