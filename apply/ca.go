package apply

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"keepkey/acme"
	"keepkey/acme/dns"
	"keepkey/config"
	"keepkey/internal/trusted"
)

// ca is a CA as one account knows it. All lineages share it, so that one that is down
// costs one time limit and not one for each of them.
type ca struct {
	client     atomic.Pointer[acme.Client] // nil: not connected yet
	connecting sync.Mutex                  // held while connecting; guards the next two
	err        error
	failed     time.Time

	mu     sync.Mutex // guards the rest
	health health
	// windows is about the renewal windows alone, which may be a service of its own:
	// that it is down must never keep a certificate from being obtained.
	windows health
	noTime  time.Time // when it was last asked what time it is, and did not say
}

// reconnectAfter is how long the error of a connection that failed stands for others
// that would fail too.
const reconnectAfter = time.Minute

// ca returns what is known of a CA.
func (r *Runner) ca(cfg config.ACME) *ca {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := strings.Join([]string{cfg.Directory, kidOf(cfg), cfg.CABundle, strconv.FormatBool(cfg.IgnoreClock)}, "\x00")
	c := r.cas[key]
	if c == nil {
		c = new(ca)
		if account, err := r.Store.Account(cfg.Directory, kidOf(cfg)); err == nil {
			c.health.pauses = account.Pauses()
		}
		if r.cas == nil {
			r.cas = make(map[string]*ca)
		}
		r.cas[key] = c
	}
	return c
}

func kidOf(cfg config.ACME) string {
	if cfg.EAB == nil {
		return ""
	}
	return cfg.EAB.KID
}

// client connects to a CA when it is first needed.
func (r *Runner) client(ctx context.Context, cfg config.ACME) (*acme.Client, error) {
	c := r.ca(cfg)
	if client := c.client.Load(); client != nil {
		return client, nil
	}
	c.connecting.Lock()
	defer c.connecting.Unlock()
	if client := c.client.Load(); client != nil {
		return client, nil
	}
	if now := r.Now(); c.err != nil && !now.Before(c.failed) && now.Before(c.failed.Add(reconnectAfter)) {
		return nil, c.err
	}
	client, err := r.connect(ctx, cfg)
	if err != nil {
		if ctx.Err() == nil { // else it was not the CA's doing
			c.err, c.failed = err, r.Now()
		}
		return nil, err
	}
	c.client.Store(client)
	return client, nil
}

// skew says how far a CA's clock is ahead, as far as it told so far.
func (c *ca) skew() (skew time.Duration, known bool) {
	if client := c.client.Load(); client != nil {
		return client.Skew()
	}
	return 0, false
}

// skew asks the CA for its clock, unless it told just now. One that can't be asked is no
// obstacle.
func (l *lineage) skew(ctx context.Context) (skew time.Duration, known bool) {
	client, err := l.client(ctx, l.cert.ACME)
	if err != nil {
		return 0, false
	}
	if skew, known = client.Skew(); known || l.cert.ACME.IgnoreClock {
		return skew, known
	}
	c := l.ca(l.cert.ACME)
	if now := l.Now(); c.tellsTime(now) && client.AskTime(ctx) != nil && ctx.Err() == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.noTime = now
	}
	return client.Skew()
}

// tellsTime reports whether it is worth asking the CA what time it is: one that did not say
// so just now would cost everybody a time limit.
func (c *ca) tellsTime(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return now.Before(c.noTime) || !now.Before(c.noTime.Add(reconnectAfter))
}

// maxBundle bounds a file of certificates, in bytes.
const maxBundle = 1 << 20

