// Package acme gets a certificate for a certificate request from an ACME CA
// (RFC 8555), with the account, challenge and renewal information (RFC 9773)
// that this takes.
//
// It drives lego's low-level API itself: every challenge of an order is
// triggered before any is polled, polls follow the CA's Retry-After, and each
// step is a method of its own, so that a caller can put an order on record
// between the steps and resume it after a crash. lego does the signing,
// the nonces and DNS-01, and package dns opens its DNS providers; it is visible
// nowhere outside these two packages.
//
// Nothing that a CA says is trusted here: responses are bounded, quoted when
// shown, and checked for what the protocol promises; a panic in lego becomes an
// error. The certificate itself is handed back as bytes that nobody has judged.
package acme

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-acme/lego/v4/acme/api"
)

// Config says which CA to talk to, and as whom.
type Config struct {
	Directory string         // URL of the CA's directory (RFC 8555 section 7.1.1)
	Roots     *x509.CertPool // trust for the directory's own TLS; nil for the system's
	UserAgent string

	Email       string // contact, optional
	AcceptTerms bool   // the operator agrees to the CA's terms of service
	EAB         *EAB   // external account binding, when the CA asks for one

	AccountKey      crypto.Signer
	AccountKeyFresh bool   // the key was just made: no CA knows it
	AccountURL      string // "" when not known
	AccountEmail    string // that the CA was told last; "" when not known
	// SaveAccount records the URL of an account, and the e-mail address that the CA knows.
	SaveAccount func(url, email string) error

	// IgnoreClock has the client never learn the CA's time.
	IgnoreClock bool
	Now         func() time.Time
	Logger      *slog.Logger
	// RequestTimeout bounds one request; 0 for a minute.
	RequestTimeout time.Duration
}

// Client talks to one CA as one account. It is safe for concurrent use, and
// meant to be shared: one connection pool, one supply of nonces.
type Client struct {
	cfg    Config
	guard  *guard
	cancel context.CancelCauseFunc

	// api makes requests. It is replaced, never changed: those under way end with the
	// one that they began with.
	api atomic.Pointer[api.Core]

	mu         sync.Mutex // guards the rest
	read       time.Time  // when the directory was
	accountURL string     // with which api signs; "" when not known
	keyFresh   bool       // no CA knows the account's key
	emailNew   bool       // the CA is still to be told the e-mail address
	turn       *turn      // of whoever changes these; nil when nobody does
}

func (c *Client) core() *api.Core { return c.api.Load() }

// Connect reads the CA's directory. The client lives until Close, which ends
// every request under way; ctx is for connecting alone.
func Connect(ctx context.Context, cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.Directory)
	if err != nil || u.Scheme != "https" {
		return nil, fmt.Errorf("%q is not the https URL of an ACME directory", cfg.Directory)
	}
	life, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	timeout := cfg.RequestTimeout
	if timeout == 0 {
		timeout = requestTimeout
	}
	g := &guard{
		next: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			TLSClientConfig:       &tls.Config{RootCAs: cfg.Roots, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2:     true,
			MaxIdleConnsPerHost:   32,
			IdleConnTimeout:       time.Minute,
			TLSHandshakeTimeout:   timeout,
			ResponseHeaderTimeout: timeout,
			// The usual bound is ten megabytes for each response.
			MaxResponseHeaderBytes: 64 << 10,
		},
		ctx: life, timeout: timeout, now: cfg.Now, ignoreClock: cfg.IgnoreClock, ownRoots: cfg.Roots != nil,
	}
	c := &Client{cfg: cfg, guard: g, cancel: cancel, read: cfg.Now(), accountURL: cfg.AccountURL, keyFresh: cfg.AccountKeyFresh}
	c.emailNew = cfg.Email != "" && cfg.Email != cfg.AccountEmail
	core, err := c.signer(ctx, cfg.AccountURL, cfg.AccountKey)
	if err != nil {
		c.Close()
		return nil, err
	}
	c.api.Store(core)
	return c, nil
}

// signer reads the CA's directory and returns an API that signs with a key and, when
// it is an account's, with the account's URL.
func (c *Client) signer(ctx context.Context, accountURL string, key crypto.Signer) (*api.Core, error) {
	core, err := call(ctx, c, func() (*api.Core, error) {
		// A client of its own, since lego wraps its transport each time.
		client := &http.Client{Transport: c.guard, CheckRedirect: sameHost}
		return api.New(client, c.cfg.UserAgent, c.cfg.Directory, accountURL, key)
	})
	var p *Problem
	switch {
	case err == nil:
		return core, nil
	case ctx.Err() != nil, Unanswered(err), errors.As(err, &p) && p.Status != http.StatusNotFound && p.Status != http.StatusMethodNotAllowed:
		return nil, fmt.Errorf("CA %s: %w", c.cfg.Directory, err)
	}
	return nil, fmt.Errorf("CA %s: there is no ACME directory at that URL: %w", c.cfg.Directory, err)
}

// Skew returns how far the CA's clock is ahead of ours, to the second, if it told just now
// (RFC 9110 section 6.6.1). What it told long ago says nothing: our clock may have been set
// since.
func (c *Client) Skew() (skew time.Duration, known bool) {
	t := c.guard.told.Load()
	if t == nil {
		return 0, false
	}
	// By the clock on the wall, which may have been set, and by the monotonic one, which stands
	// still while a machine is suspended.
	now := c.cfg.Now()
	age, monotonic := now.Round(0).Sub(t.at.Round(0)), now.Sub(t.at)
	return t.skew, min(age, monotonic) >= 0 && max(age, monotonic) <= skewAge
}

// skewAge is how long it counts what a CA said of the time. By so much our clock can be set
// without anybody noticing.
const skewAge = 10 * time.Minute

// AskTime has the CA say what time it is, for Skew.
func (c *Client) AskTime(ctx context.Context) error {
	_, err := c.signer(ctx, "", c.cfg.AccountKey) // which reads the directory
	return err
}

// Close ends what is under way and drops the connections.
func (c *Client) Close() {
	c.cancel(errors.New("the ACME client is closed"))
	c.guard.next.(*http.Transport).CloseIdleConnections()
}

// sameHost lets an unsigned GET be redirected within the CA's own host.
func sameHost(req *http.Request, via []*http.Request) error {
	switch {
	case len(via) > 3:
		return errors.New("the CA redirects in circles")
	case req.URL.Scheme != "https" || req.URL.Host != via[0].URL.Host:
		return fmt.Errorf("the CA redirects to %.200q, another host; not followed", req.URL.String())
	}
	return nil
}
