// Package acmetest is a real ACME server for tests and for the demo: Pebble, in
// this process, over HTTPS, with real challenge validation and a real DNS server,
// all on loopback and on ports that the kernel chose. Between Pebble and the
// client stands a front that can be told to misbehave (see faults.go), and the
// server can mint certificates that no CA should issue (see mint.go).
package acmetest

import (
	"context"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
)

// Options say what kind of CA it is.
type Options struct {
	// EAB maps key identifiers to base64url MAC keys. When there are any, the CA
	// asks for an external account binding.
	EAB map[string]string
	// Profiles maps names to certificate lifetimes. Without any there is
	// "default" with 90 days.
	Profiles map[string]time.Duration
	// AlternateRoots is the number of further chains that the CA offers.
	AlternateRoots int
	NonceReject    int // percent of good nonces that are refused
	AuthzReuse     int // percent of valid authorizations that are used again
	Blocklist      []string
	RetryAfter     int // seconds, in answers about pending authorizations and orders; 0 for none
	// RSA makes the CA's keys RSA, which [Server.Issuer] needs.
	RSA   bool
	HTTP1 bool // it does not speak HTTP/2
	Log   io.Writer
	// Host is where every name resolves to, and where clients answer challenges on the usual
	// ports. Without it that is a loopback address, and ports that the kernel chose.
	Host string
}

// Server is a running CA.
type Server struct {
	Directory string // URL of the ACME directory
	CAPEM     []byte // trust for the directory's own TLS
	HTTPAddr  string // where a client must answer HTTP-01
	TLSAddr   string // where a client must answer TLS-ALPN-01
	DNS       *DNS   // resolves every name to the host of the two above

	http     *httptest.Server
	reserved []net.Listener
	pebble   atomic.Pointer[pebble]
	front    atomic.Pointer[func(http.Handler) http.Handler]
	ahead    atomic.Int64 // of the real time, in nanoseconds

	mu       sync.Mutex
	requests []string
}

// pebble is one life of the CA: its database begins empty.
type pebble struct {
	acme       http.Handler
	management http.Handler
}

// Start starts a CA.
func Start(o Options) (*Server, error) {
	s := &Server{}
	if err := s.start(o); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) start(o Options) (err error) {
	host := o.Host
	if host == "" {
		if host, err = s.reserve(); err != nil {
			return err
		}
	} else {
		s.HTTPAddr, s.TLSAddr = net.JoinHostPort(host, "80"), net.JoinHostPort(host, "443")
	}
	if s.DNS, err = startDNS(host); err != nil {
		return err
	}
	if err := s.Restart(o); err != nil {
		return err
	}
	s.http = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.http.EnableHTTP2 = !o.HTTP1
	s.http.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.http.StartTLS()
	s.Directory = s.http.URL + wfe.DirectoryPath
	s.CAPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.http.Certificate().Raw})
	return nil
}

// reserve finds the two ports at which clients answer challenges. Pebble wants
// to know them from the start, and the client binds them only later; so that
// nobody else gets them in between, we hold the ports on 127.0.0.1 while the
// client answers on another loopback address, this server's own.
func (s *Server) reserve() (host string, err error) {
	b := make([]byte, 3)
	rand.Read(b)
	host = fmt.Sprintf("127.%d.%d.%d", b[0]|1, b[1], b[2]|1)
	if probe, err := net.Listen("tcp", host+":0"); err == nil {
		probe.Close()
	} else {
		host = "127.0.0.1" // not a system on which all of 127/8 is local
	}
	for _, addr := range []*string{&s.HTTPAddr, &s.TLSAddr} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		*addr = net.JoinHostPort(host, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
		if host == "127.0.0.1" {
			l.Close() // the best that can be done there
			continue
		}
		s.reserved = append(s.reserved, l)
	}
	return host, nil
}

// environ guards the process's environment while Pebble reads it.
var environ sync.Mutex

