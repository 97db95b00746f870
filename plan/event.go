package plan

import (
	"encoding/json"
	"time"

	"keepkey/pinset"
)

// Event is something that was done for a lineage, or that failed, as its journal has it.
type Event struct {
	At     time.Time `json:"at"`
	Action Kind      `json:"action"`
	Reason WhyCode   `json:"reason,omitempty"`
	By     string    `json:"by,omitempty"` // who asked for it: see [AskedByDaemon]
	// Entry is the number of the ledger's entry that was made with it.
	Entry int        `json:"entry,omitempty"`
	Role  Role       `json:"role,omitempty"`
	Pin   pinset.Pin `json:"pin,omitzero"`  // of the key that it is about
	From  pinset.Pin `json:"from,omitzero"` // of the key that was active before
	// Keys are those that were declared compromised.
	Keys    []pinset.Pin `json:"keys,omitempty"`
	Channel string       `json:"channel,omitempty"`
	Version int          `json:"version,omitempty"` // of the certificate, or with a channel of the pin set
	Target  string       `json:"target,omitempty"`
	Serial  string       `json:"serial,omitempty"`
	Expires time.Time    `json:"expires,omitzero"` // of the certificate
	Host    string       `json:"host,omitempty"`
	Error   string       `json:"error,omitempty"` // why it failed; "" when it was done
}

// Who has something done. A person's name follows after a blank, where it is known.
const (
	AskedByDaemon = "daemon"
	AskedByRun    = "run"    // keepkey renew over all certificates: a timer's, as a rule
	AskedByPerson = "person" // who named the certificate
)

// EventOf returns what the journal has of an action that came out in some way, and led from
// one state to the next. It leaves out what nobody wants to read about later: stages of an
// action, upkeep, and further failures of what failed before.
func EventOf(was, is State, a Action, r Result) (e Event, worth bool) {
	e = Event{
		At: r.At, Action: a.Kind, Reason: a.Why.Code, Role: a.Role, Pin: a.Pin, Channel: a.Channel, Version: a.Version,
		Target: a.Target, Host: a.Host,
	}
	if a.PinSet.Version > 0 {
		e.Version = a.PinSet.Version
	}
	if r.Failed != nil {
		f, last := is.failuresOf(a)[a.purpose()], was.failuresOf(a)[a.purpose()]
		e.Error = f.Error
		return e, last.Count == 0 || last.Code != f.Code
	}
	if r.Began || r.Hook != "" || r.Order != nil || r.Sight != nil || a.Kind.Upkeep() {
		return Event{}, false
	}
	switch a.Kind {
	case GenerateKey:
		e.Pin = r.Pin
	case DeclareCompromise:
		if e.Keys = a.Keys; len(e.Keys) == 0 && was.Active() != nil {
			e.Keys = []pinset.Pin{was.Active().Pin}
		}
	}
	if c := r.Certificate; c != nil {
		e.Version, e.Serial, e.Expires, e.Pin = c.Version, c.Serial, c.NotAfter, c.Pin
	}
	if from, to := was.Active(), is.Active(); from != nil && to != nil && from.Pin != to.Pin {
		e.Pin, e.From = to.Pin, from.Pin
	}
	return e, true
}

// ParseEvent reads a line of a journal. One that is damaged is not an event.
func ParseEvent(line []byte) (e Event, ok bool) {
	err := json.Unmarshal(line, &e)
	return e, err == nil && e.Action != "" && !e.At.IsZero()
}
