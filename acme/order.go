package acme

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-acme/lego/v4/acme"
	"github.com/go-acme/lego/v4/acme/api"
)

// Bounds of an order.
const (
	maxAlternates = 10                   // alternate chains that are looked at
	pollFirst     = 8 * time.Millisecond // to the first poll: a CA next door has validated by then
	pollStart     = 15 * time.Millisecond
	pollMax       = 5 * time.Second // between polls, when the CA names no time
	pollClamp     = 5 * time.Minute // the longest that a CA can make us wait between polls
)

// ErrOrderGone says that the CA no longer knows an order, or has given it up:
// a new one has to be made.
var ErrOrderGone = errors.New("the order is gone")

// Order is a request for a certificate (RFC 8555 section 7.1.3): what must be
// on record to go on with it after a crash.
type Order struct {
	URL         string
	Finalize    string
	Certificate string // URL of the certificate, once the order is valid

	status         string
	authorizations []string
	problem        error
}

// OrderRequest is what a certificate is asked for.
type OrderRequest struct {
	Domains []string
	Profile string            // draft-ietf-acme-profiles, optional
	Replace *x509.Certificate // the certificate that this one follows (RFC 9773 section 5), optional
}

// NewOrder begins an order.
func (c *Client) NewOrder(ctx context.Context, req OrderRequest) (Order, error) {
	if p := c.core().GetDirectory().Meta.Profiles; req.Profile != "" && len(p) > 0 {
		if _, ok := p[req.Profile]; !ok {
			return Order{}, fmt.Errorf("the CA has no profile %q; it offers %.300q", req.Profile, sortedKeys(p))
		}
	}
	opts := &api.OrderOptions{Profile: req.Profile}
	if req.Replace != nil {
		if id, err := certID(req.Replace); err == nil {
			opts.ReplacesCertID = id
		}
	}
	used := c.core()
	order, err := c.newOrder(ctx, req.Domains, opts)
	var p *Problem
	if errors.As(err, &p) && p.Type == errAccountDoesNotExist {
		c.cfg.Logger.Warn("the CA no longer knows the ACME account, registering it anew", "ca", c.cfg.Directory)
		if err := c.forgetAccount(ctx, used); err != nil {
			return Order{}, err
		}
		order, err = c.newOrder(ctx, req.Domains, opts)
	}
	if errors.As(err, &p) && opts.ReplacesCertID != "" && p.URL == used.GetDirectory().NewOrderURL && p.RetryAfter == 0 &&
		p.Type != errRateLimited {
		// A CA may refuse `replaces` for reasons of its own (another account
		// ordered the old certificate, it lost its order); it is a courtesy, not a
		// need.
		c.cfg.Logger.Warn("the CA refuses the order as a replacement, ordering without", "problem", p)
		opts.ReplacesCertID = ""
		order, err = c.newOrder(ctx, req.Domains, opts)
	}
	return order, err
}

func (c *Client) newOrder(ctx context.Context, domains []string, opts *api.OrderOptions) (Order, error) {
	if err := c.ensureAccount(ctx); err != nil {
		return Order{}, err
	}
	o, err := call(ctx, func() (acme.ExtendedOrder, error) {
		return c.core().Orders.NewWithOptions(domains, opts)
	})
	if err != nil {
		return Order{}, fmt.Errorf("new order: %w", err)
	}
	if o.Location == "" {
		return Order{}, errors.New("new order: the CA gave it no URL")
	}
	return c.checkOrder(o.Order, o.Location)
}

// Order reads an order again. When the CA does not know it any more, or has
// given it up, the error is [ErrOrderGone].
func (c *Client) Order(ctx context.Context, orderURL string) (Order, error) {
	if err := c.ensureAccount(ctx); err != nil {
		return Order{}, err
	}
	o, err := call(ctx, func() (acme.ExtendedOrder, error) { return c.core().Orders.Get(orderURL) })
	var p *Problem
	if errors.As(err, &p) && p.Status < 500 && p.Type != errRateLimited {
		return Order{}, fmt.Errorf("%w: %w", ErrOrderGone, err)
	}
	if err != nil {
		return Order{}, fmt.Errorf("order %s: %w", orderURL, err)
	}
	order, err := c.checkOrder(o.Order, orderURL)
	if err != nil {
		return Order{}, err
	}
	if order.status == acme.StatusInvalid {
		return Order{}, fmt.Errorf("%w: %w", ErrOrderGone, order.invalid())
	}
	return order, nil
}

