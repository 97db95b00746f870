// Package hooks tells somebody of an event, a command, a file or a webhook, and
// reads back what was published.
//
// A command is an argument list, run without a shell, in a process group of its
// own that ends with the time limit. It is given the event in its environment and
// as JSON on standard input (docs/hooks.md is the contract). Its output is bounded
// and shown only when it fails. No hook is ever given a private key, and none
// inherits an environment in which there might be one.
//
// Events are delivered at least once: after a crash a hook may be called again
// with the same event ID.
package hooks

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// The kinds of events.
const (
	Publish = "publish" // a pin set is to reach the clients of a channel
	Deploy  = "deploy"  // a new certificate is live
)

// Event is what a hook is told. The JSON form is its documented interface.
type Event struct {
	Schema  int      `json:"schema"` // 1
	ID      string   `json:"id"`     // the same whenever the same event is told again
	Kind    string   `json:"event"`
	Name    string   `json:"name"` // of the lineage
	Domains []string `json:"domains"`
	LiveDir string   `json:"live_dir"`

	// With Publish.
	Channel       string   `json:"channel,omitempty"`
	PinSetVersion int      `json:"pin_set_version,omitempty"`
	Pins          []string `json:"pins,omitempty"`
	Document      string   `json:"document,omitempty"` // the pin set in the channel's format

	// With Deploy.
	Serial    string    `json:"serial,omitempty"` // hexadecimal
	NotBefore time.Time `json:"not_before,omitzero"`
	NotAfter  time.Time `json:"not_after,omitzero"`
}

// encode writes the event as hooks get it.
func (e Event) encode() ([]byte, error) {
	e.Schema = 1
	return json.Marshal(e)
}

// Hook is somebody to tell.
type Hook interface {
	// Run tells them, and returns when they have taken it up.
	Run(ctx context.Context, e Event) error
	// String names the hook for people.
	String() string
}

// Error says that a hook failed, and shows the end of what it had to say.
type Error struct {
	Hook   string
	Reason string
	Output string // bounded, may hold anything: quote it before showing it
}

func (e *Error) Error() string {
	msg := fmt.Sprintf("hook %s: %s", e.Hook, e.Reason)
	if out := strings.TrimSpace(e.Output); out != "" {
		msg += fmt.Sprintf("; its output ends with %q", tail(out, 500))
	}
	return msg
}

// tail returns the last lines of s, at most n bytes.
func tail(s string, n int) string {
	if len(s) > n {
		s = s[len(s)-n:]
	}
	return s
}
