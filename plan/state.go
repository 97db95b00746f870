package plan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"keepkey/pinset"
)

// Schema is the version of the state document. A document with a newer one was
// written by a newer keepkey, and is refused rather than misread.
const Schema = 1

// Role is what a key is for.
type Role string

// The roles of keys; see the table of words in the design.
const (
	Active  Role = "active"
	Backup  Role = "backup"
	Retired Role = "retired" // was active; kept, and never made active again but by an undo
	// Compromised is a key that others may have: never served or published again
	// (RFC 5280 section 5.3.1).
	Compromised Role = "compromised"
)

// State is all that keepkey remembers of a lineage besides the files themselves.
// It is the only commit point: what is not in it did not happen, and what was
// intended is in it before the world can have seen it.
type State struct {
	Schema  int       `json:"schema"`
	Lineage string    `json:"lineage"`
	Begun   time.Time `json:"begun"`
	Keys    []Key     `json:"keys"`

	// Order is under way: made, and perhaps finalized, but its certificate is not
	// stored yet. It is on record so that a crash costs no further certificate.
	Order *Order `json:"order,omitempty"`
	// Certificate is the newest that was accepted and stored. It should be live.
	Certificate *Certificate `json:"certificate,omitempty"`
	// Issued lists all certificates that were accepted and have not expired, the
	// newest last: should their key be compromised, they are revoked.
	Issued []Issued `json:"issued,omitempty"`
	// Window is what the CA last said about renewing Certificate.
	Window *Window `json:"renewal_window,omitempty"`
	// Failure is set while obtaining a certificate fails.
	Failure *Failure `json:"failure,omitempty"`

	// Rollover is under way, or can still be undone.
	Rollover *Rollover `json:"rollover,omitempty"`
	// Since is when the active key became it, or when a rollover was last called
	// off: a schedule counts from there.
	Since time.Time `json:"since,omitzero"`

	// Ledger names the last entry of the ledger that counts.
	Ledger pinset.Head `json:"ledger"`
	// Channels says how far the newest publication on each channel is.
	Channels map[string]Publication `json:"channels,omitempty"`
}

// Key is a key of the lineage; the file is named after the pin.
type Key struct {
	Pin     pinset.Pin     `json:"pin"`
	Type    pinset.KeyType `json:"type"`
	Role    Role           `json:"role"`
	Created time.Time      `json:"created"`
}

// Order is an ACME order under way, and what is needed to go on with it.
type Order struct {
	Directory string     `json:"directory"`
	URL       string     `json:"url"`
	Finalize  string     `json:"finalize"`
	CSR       []byte     `json:"csr"` // DER
	Pin       pinset.Pin `json:"pin"`
	Domains   []string   `json:"domains"`
	Created   time.Time  `json:"created"`
	Early     bool       `json:"early,omitempty"` // see Certificate
}

// Certificate is a stored certificate version.
type Certificate struct {
	Version   int        `json:"version"`
	Pin       pinset.Pin `json:"pin"`
	Serial    string     `json:"serial"` // hexadecimal
	Domains   []string   `json:"domains"`
	Directory string     `json:"directory"`
	NotBefore time.Time  `json:"not_before"`
	NotAfter  time.Time  `json:"not_after"`
	Obtained  time.Time  `json:"obtained"`
	// Early says that it was obtained because the CA asked for it, before its
	// predecessor's lifetime would have.
	Early bool `json:"early,omitempty"`
	// Deployed lists the deploy hooks that succeeded for it, by their IDs.
	Deployed []string `json:"deployed,omitempty"`
	// Checked lists the addresses at which its key was seen to be served.
	Checked []string `json:"checked,omitempty"`
}

// Issued is a certificate that a CA gave out.
type Issued struct {
	Version   int        `json:"version"`
	Pin       pinset.Pin `json:"pin"`
	Serial    string     `json:"serial"` // hexadecimal
	Directory string     `json:"directory"`
	NotAfter  time.Time  `json:"not_after"`
	Revoked   time.Time  `json:"revoked,omitzero"`
}

// Window is a CA's answer to when a certificate should be renewed (RFC 9773),
// or the memory that it gave none.
type Window struct {
	Serial      string    `json:"serial"` // of the certificate asked about
	Start       time.Time `json:"start,omitzero"`
	End         time.Time `json:"end,omitzero"`
	Explanation string    `json:"explanation,omitempty"`
	Asked       time.Time `json:"asked"`
	AskAgain    time.Time `json:"ask_again"`
}

// Failure counts failed attempts to obtain a certificate.
type Failure struct {
	Count int       `json:"count"`
	Last  time.Time `json:"last"`
	Next  time.Time `json:"next"` // no attempt before, unless forced
	Error string    `json:"error"`
}

// Publication is a pin set on its way to a channel. When it was intended, and
// whether it is confirmed, is in the ledger.
type Publication struct {
	Version int      `json:"version"`
	Done    []string `json:"done,omitempty"` // hooks that succeeded, by their IDs
	// Looks counts the attempts to read it back, and LookAgain is the time of the
	// next.
	Looks     int       `json:"looks,omitempty"`
	LookAgain time.Time `json:"look_again,omitzero"`
}