// checkOrder takes over what the CA says of an order, as far as it makes sense.
func (c *Client) checkOrder(o acme.Order, orderURL string) (Order, error) {
	order := Order{
		URL: orderURL, Finalize: o.Finalize, Certificate: o.Certificate,
		status: o.Status, authorizations: o.Authorizations,
	}
	if o.Error != nil {
		order.problem = &Problem{URL: orderURL, Status: o.Error.HTTPStatus, Type: o.Error.Type, Detail: o.Error.Detail}
	}
	switch o.Status {
	case acme.StatusPending, acme.StatusReady, acme.StatusProcessing, acme.StatusValid, acme.StatusInvalid:
	default:
		return Order{}, fmt.Errorf("order %s: %.50q is no status of an order", orderURL, o.Status)
	}
	for _, u := range []string{orderURL, o.Finalize} {
		if err := checkURL(u); err != nil {
			return Order{}, fmt.Errorf("order %.200q: %w", orderURL, err)
		}
	}
	return order, nil
}

func (o Order) invalid() error {
	if o.problem != nil {
		return fmt.Errorf("order %s is invalid: %w", o.URL, o.problem)
	}
	return fmt.Errorf("order %s is invalid; the CA does not say why", o.URL)
}

func checkURL(s string) error {
	if u, err := url.Parse(s); err != nil || u.Scheme != "https" || u.Host == "" || len(s) > 2000 {
		return fmt.Errorf("the CA gave %.200q for a URL", s)
	}
	return nil
}

// authz is an authorization that waits for its challenge.
type authz struct {
	url       string
	challenge acme.Challenge
	domain    string // without "*."
	keyAuth   string
}

