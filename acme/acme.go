// Package acme gets a certificate for a certificate request from an ACME CA
// (RFC 8555), with the account, challenge and renewal information (RFC 9773)
// that this takes.
//
// It drives lego's low-level API itself: every challenge of an order is
// triggered before any is polled, polls follow the CA's Retry-After, and each
// step is a method of its own, so that a caller can put an order on record
// between the steps and go on with it after a crash. lego does the signing,
// the nonces and the DNS providers, and is visible nowhere outside this package.
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
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/go-acme/lego/v4/acme"
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
	// SaveAccountURL records the URL of a new or recovered account.
	SaveAccountURL func(url string) error

	Now    func() time.Time
	Logger *slog.Logger
	// RequestTimeout bounds one request; 0 for a minute.
	RequestTimeout time.Duration
}

// EAB binds an ACME account to one outside ACME (RFC 8555 section 7.3.4).
type EAB struct {
	KID     string
	HMACKey string // base64url, as CAs hand it out
}

// Client talks to one CA as one account. It is safe for concurrent use, and
// meant to be shared: one connection pool, one supply of nonces.
type Client struct {
	cfg    Config
	guard  *guard
	cancel context.CancelCauseFunc

	// api signs requests; it is replaced when the account is to be found anew,
	// since lego's keeps an account's URL for ever.
	api atomic.Pointer[api.Core]

	account sync.Mutex // held while registering; guards known
	known   bool       // api signs with the account's URL
}

func (c *Client) core() *api.Core { return c.api.Load() }

// Connect reads the CA's directory. The client lives until Close, which ends
// every request under way; ctx is for connecting alone.
func Connect(ctx context.Context, cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.Directory)
	if err != nil || u.Scheme != "https" {
		return nil, fmt.Errorf("%q is no https URL of an ACME directory", cfg.Directory)
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
		},
		ctx: life, timeout: timeout, now: cfg.Now,
		headers: make(map[string]http.Header),
	}
	c := &Client{cfg: cfg, guard: g, cancel: cancel}
	if err := c.signAs(ctx, cfg.AccountURL); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// signAs reads the CA's directory and signs with the account's URL from then on,
// or with the key alone when there is none.
func (c *Client) signAs(ctx context.Context, accountURL string) error {
	core, err := c.signer(ctx, accountURL, c.cfg.AccountKey)
	if err != nil {
		return err
	}
	c.api.Store(core)
	c.known = accountURL != ""
	return nil
}

// signer returns lego's API, signing with a key and, when it is an account's, with
// the account's URL.
func (c *Client) signer(ctx context.Context, accountURL string, key crypto.Signer) (*api.Core, error) {
	core, err := call(ctx, func() (*api.Core, error) {
		// A client of its own, since lego wraps its transport each time.
		client := &http.Client{Transport: c.guard, CheckRedirect: sameHost}
		return api.New(client, c.cfg.UserAgent, c.cfg.Directory, accountURL, key)
	})
	if err != nil {
		return nil, fmt.Errorf("CA %s: %w", c.cfg.Directory, err)
	}
	return core, nil
}

