package plan

import (
	"maps"
	"slices"
	"time"

	"keepkey/pinset"
)

// Role is what a key is for.
type Role string

// The roles of keys.
const (
	Active  Role = "active"
	Backup  Role = "backup"
	Retired Role = "retired" // was active; kept, and never made active again but by an undo
	// Compromised is a key that others may have: never served or published again
	// (RFC 5280 section 5.3.1).
	Compromised Role = "compromised"
	// Lost is a backup key whose file is missing or damaged. Another has taken its place.
	Lost Role = "lost"
)

// State is all that keepkey remembers of a lineage besides the ledger and the files
// themselves. What is not in it did not happen, and what was intended is in it before
// the world can have seen it. It is a value: [After] returns the next one, and nothing
// else makes one. The zero State is that of a lineage that was never begun.
type State struct {
	Schema  int       `json:"schema"`
	Lineage string    `json:"lineage"`
	Begun   time.Time `json:"begun"`
	Keys    []Key     `json:"keys"`

	// Orders are under way, at most one for each key: placed, and perhaps finalized,
	// but the certificate is not stored yet. They are on record so that a crash costs
	// no further certificate.
	Orders []Order `json:"orders,omitempty"`
	// Certificate is the newest that was accepted and stored.
	Certificate *Certificate `json:"certificate,omitempty"`
	// Stored is the newest version that is on record besides Certificate's: of one that is
	// not used any more since another key was adopted.
	Stored int `json:"stored,omitempty"`
	// Issued lists all certificates that were accepted and have not expired, the
	// newest last: should their key be compromised, they are revoked.
	Issued []Issued `json:"issued,omitempty"`
	// Window is what the CA last said about renewing Certificate.
	Window *Window `json:"renewal_window,omitempty"`

	// Rollover is under way, or can still be undone.
	Rollover *Rollover `json:"rollover,omitempty"`
	// Since is when the active key became it, or when a rollover was last called
	// off: a schedule counts from there.
	Since time.Time `json:"since,omitzero"`

	// Channels says how far the newest publication on each channel is.
	Channels map[string]Publication `json:"channels,omitempty"`
	// Looked is when it was last seen what clients get on each channel.
	Looked map[string]time.Time `json:"looked,omitempty"`
	// Hosts is what each host did with the certificate, by the host's ID.
	Hosts map[string]Host `json:"hosts,omitempty"`
	// Failures are the actions that keep failing, by their purpose.
	Failures map[string]Failure `json:"failures,omitempty"`
	// Clock is what a CA last said of the time.
	Clock *Clock `json:"clock,omitempty"`
}

// Key is a key of the lineage; the file is named after the pin.
type Key struct {
	Pin  pinset.Pin     `json:"pin"`
	Type pinset.KeyType `json:"type"`
	Role Role           `json:"role"`
	// Digest proves the key's file: see keystore.Keys.Verify.
	Digest  string    `json:"digest,omitempty"`
	Created time.Time `json:"created"`
}

// Order is an ACME order under way, and what is needed to resume it.
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
	Version int `json:"version"`
	// Digest proves the stored files: see keystore.Version.
	Digest    string     `json:"digest"`
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

// Publication is a pin set on its way to a channel. When it was intended, and
// whether it is confirmed, is in the ledger.
type Publication struct {
	Version int `json:"version"`
	// Document is what every hook is handed, however often, and ContentType what it is.
	Document    string `json:"document,omitempty"`
	ContentType string `json:"content_type,omitempty"`
	// By is what was to make it count as out when it was begun.
	By   Confirmation `json:"by,omitempty"`
	Done []string     `json:"done,omitempty"` // hooks that succeeded, by their IDs
}

// Host is what one host did with the newest certificate.
type Host struct {
	Hostname string `json:"hostname,omitempty"` // for people
	// Installed is the version that live/ was last switched to.
	Installed int `json:"installed"`
	// Deployed lists the deploy hooks that succeeded for it, by their IDs.
	Deployed []string `json:"deployed,omitempty"`
	// Checked lists the addresses at which its key was seen to be served.
	Checked []string `json:"checked,omitempty"`
	// Looked is when the key served at each address was last looked at.
	Looked map[string]time.Time `json:"looked,omitempty"`
	// Failures are the actions of this host that keep failing, by their purpose.
	Failures map[string]Failure `json:"failures,omitempty"`
}

