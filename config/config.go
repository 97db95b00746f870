// Package config reads keepkey's configuration file.
//
// Reading is strict, because a mistake here can cost the keys of a server: an
// unknown key, a wrong type or a doubtful name is an error with file, line, the
// key's path and what is accepted, and all errors in a file are reported at once.
// Defaults are filled in, names are normalized, and relative paths count from the
// file's directory. What comes out is complete, and the formats, hooks and readers
// in it are the ones that act: the caller has nothing to fill in or to translate.
package config

import (
	"reflect"
	"slices"
	"time"

	"keepkey/hooks"
	"keepkey/pinset"
	"keepkey/pinset/format"
)

// Config is a whole configuration file.
type Config struct {
	File         string   // its absolute path
	State        string   // state directory, absolute
	Group        string   // the group that may read the current certificate and key, or ""
	Operators    string   // the group that may hand work to a daemon, or ""
	Listen       Listen   // where the daemon answers over HTTP
	Resolvers    []string // recursive DNS servers (host:port) for DNS-01 and for looking at servers, or none for the system's
	Reports      bool     // a daemon takes what clients report of failed pin validations
	Certificates []Certificate
	Notify       []hooks.Hook // told what is wrong, and when it is over
}

// Certificate is one lineage.
type Certificate struct {
	Name      string
	Domains   []string // A-labels in lower case, without a trailing dot
	ACME      ACME
	KeyType   pinset.KeyType
	Backups   int // number of backup keys, at least 1
	Challenge Challenge
	Channels  []Channel
	// NobodyPins says that an empty list of channels is written out. Without channels and
	// without it, nobody knows who pins.
	NobodyPins bool
	Deploy     []hooks.Hook
	Check      []string // where the served key is looked at: see [probe.Address]
	Resolvers  []string // those of the whole configuration, for the hosts in Check
	// KeepOldPin is how long after a rollover the old key's pin stays in the pin
	// set. Until then the rollover can be undone.
	KeepOldPin time.Duration
	// ForceAfter is how long after the switch from a compromised key hosts that fail to
	// serve the new one are waited for.
	ForceAfter time.Duration
	// RolloverEvery is the age of the active key at which a rollover begins without
	// being asked for; 0 for never.
	RolloverEvery time.Duration
}

// Channel returns the channel of that name, if it is configured.
func (c Certificate) Channel(name string) (Channel, bool) {
	for _, ch := range c.Channels {
		if ch.Name == name {
			return ch, true
		}
	}
	return Channel{}, false
}

// Equal reports whether two certificates are configured in the same way.
func (c Certificate) Equal(other Certificate) bool {
	return reflect.DeepEqual(c.comparable(), other.comparable())
}

// comparable leaves out what can't be compared: a format's name says all.
func (c Certificate) comparable() Certificate {
	c.Channels = slices.Clone(c.Channels)
	for i := range c.Channels {
		c.Channels[i].Format = format.Format{Name: c.Channels[i].Format.Name}
	}
	return c
}

// Serves reports whether the daemon hands the pin sets of a channel to clients.
func (c Certificate) Serves(channel string) bool {
	ch, ok := c.Channel(channel)
	return ok && ch.Serves()
}

// ACME says which CA to use, and as whom.
type ACME struct {
	Directory      string // https URL
	Email          string
	AcceptTerms    bool
	CABundle       string // path of a PEM file, or ""
	EAB            *EAB
	Profile        string
	PreferredChain string
	IgnoreClock    bool // a private CA's, which is known to be wrong
}

// EAB is an external account binding (RFC 8555 section 7.3.4).
type EAB struct {
	KID      string
	HMACFile string // path of a file with the base64url key
}

// Challenge says how control over names is proven. Exactly one is set.
type Challenge struct {
	HTTP01    *HTTP01
	TLSALPN01 *TLSALPN01
	DNS01     *DNS01
}

// HTTP01 answers over HTTP (RFC 8555 section 8.3). Exactly one field is set.
type HTTP01 struct {
	Listen  string // host:port of keepkey's own listener
	Webroot string // document root of a web server
}

// TLSALPN01 answers in a TLS handshake (RFC 8737).
type TLSALPN01 struct{ Listen string }

// DNS01 answers with a TXT record (RFC 8555 section 8.4).
type DNS01 struct {
	Provider    string // by lego's name
	EnvFile     string // path of a file with the provider's variables, or ""
	Propagation Propagation
}

// Propagation says how to make sure that the CA sees a TXT record.
type Propagation struct {
	Check string        // "authoritative", "resolvers" or "none"
	Wait  time.Duration // with "none": how long to wait
}

// Channel is one way in which pin sets reach clients.
type Channel struct {
	Name     string
	Format   format.Format
	Lifetime pinset.Lifetime
	// Cache is how long clients can be handed an older document after a newer one was
	// confirmed.
	Cache time.Duration
	// Manual says that a pin set counts as published only when a person says so.
	Manual   bool
	Publish  []hooks.Hook // none only with Manual, and then there is no Format, either
	ReadBack hooks.Reader // where clients get what was published, or nil
}

// Serves reports whether the daemon hands the channel's pin sets to clients.
func (ch Channel) Serves() bool { return slices.Contains(ch.Publish, hooks.Hook(hooks.Serve{})) }

// Load reads a configuration file. Mistakes in it are returned as [Errors]. For
// knownProvider see [Parse].
func Load(path string, knownProvider func(name string) error) (*Config, error) {
	d, err := Read(path)
	if err != nil {
		return nil, err
	}
	return d.Parse(knownProvider)
}