// Skew returns how far the CA's clock is ahead of ours, to the second, if it told
// (RFC 9110 section 6.6.1).
func (c *Client) Skew() (skew time.Duration, known bool) {
	if p := c.guard.skew.Load(); p != nil {
		return *p, true
	}
	return 0, false
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

// ensureAccount registers the account unless it is known, or finds it again by
// its key (RFC 8555 sections 7.3 and 7.3.1).
func (c *Client) ensureAccount(ctx context.Context) error {
	c.account.Lock()
	defer c.account.Unlock()
	if c.known {
		return nil
	}
	account, err := c.findOrRegister(ctx)
	if err != nil {
		return err
	}
	if account.Location == "" {
		return fmt.Errorf("account at %s: the CA gave it no URL", c.cfg.Directory)
	}
	if err := c.cfg.SaveAccountURL(account.Location); err != nil {
		return fmt.Errorf("account at %s: %w", c.cfg.Directory, err)
	}
	c.known = true
	return nil
}

func (c *Client) findOrRegister(ctx context.Context) (acme.ExtendedAccount, error) {
	if !c.cfg.AccountKeyFresh {
		account, err := call(ctx, func() (acme.ExtendedAccount, error) {
			return c.core().Accounts.New(acme.Account{OnlyReturnExisting: true})
		})
		var p *Problem
		switch {
		case err == nil:
			c.cfg.Logger.Info("found the ACME account by its key", "ca", c.cfg.Directory)
			return account, nil
		case !errors.As(err, &p) || p.Status >= 500 || p.Type == errRateLimited:
			return acme.ExtendedAccount{}, fmt.Errorf("account at %s: %w", c.cfg.Directory, err)
		}
	}
	meta := c.core().GetDirectory().Meta
	if !c.cfg.AcceptTerms {
		return acme.ExtendedAccount{}, fmt.Errorf("account at %s: read the CA's terms of service (%.200q) and set accept_terms: true", c.cfg.Directory, meta.TermsOfService)
	}
	if meta.ExternalAccountRequired && c.cfg.EAB == nil {
		return acme.ExtendedAccount{}, fmt.Errorf("account at %s: this CA asks for an external account binding: set acme.eab with the kid and hmac_file that it gave you", c.cfg.Directory)
	}
	req := acme.Account{TermsOfServiceAgreed: true}
	if c.cfg.Email != "" {
		req.Contact = []string{"mailto:" + c.cfg.Email}
	}
	account, err := call(ctx, func() (acme.ExtendedAccount, error) {
		if c.cfg.EAB != nil {
			return c.core().Accounts.NewEAB(req, c.cfg.EAB.KID, c.cfg.EAB.HMACKey)
		}
		return c.core().Accounts.New(req)
	})
	if err != nil {
		return acme.ExtendedAccount{}, fmt.Errorf("account at %s: %w", c.cfg.Directory, err)
	}
	c.cfg.Logger.Info("registered an ACME account", "ca", c.cfg.Directory)
	return account, nil
}

// forgetAccount makes the next ensureAccount ask the CA again, unless somebody
// did since the given API signed.
func (c *Client) forgetAccount(ctx context.Context, used *api.Core) error {
	c.account.Lock()
	defer c.account.Unlock()
	if c.core() != used {
		return nil
	}
	c.cfg.AccountKeyFresh = false
	return c.signAs(ctx, "")
}

// nonceRounds is how often a request is made anew when lego has given up on the
// CA's nonces; each round is some ten tries in 20 seconds.
const nonceRounds = 3

// call runs one request of lego's, which knows no contexts and may panic. When
// ctx ends it returns at once; the request itself is ended by the guard.
func call[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var last result
	for range nonceRounds {
		done := make(chan result, 1)
		go func() {
			var r result
			defer func() {
				if p := recover(); p != nil {
					r.err = fmt.Errorf("the ACME library panicked on the CA's answer: %.200q", fmt.Sprint(p))
					slog.Debug("panic in the ACME library", "stack", string(debug.Stack()))
				}
				done <- r
			}()
			r.value, r.err = f()
		}()
		select {
		case <-ctx.Done():
			var zero T
			return zero, context.Cause(ctx)
		case last = <-done:
		}
		var nonce *acme.NonceError
		if !errors.As(last.err, &nonce) {
			break
		}
	}
	return last.value, tidy(last.err)
}

// tidy makes an error of lego's fit for a person: ours come through unchanged,
// its own can carry a whole response body.
func tidy(err error) error {
	var ours *Problem
	if err == nil || errors.As(err, &ours) {
		return unwrapURLError(err)
	}
	const shown = 300
	if text := err.Error(); len(text) > shown || strings.ContainsFunc(text, unicode.IsControl) {
		return fmt.Errorf("%.*q", shown, text)
	}
	return unwrapURLError(err)
}

// unwrapURLError drops net/http's "Post \"https://…\":" before an error that names
// the URL itself.
func unwrapURLError(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
