// Package hooks delivers events to commands, files, webhooks, the daemon's clients and
// people's mail, and reads back what was published.
//
// A [Hook] is told of events, a [Reader] finds the document that clients get now. Each
// kind of either is a file here, and a line in config/hook.go. docs/hooks.md is the
// contract with whoever writes a hook.
//
// A command is an argument list, run without a shell in its own process group, which
// is ended when the time limit passes. Its output is bounded, and shown only if it
// fails. No hook is ever given a private key, and none inherits an environment that
// might hold one.
//
// Events are delivered at least once: after a crash a hook may be called again
// with the same event ID.
package hooks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// The kinds of events.
const (
	Publish = "publish" // a pin set is to reach the clients of a channel
	Deploy  = "deploy"  // a new certificate is in place, for servers to load
	Notify  = "notify"  // something is wrong, or is over, for people to know
)

// Event is what a hook is told. The JSON form is its documented interface.
type Event struct {
	Schema  int      `json:"schema"` // 1
	ID      string   `json:"id"`     // the same whenever the same event is told again
	Kind    string   `json:"event"`
	Name    string   `json:"name"` // of the lineage; "" with a Notify that is not about one
	Domains []string `json:"domains"`
	LiveDir string   `json:"live_dir"`

	// WorkDir is a directory that only events of this channel use. A [Command] needs it to
	// publish: it makes the directory anew each time, in a parent that is there.
	WorkDir string `json:"-"`

	// ServeDir is where a [Serve] keeps what the daemon serves of this lineage.
	ServeDir string `json:"-"`

	// With Publish.
	Channel       string   `json:"channel,omitempty"`
	PinSetVersion int      `json:"pin_set_version,omitempty"`
	Pins          []string `json:"pins,omitempty"`
	Document      string   `json:"document,omitempty"`     // the pin set in the channel's format
	ContentType   string   `json:"content_type,omitempty"` // of the document: the format's media type

	// With Deploy; NotAfter with Notify, too, of the certificate in use.
	Serial    string    `json:"serial,omitempty"` // hexadecimal
	NotBefore time.Time `json:"not_before,omitzero"`
	NotAfter  time.Time `json:"not_after,omitzero"`

	// With Notify. None of it has control characters, but line ends in Text.
	Host         string    `json:"host,omitempty"`    // the name of this machine
	State        string    `json:"state,omitempty"`   // appeared, worse, over or test
	Summary      string    `json:"summary,omitempty"` // a line
	Text         string    `json:"text,omitempty"`    // what is wrong, what is safe, what to do
	Problem      Problem   `json:"problem,omitzero"`
	Certificates []string  `json:"certificates,omitempty"` // the lineages that it is about
	Since        time.Time `json:"since,omitzero"`
}

// Problem is what a Notify is about.
type Problem struct {
	ID       string `json:"id"`
	Code     string `json:"code"`
	Severity string `json:"severity"`
}

// encode writes the event as hooks get it.
func (e Event) encode() ([]byte, error) {
	e.Schema = 1
	if e.Domains == nil {
		e.Domains = []string{}
	}
	return json.Marshal(e)
}

// Hook is told of events.
type Hook interface {
	// Run delivers the event, and returns nil when it was acted on. Failures are
	// [*Error]s.
	Run(ctx context.Context, e Event) error
	// ID identifies the hook by what it does, in 16 hexadecimal digits, so that its
	// successes are remembered however the configuration is reordered. Hooks of
	// different kinds never share one. A time limit, or where a secret is kept, is not
	// part of what a hook does.
	ID() string
	// String names the hook for people, without the secrets that a URL may contain.
	String() string
}

// Reader is a place where a published document can be read back, as clients see it.
//
// Reading a [Command] runs it. So don't read a hook because it happens to be a Reader:
// of the hooks, only a [File] and a [Serve] are places to look at; see [Place].
type Reader interface {
	// Read returns the document that is there now, at most 1 MiB. Failures are [*Error]s.
	Read(ctx context.Context, e Event) ([]byte, error)
	// String names the place for people, without the secrets that a URL may contain.
	String() string
}

// Place returns how to look at what a hook publishes to, where that can be done and changes
// nothing.
func Place(h Hook) (r Reader, ok bool) {
	switch h := h.(type) {
	case File:
		return h, true
	case Serve:
		return h, true
	}
	return nil, false
}

// defaultTimeout applies to hooks and readers without a time limit of their own.
const defaultTimeout = time.Minute

// maxDocument bounds a document that is read back, in bytes.
const maxDocument = 1 << 20

// identity returns the ID of a hook of a kind, whose fields say what it does. Each part
// is hashed after its length, so that different parts never make the same text.
func identity(kind string, fields ...string) string {
	h := sha256.New()
	for _, part := range append([]string{kind}, fields...) {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// bounded returns a document that was read, unless it is too long to be one.
func bounded(r Reader, data []byte) ([]byte, error) {
	if len(data) > maxDocument {
		return nil, unread(r, fmt.Sprintf("it has more than %d bytes", maxDocument), "")
	}
	return data, nil
}

// Error says that a hook or a reader failed, and shows the end of what it printed
// or answered.
type Error struct {
	What   string // what was tried, with the hook's or reader's String
	Reason string // a clause about "it", the hook or reader
	Output string // bounded; it may hold anything, so quote it before showing it
	// Gone says that nothing is there to be read: a file that does not exist, an address
	// that answers 404 or 410 (RFC 9110 sections 15.5.5 and 15.5.11).
	Gone bool
	// NoDaemon says that keepkey's daemon should be asked and does not run: to ask again at
	// once would be in vain.
	NoDaemon bool
}

func (e *Error) Error() string {
	msg := fmt.Sprintf("%s: %s", e.What, e.Reason)
	if out := strings.TrimSpace(e.Output); out != "" {
		msg += fmt.Sprintf("; its output ends with %q", tail(out, 500))
	}
	return msg
}

// failed is the error of a hook.
func failed(h Hook, reason, output string) error {
	return &Error{What: "hook " + h.String(), Reason: reason, Output: output}
}

// unread is the error of a reader.
func unread(r Reader, reason, output string) error {
	return &Error{What: "reading " + r.String(), Reason: reason, Output: output}
}

// nothing is the error of a reader that finds nothing.
func nothing(r Reader, reason, output string) error {
	return &Error{What: "reading " + r.String(), Reason: reason, Output: output, Gone: true}
}

// tail returns the end of s, at most n bytes.
func tail(s string, n int) string {
	if len(s) > n {
		s = s[len(s)-n:]
	}
	return s
}