// Authorize proves control over the order's names, one challenge for each that
// the CA does not take as proven. All challenges are answered before the first
// is polled, unless the solver can only do one at a time.
func (c *Client) Authorize(ctx context.Context, o Order, domains []string, s *Solver) error {
	if o.status != acme.StatusPending {
		return nil
	}
	if n := len(o.authorizations); n == 0 || n > len(domains) {
		return fmt.Errorf("order %s: %d authorizations for %d names", o.URL, n, len(domains))
	}
	pending, err := c.pending(ctx, o, domains, s)
	if err != nil {
		return err
	}
	for _, batch := range s.batches(pending) {
		if err := c.solve(ctx, batch, s); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) pending(ctx context.Context, o Order, domains []string, s *Solver) ([]authz, error) {
	found := make([]*authz, len(o.authorizations))
	err := each(len(found), func(i int) (err error) {
		found[i], err = c.authorization(ctx, o.authorizations[i], domains, s)
		return err
	})
	if err != nil {
		return nil, err
	}
	var pending []authz
	for _, a := range found {
		if a != nil {
			pending = append(pending, *a)
		}
	}
	return pending, nil
}

// authorization reads one authorization and picks its challenge; nil when there
// is nothing left to prove.
func (c *Client) authorization(ctx context.Context, authzURL string, domains []string, s *Solver) (*authz, error) {
	if err := checkURL(authzURL); err != nil {
		return nil, fmt.Errorf("authorization: %w", err)
	}
	a, err := call(ctx, func() (acme.Authorization, error) { return c.core().Authorizations.Get(authzURL) })
	if err != nil {
		return nil, fmt.Errorf("authorization: %w", err)
	}
	name := a.Identifier.Value
	if a.Wildcard {
		name = "*." + name
	}
	if a.Identifier.Type != "dns" || !slices.Contains(domains, name) {
		return nil, fmt.Errorf("authorization %s is for %.50q %.200q, which nobody asked for", authzURL, a.Identifier.Type, name)
	}
	switch a.Status {
	case acme.StatusValid:
		return nil, nil
	case acme.StatusPending:
	default:
		return nil, fmt.Errorf("authorization of %s is %.50q%s", name, a.Status, challengeProblem(a))
	}
	var offered []string
	for _, ch := range a.Challenges {
		if ch.Type != string(s.kind) {
			offered = append(offered, ch.Type)
			continue
		}
		if err := errors.Join(checkURL(ch.URL), checkToken(ch.Token)); err != nil {
			return nil, fmt.Errorf("challenge for %s: %w", name, err)
		}
		keyAuth, err := c.core().GetKeyAuthorization(ch.Token)
		if err != nil {
			return nil, err
		}
		return &authz{url: authzURL, challenge: ch, domain: a.Identifier.Value, keyAuth: keyAuth}, nil
	}
	return nil, fmt.Errorf("the CA offers no %s challenge for %s, only %.200q", s.kind, name, offered)
}

// checkToken holds a challenge token to RFC 8555 section 8: base64url without
// padding. It becomes a file name and part of a URL.
func checkToken(token string) error {
	if !validToken.MatchString(token) {
		return fmt.Errorf("the CA gave %.100q for a challenge token", token)
	}
	return nil
}

var validToken = regexp.MustCompile(`^[A-Za-z0-9_-]{1,256}$`)

// solve answers challenges together: present all, trigger all, poll all. What
// was presented is cleaned up whatever happens.
func (c *Client) solve(ctx context.Context, batch []authz, s *Solver) (err error) {
	var mu sync.Mutex
	var presented []authz
	defer func() {
		// The certificate does not depend on a record that stayed behind.
		if cleanup := s.cleanup(context.WithoutCancel(ctx), presented); cleanup != nil {
			c.cfg.Logger.Warn("a challenge could not be cleaned up", "problem", cleanup)
		}
	}()
	err = each(len(batch), func(i int) error {
		a := batch[i]
		mu.Lock()
		presented = append(presented, a)
		mu.Unlock()
		if err := s.present(ctx, c.core(), a); err != nil {
			return fmt.Errorf("challenge for %s: %w", a.domain, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = each(len(batch), func(i int) error {
		a := batch[i]
		_, err := call(ctx, func() (acme.ExtendedChallenge, error) { return c.core().Challenges.New(a.challenge.URL) })
		if err != nil {
			return fmt.Errorf("challenge for %s: %w", a.domain, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return each(len(batch), func(i int) error { return c.awaitAuthorization(ctx, batch[i]) })
}

func (c *Client) awaitAuthorization(ctx context.Context, a authz) error {
	return c.poll(ctx, a.url, func() (bool, error) {
		got, err := call(ctx, func() (acme.Authorization, error) { return c.core().Authorizations.Get(a.url) })
		if err != nil {
			return false, fmt.Errorf("authorization of %s: %w", a.domain, err)
		}
		switch got.Status {
		case acme.StatusValid:
			return true, nil
		case acme.StatusPending, acme.StatusProcessing:
			return false, nil
		}
		return false, fmt.Errorf("the CA did not accept the %s challenge for %s: the authorization is %.50q%s",
			a.challenge.Type, a.domain, got.Status, challengeProblem(got))
	})
}

// challengeProblem tells what a CA says went wrong with an authorization.
func challengeProblem(a acme.Authorization) string {
	for _, ch := range a.Challenges {
		if ch.Error != nil {
			return fmt.Sprintf(": %.500q (%.100q)", ch.Error.Detail, ch.Error.Type)
		}
	}
	return ""
}

// Finalize sends the certificate request of an order whose names are proven,
// waits for the certificate, and returns the order with its URL. It may be
// called again for an order that was finalized before.
func (c *Client) Finalize(ctx context.Context, o Order, csr []byte) (Order, error) {
	if o.status == acme.StatusPending || o.status == acme.StatusReady {
		got, err := call(ctx, func() (acme.ExtendedOrder, error) { return c.core().Orders.UpdateForCSR(o.Finalize, csr) })
		if err != nil {
			return Order{}, fmt.Errorf("finalizing order %s: %w", o.URL, err)
		}
		if o, err = c.checkOrder(got.Order, o.URL); err != nil {
			return Order{}, err
		}
	}
	if o.status != acme.StatusValid {
		err := c.poll(ctx, o.URL, func() (bool, error) {
			got, err := call(ctx, func() (acme.ExtendedOrder, error) { return c.core().Orders.Get(o.URL) })
			if err != nil {
				return false, fmt.Errorf("order %s: %w", o.URL, err)
			}
			if o, err = c.checkOrder(got.Order, o.URL); err != nil {
				return false, err
			}
			switch o.status {
			case acme.StatusValid:
				return true, nil
			case acme.StatusProcessing, acme.StatusReady:
				return false, nil
			}
			return false, o.invalid()
		})
		if err != nil {
			return Order{}, err
		}
	}
	if err := checkURL(o.Certificate); err != nil {
		return Order{}, fmt.Errorf("order %s has no certificate: %w", o.URL, err)
	}
	return o, nil
}

// Certificate downloads an order's certificate chain. Where the CA offers
// several, and preferredChain is not empty, it is the first whose last
// certificate was issued by that common name; if none was, the CA's default
// (RFC 8555 section 7.4.2). What is returned are the CA's bytes, unjudged.
func (c *Client) Certificate(ctx context.Context, o Order, preferredChain string) ([]byte, error) {
	get := func(u string) ([]byte, error) {
		chain, err := call(ctx, func() ([]byte, error) {
			cert, _, err := c.core().Certificates.Get(u, true)
			return cert, err
		})
		if err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		return chain, nil
	}
	chain, err := get(o.Certificate)
	if err != nil || preferredChain == "" || topIssuer(chain) == preferredChain {
		return chain, err
	}
	for i, alternate := range alternates(c.guard.takeHeader(o.Certificate)) {
		if i == maxAlternates {
			break
		}
		if err := checkURL(alternate); err != nil {
			continue
		}
		other, err := get(alternate)
		if err != nil {
			return nil, err
		}
		if topIssuer(other) == preferredChain {
			return other, nil
		}
	}
	c.cfg.Logger.Warn("the CA offers no chain of the preferred issuer, taking its default",
		"preferred_chain", preferredChain, "default", topIssuer(chain))
	return chain, nil
}

// topIssuer returns the common name of whoever issued a chain's last certificate.
func topIssuer(chain []byte) string {
	issuer := ""
	for {
		block, rest := pem.Decode(chain)
		if block == nil {
			return issuer
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			issuer = cert.Issuer.CommonName
		}
		chain = rest
	}
}

var linkAlternate = regexp.MustCompile(`<([^>]+)>\s*;\s*rel="?alternate"?`)

func alternates(h http.Header) []string {
	var urls []string
	for _, link := range h.Values("Link") {
		for _, m := range linkAlternate.FindAllStringSubmatch(link, maxAlternates+1) {
			urls = append(urls, m[1])
		}
	}
	return urls
}

// poll asks until done: almost at once, then as often as the CA's Retry-After
// for the URL says, else with intervals that double up to pollMax. The time limit
// is ctx's.
func (c *Client) poll(ctx context.Context, pollURL string, done func() (bool, error)) error {
	wait := pollFirst
	for interval := pollStart; ; interval = min(interval*2, pollMax) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
		ok, err := done()
		if ok || err != nil {
			return err
		}
		wait = interval
		if d, said := parseRetryAfter(c.guard.takeHeader(pollURL).Get("Retry-After"), c.cfg.Now()); said {
			wait = min(max(d, wait), pollClamp)
		}
	}
}

// each runs f for 0 to n-1 concurrently, and returns all their errors.
func each(n int, f func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func sortedKeys(m map[string]string) string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return strings.Join(keys, ", ")
}