// Begin returns the state of a lineage that has nothing yet.
func Begin(lineage string, now time.Time) *State {
	return &State{Schema: Schema, Lineage: lineage, Begun: now, Ledger: pinset.Ledger{}.Head()}
}

// Active returns the active key, or nil before the first one is made.
func (s *State) Active() *Key {
	for i := range s.Keys {
		if s.Keys[i].Role == Active {
			return &s.Keys[i]
		}
	}
	return nil
}

// Backups returns the backup keys in the order in which they were made: the
// first is the next active key.
func (s *State) Backups() []Key {
	var backups []Key
	for _, k := range s.Keys {
		if k.Role == Backup {
			backups = append(backups, k)
		}
	}
	return backups
}

// MarkRevoked puts on record that the certificate with a serial number was revoked.
func (s *State) MarkRevoked(serial string, at time.Time) {
	for i := range s.Issued {
		if s.Issued[i].Serial == serial {
			s.Issued[i].Revoked = at
		}
	}
}

// Pins returns the pins that clients should know: the active key's, the backups',
// and during a rollover both of its keys'; never a compromised one's. It is empty
// while there are less than two.
func (s *State) Pins() []pinset.Pin {
	var pins []pinset.Pin
	r := s.Rollover
	if active := s.Active(); active != nil && (r == nil || !r.Compromised || r.From != active.Pin) {
		pins = append(pins, active.Pin)
	}
	for _, k := range s.Backups() {
		pins = append(pins, k.Pin)
	}
	if r != nil && !r.Compromised {
		for _, p := range []pinset.Pin{r.From, r.To} {
			if !slices.Contains(pins, p) {
				pins = append(pins, p)
			}
		}
	}
	if len(pins) < 2 {
		return nil
	}
	return pins
}

// WantedPinSet returns the pin set that every channel should carry: the newest in
// the ledger if its pins are still right, else its successor.
func (s *State) WantedPinSet(ledger pinset.Ledger) pinset.Set {
	newest := ledger.Newest()
	want := pinset.Set{Version: newest.Version, Pins: s.Pins()}
	if want.Version > 0 && want.Equal(newest) {
		return newest
	}
	want.Version++
	return want
}

// Marshal writes the state document.
func (s *State) Marshal() ([]byte, error) {
	data, err := json.MarshalIndent(s, "", "  ")
	return append(data, '\n'), err
}

// ParseState reads a state document and proves that it makes sense. What does
// not is an error that says so; nothing is repaired or guessed.
func ParseState(lineage string, data []byte) (*State, error) {
	var s State
	var version struct {
		Schema int `json:"schema"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return nil, fmt.Errorf("not a state document: %w", err)
	}
	if version.Schema > Schema {
		return nil, fmt.Errorf("written by a newer keepkey (schema %d, this one knows %d)", version.Schema, Schema)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return nil, fmt.Errorf("not a state document: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("not a state document: something follows it")
	}
	return &s, s.check(lineage)
}

func (s *State) check(lineage string) error {
	if s.Schema != Schema {
		return fmt.Errorf("schema %d is not known", s.Schema)
	}
	if s.Lineage != lineage {
		return fmt.Errorf("it belongs to %q", s.Lineage)
	}
	seen := make(map[pinset.Pin]bool)
	actives := 0
	for _, k := range s.Keys {
		if k.Pin.IsZero() || seen[k.Pin] {
			return fmt.Errorf("the key %s is named twice or has no pin", k.Pin)
		}
		seen[k.Pin] = true
		switch k.Role {
		case Active:
			actives++
		case Backup, Retired, Compromised:
		default:
			return fmt.Errorf("the key %s has the role %q", k.Pin, k.Role)
		}
	}
	if actives > 1 || (actives == 0 && len(s.Keys) > 0) {
		return fmt.Errorf("%d keys are active, want one", actives)
	}
	if c := s.Certificate; c != nil {
		if a := s.Active(); a == nil || c.Pin != a.Pin {
			return fmt.Errorf("the certificate's key %s is not the active one", c.Pin)
		}
		if c.Version < 1 || len(c.Domains) == 0 || !c.NotAfter.After(c.NotBefore) {
			return errors.New("its certificate makes no sense")
		}
	}
	for _, c := range s.Issued {
		if s.key(c.Pin) == nil || c.Version < 1 || c.Serial == "" {
			return fmt.Errorf("it names certificate version %d of the key %s, which makes no sense", c.Version, c.Pin)
		}
	}
	if o := s.Order; o != nil {
		if k := s.key(o.Pin); k == nil {
			return fmt.Errorf("the order's key %s is not there", o.Pin)
		}
	}
	if err := s.checkRollover(); err != nil {
		return err
	}
	if s.Ledger.Entries < 0 || len(s.Ledger.Hash) != 64 {
		return errors.New("it does not name the end of the ledger")
	}
	for name, p := range s.Channels {
		if p.Version < 1 {
			return fmt.Errorf("channel %q carries pin set version %d", name, p.Version)
		}
	}
	return nil
}
