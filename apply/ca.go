package apply

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"keepkey/acme"
	"keepkey/acme/dns"
	"keepkey/config"
)

// clientOnce connects to a CA when it is first needed. All lineages share the
// outcome, also when it is an error: one dead CA costs one time limit a run.
type clientOnce struct {
	once   sync.Once
	client *acme.Client
	err    error
}

func (r *Runner) client(ctx context.Context, ca config.ACME) (*acme.Client, error) {
	kid := ""
	if ca.EAB != nil {
		kid = ca.EAB.KID
	}
	r.mu.Lock()
	if r.clients == nil {
		r.clients = make(map[string]*clientOnce)
	}
	key := strings.Join([]string{ca.Directory, kid, ca.CABundle}, "\x00")
	c := r.clients[key]
	if c == nil {
		c = new(clientOnce)
		r.clients[key] = c
	}
	r.mu.Unlock()
	c.once.Do(func() { c.client, c.err = r.connect(ctx, ca, kid) })
	return c.client, c.err
}

func (r *Runner) connect(ctx context.Context, ca config.ACME, kid string) (*acme.Client, error) {
	cfg := acme.Config{
		Directory: ca.Directory, UserAgent: r.UserAgent, Email: ca.Email, AcceptTerms: ca.AcceptTerms,
		Now: r.Now, Logger: r.Log, RequestTimeout: r.RequestTimeout,
	}
	if ca.CABundle != "" {
		pem, err := os.ReadFile(ca.CABundle)
		if err != nil {
			return nil, fmt.Errorf("ca_bundle: %w", err)
		}
		cfg.Roots = x509.NewCertPool()
		if !cfg.Roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_bundle: %s holds no certificate in PEM", ca.CABundle)
		}
	}
	if ca.EAB != nil {
		hmac, err := os.ReadFile(ca.EAB.HMACFile)
		if err != nil {
			return nil, fmt.Errorf("eab.hmac_file: %w", err)
		}
		cfg.EAB = &acme.EAB{KID: ca.EAB.KID, HMACKey: strings.TrimSpace(string(hmac))}
	}
	r.accounts.Lock()
	defer r.accounts.Unlock()
	account, err := r.Store.Account(ca.Directory, kid)
	if err != nil {
		return nil, err
	}
	if cfg.AccountKey, cfg.AccountKeyFresh, err = account.Key(); err != nil {
		return nil, err
	}
	cfg.AccountURL = account.URL()
	cfg.SaveAccountURL = func(url string) error { return account.SaveURL(ca.Directory, url) }
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
	provider, err := r.DNS.Open(d.Provider, env)
	if err != nil {
		return nil, err
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
	for _, c := range r.clients {
		if c.client != nil {
			c.client.Close()
		}
	}
}