// Restart gives the CA an empty database and new keys, at the same URL: accounts,
// orders and certificates are forgotten.
func (s *Server) Restart(o Options) error {
	environ.Lock()
	defer environ.Unlock()
	for name, value := range map[string]string{
		"PEBBLE_VA_NOSLEEP":      "1",
		"PEBBLE_WFE_NONCEREJECT": strconv.Itoa(o.NonceReject),
		"PEBBLE_AUTHZREUSE":      strconv.Itoa(o.AuthzReuse),
	} {
		if old, was := os.LookupEnv(name); was {
			defer os.Setenv(name, old)
		} else {
			defer os.Unsetenv(name)
		}
		os.Setenv(name, value)
	}
	w := o.Log
	if w == nil {
		w = io.Discard
	}
	logger := log.New(w, "", 0)
	profiles := make(map[string]ca.Profile)
	for name, lifetime := range o.Profiles {
		profiles[name] = ca.Profile{Description: name, ValidityPeriod: uint64(lifetime / time.Second)}
	}
	if len(profiles) == 0 {
		profiles["default"] = ca.Profile{Description: "The default profile", ValidityPeriod: 90 * 24 * 3600}
	}
	keys := "ecdsa"
	if o.RSA {
		keys = "rsa"
	}
	store := db.NewMemoryStore()
	for kid, key := range o.EAB {
		if err := store.AddExternalAccountKeyByID(kid, key); err != nil {
			return err
		}
	}
	for _, domain := range o.Blocklist {
		if err := store.AddBlockedDomain(domain); err != nil {
			return err
		}
	}
	_, httpPort, _ := net.SplitHostPort(s.HTTPAddr)
	_, tlsPort, _ := net.SplitHostPort(s.TLSAddr)
	httpN, _ := strconv.Atoi(httpPort)
	tlsN, _ := strconv.Atoi(tlsPort)
	authority := ca.New(logger, store, "", keys, o.AlternateRoots, 1, profiles)
	validation := va.New(logger, httpN, tlsN, false, s.DNS.Addr, store)
	front := wfe.New(logger, store, validation, authority, []string{"ca.example"}, false, len(o.EAB) > 0, o.RetryAfter, o.RetryAfter)
	watched := (&finalizations{store: store, reuse: o.AuthzReuse > 0}).watch(front.Handler())
	s.pebble.Store(&pebble{acme: watched, management: front.ManagementHandler()})
	return nil
}

// Close stops the CA.
func (s *Server) Close() {
	if s.http != nil {
		s.http.CloseClientConnections()
		s.http.Close()
	}
	if s.DNS != nil {
		s.DNS.close()
	}
	for _, l := range s.reserved {
		l.Close()
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	s.mu.Unlock()
	w.Header().Set("Date", time.Now().Add(time.Duration(s.ahead.Load())).UTC().Format(http.TimeFormat))
	handler := s.pebble.Load().acme
	if front := s.front.Load(); front != nil {
		handler = (*front)(handler)
	}
	handler.ServeHTTP(w, r)
}

// SetClock has the CA say that it is that much later than it is. (What it does goes
// by the real time; see [Server.Shift].)
func (s *Server) SetClock(ahead time.Duration) { s.ahead.Store(int64(ahead)) }

// Misbehave puts a fault between the CA and its clients, in place of the one
// that was there; nil for none.
func (s *Server) Misbehave(fault func(http.Handler) http.Handler) {
	if fault == nil {
		s.front.Store(nil)
		return
	}
	s.front.Store(&fault)
}

// Requests returns what clients have asked, as "METHOD /path", since the last
// call.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.requests
	s.requests = nil
	return r
}

// manage asks Pebble's management interface.
func (s *Server) manage(method, path string, body io.Reader) ([]byte, error) {
	rec := httptest.NewRecorder()
	req := httptest.NewRequestWithContext(context.Background(), method, path, body)
	req.Header.Set("User-Agent", "acmetest") // Pebble insists
	s.pebble.Load().management.ServeHTTP(rec, req)
	if rec.Code != http.StatusOK {
		return nil, errors.New(rec.Body.String())
	}
	return rec.Body.Bytes(), nil
}
