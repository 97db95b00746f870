// Package config reads keepkey's configuration file.
//
// Reading is strict, because a mistake here can cost the keys of a server: an
// unknown key, a wrong type, a doubtful name is an error with file, line, the
// key's path and what is accepted, and a file's errors are reported all at once.
// Defaults are filled in, names are brought to one form, relative paths count
// from the file's directory. What comes out is complete: nobody above fills in
// anything.
package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"keepkey/pinset"
)

// Config is a whole configuration file.
type Config struct {
	File         string   // its absolute path
	State        string   // state directory, absolute
	Group        string   // group that may read what is live, or ""
	Resolvers    []string // recursive DNS servers (host:port) for DNS-01, or none for the system's
	Certificates []Certificate
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
	Deploy    []Hook
	Check     []string // host:port
	// KeepOldPin is how long after a rollover the old key's pin stays in the pin
	// set; so long it can be undone.
	KeepOldPin time.Duration
	// RolloverEvery is the time after which a rollover is begun by itself; 0 for never.
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

// ACME says which CA to use, and as whom.
type ACME struct {
	Directory      string // https URL
	Email          string
	AcceptTerms    bool
	CABundle       string // path of a PEM file, or ""
	EAB            *EAB
	Profile        string
	PreferredChain string
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
	Provider    string // one of lego's; whether it is there, the reader can't tell
	Line        int    // of Provider in the file
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
	Format   string
	Lifetime pinset.Lifetime
	// Manual says that a pin set is out only when a person says so.
	Manual   bool
	Publish  []Hook
	ReadBack *ReadBack // where clients find what was published, or nil
}

// ReadBack is where a published pin set can be seen as clients see it. Exactly one
// of the first three is set.
type ReadBack struct {
	URL     string
	Command []string // prints the document
	File    string
	Timeout time.Duration
}

// Hook is somebody to tell. Exactly one of the first three is set.
type Hook struct {
	Command []string // arguments; no shell is involved
	File    string
	Webhook *Webhook
	Timeout time.Duration
}

// Webhook is a hook reached over HTTP.
type Webhook struct {
	URL        string
	SecretFile string // path of a file with the key that signs requests, or ""
}

// maxFile bounds a configuration file.
const maxFile = 4 << 20

// Load reads a configuration file. Mistakes in it come back as [Errors].
func Load(path string) (*Config, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(abs)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no configuration file %s; name another with --config or $KEEPKEY_CONFIG", abs)
	}
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if info.Mode().Perm()&0o002 != 0 {
		return nil, Errors{{File: abs, Text: fmt.Sprintf("everybody can write it (mode %04o), and it says which programs are run: run chmod o-w on it and look it through", info.Mode().Perm())}}
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("configuration: %s is longer than %d bytes", abs, maxFile)
	}
	return Parse(abs, data)
}