func (r *Runner) connect(ctx context.Context, ca config.ACME) (*acme.Client, error) {
	cfg := acme.Config{
		Directory: ca.Directory, UserAgent: r.UserAgent, Email: ca.Email, AcceptTerms: ca.AcceptTerms,
		IgnoreClock: ca.IgnoreClock, Now: r.Now, Logger: r.Log, RequestTimeout: r.RequestTimeout,
	}
	if ca.CABundle != "" {
		pem, err := trusted.Read(ca.CABundle, maxBundle)
		if err != nil {
			return nil, fmt.Errorf("ca_bundle: %w", err)
		}
		cfg.Roots = x509.NewCertPool()
		if !cfg.Roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_bundle: %s holds no certificate in PEM", ca.CABundle)
		}
	}
	if ca.EAB != nil {
		hmac, err := trusted.ReadSecret(ca.EAB.HMACFile)
		if err != nil {
			return nil, fmt.Errorf("eab.hmac_file: %w", err)
		}
		key := strings.TrimRight(strings.TrimSpace(string(hmac)), "=")
		if _, err := base64.RawURLEncoding.DecodeString(key); err != nil || key == "" {
			return nil, fmt.Errorf("eab.hmac_file: %s does not hold a key in base64url, as a CA gives it to you", ca.EAB.HMACFile)
		}
		cfg.EAB = &acme.EAB{KID: ca.EAB.KID, HMACKey: key, File: ca.EAB.HMACFile}
	}
	r.accounts.Lock()
	defer r.accounts.Unlock()
	account, err := r.Store.Account(ca.Directory, kidOf(ca))
	if err != nil {
		return nil, err
	}
	if cfg.AccountKey, cfg.AccountKeyFresh, err = account.Key(); err != nil {
		return nil, err
	}
	cfg.AccountURL, cfg.AccountEmail = account.Saved()
	cfg.SaveAccount = func(url, email string) error { return account.Save(ca.Directory, url, email) }
	return acme.Connect(ctx, cfg)
}

// solver returns the one solver for a way of answering challenges.
func (r *Runner) solver(ch config.Challenge) (*acme.Solver, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := ""
	var open func() (*acme.Solver, error)
	switch {
	case ch.HTTP01 != nil && ch.HTTP01.Webroot != "":
		key = "webroot\x00" + ch.HTTP01.Webroot
		open = func() (*acme.Solver, error) { return acme.NewWebroot(ch.HTTP01.Webroot), nil }
	case ch.HTTP01 != nil:
		key = "http-01\x00" + ch.HTTP01.Listen
		open = func() (*acme.Solver, error) { return acme.NewHTTP01(ch.HTTP01.Listen), nil }
	case ch.TLSALPN01 != nil:
		key = "tls-alpn-01\x00" + ch.TLSALPN01.Listen
		open = func() (*acme.Solver, error) { return acme.NewTLSALPN01(ch.TLSALPN01.Listen), nil }
	case ch.DNS01 != nil:
		key = strings.Join([]string{"dns-01", ch.DNS01.Provider, ch.DNS01.EnvFile, fmt.Sprint(ch.DNS01.Propagation)}, "\x00")
		open = func() (*acme.Solver, error) { return r.newDNS01(*ch.DNS01) }
	default:
		return nil, errors.New("no challenge is configured")
	}
	if s := r.solvers[key]; s != nil {
		return s, nil
	}
	s, err := open()
	if err != nil {
		return nil, err
	}
	if r.solvers == nil {
		r.solvers = make(map[string]*acme.Solver)
	}
	r.solvers[key] = s
	return s, nil
}

func (r *Runner) newDNS01(d config.DNS01) (*acme.Solver, error) {
	var env map[string]string
	if d.EnvFile != "" {
		var err error
		if env, err = dns.ReadEnvFile(d.EnvFile); err != nil {
			return nil, fmt.Errorf("dns-01: env_file: %w", err)
		}
	}
	acme.Hide(dns.Secrets(env)...)
	provider, err := r.DNS.Open(d.Provider, env)
	switch {
	case err != nil && d.EnvFile == "":
		return nil, fmt.Errorf("%w; put the variables that it needs into a file, and name that as env_file under dns-01", acme.Hidden(err))
	case err != nil:
		return nil, fmt.Errorf("%w; they come from %s", acme.Hidden(err), d.EnvFile)
	}
	return acme.NewDNS01(provider, acme.Propagation{
		Authoritative: d.Propagation.Check == "authoritative",
		Resolvers:     d.Propagation.Check == "resolvers",
		Wait:          d.Propagation.Wait,
	}), nil
}

// Close ends what is under way with CAs.
func (r *Runner) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.cas {
		if client := c.client.Load(); client != nil {
			client.Close()
		}
	}
}