// Failure counts the failed attempts at one purpose.
type Failure struct {
	Count int       `json:"count"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	// Next is the earliest time of the next attempt; zero when every run tries.
	Next  time.Time `json:"next,omitzero"`
	Code  Code      `json:"code,omitempty"` // where it says more than the action does
	Error string    `json:"error"`
}

// IsZero reports whether the lineage was never begun.
func (s State) IsZero() bool { return s.Begun.IsZero() }

// Clone returns a copy that shares nothing that can change.
func (s State) Clone() State {
	c := s
	c.Keys, c.Issued = slices.Clone(s.Keys), slices.Clone(s.Issued)
	c.Orders = slices.Clone(s.Orders) // what an order holds is never changed
	c.Certificate = s.Certificate.clone()
	if s.Window != nil {
		w := *s.Window
		c.Window = &w
	}
	if s.Clock != nil {
		clock := *s.Clock
		c.Clock = &clock
	}
	c.Rollover = s.Rollover.clone()
	c.Channels = maps.Clone(s.Channels)
	for name, p := range c.Channels {
		p.Done = slices.Clone(p.Done)
		c.Channels[name] = p
	}
	c.Looked = maps.Clone(s.Looked)
	c.Hosts = maps.Clone(s.Hosts)
	for id, h := range c.Hosts {
		h.Deployed, h.Checked, h.Failures, h.Looked = slices.Clone(h.Deployed), slices.Clone(h.Checked), maps.Clone(h.Failures), maps.Clone(h.Looked)
		c.Hosts[id] = h
	}
	c.Failures = maps.Clone(s.Failures)
	return c
}

func (c *Certificate) clone() *Certificate {
	if c == nil {
		return nil
	}
	copied := *c
	copied.Domains = slices.Clone(c.Domains)
	return &copied
}

// expiresSoon reports that less than a sixth of the certificate's lifetime is left.
func (c *Certificate) expiresSoon(now time.Time) bool { return c.hasLeft(6, now) }

// hasLeft reports that less than the n-th part of the certificate's lifetime is left.
func (c *Certificate) hasLeft(n int, now time.Time) bool {
	return c.NotAfter.Sub(now) < c.NotAfter.Sub(c.NotBefore)/time.Duration(n)
}

// key returns a key by its pin, or nil.
func (s *State) key(pin pinset.Pin) *Key {
	i := slices.IndexFunc(s.Keys, func(k Key) bool { return k.Pin == pin })
	if i < 0 {
		return nil
	}
	return &s.Keys[i]
}

// Active returns the active key, or nil before the first one is made.
func (s State) Active() *Key {
	i := slices.IndexFunc(s.Keys, func(k Key) bool { return k.Role == Active })
	if i < 0 {
		return nil
	}
	k := s.Keys[i]
	return &k
}

// Backups returns the backup keys in the order in which they were made: the
// first is the next active key.
func (s State) Backups() []Key {
	var backups []Key
	for _, k := range s.Keys {
		if k.Role == Backup {
			backups = append(backups, k)
		}
	}
	return backups
}

// Order returns the order under way for a key, if there is one.
func (s State) Order(pin pinset.Pin) (Order, bool) {
	i := slices.IndexFunc(s.Orders, func(o Order) bool { return o.Pin == pin })
	if i < 0 {
		return Order{}, false
	}
	return s.Orders[i], true
}

// Pins returns the pins that clients should know: the active key's, the backups',
// and during a rollover both of its keys'; never a compromised one's. It is empty
// while there are less than two.
func (s State) Pins() []pinset.Pin {
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

// Failing reports whether the last attempt at an action failed.
func (s State) Failing(a Action) bool {
	_, fails := s.failuresOf(a)[a.purpose()]
	return fails
}

// failuresOf returns the failures that an action's are among.
func (s State) failuresOf(a Action) map[string]Failure {
	if a.Host != "" {
		return s.Hosts[a.Host].Failures
	}
	return s.Failures
}
