package acme

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-acme/lego/v4/acme"
	"github.com/go-acme/lego/v4/challenge"
)

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
	a, err := call(ctx, c, func() (acme.Authorization, error) { return c.core().Authorizations.Get(authzURL) })
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

func (c *Client) awaitAuthorization(ctx context.Context, a authz) error {
	return c.poll(ctx, a.url, func() (done bool, told string, err error) {
		got, err := call(ctx, c, func() (acme.Authorization, error) { return c.core().Authorizations.Get(a.url) })
		if err != nil {
			return false, "", fmt.Errorf("authorization of %s: %w", a.domain, err)
		}
		switch got.Status {
		case acme.StatusValid:
			return true, "", nil
		case acme.StatusPending, acme.StatusProcessing:
			// By RFC 8555 section 8 a challenge with an error is invalid, and its
			// authorization with it. Some CAs (step-ca) tell the error and try again.
			if problem := challengeProblem(got); problem != "" {
				told = fmt.Sprintf("the %s challenge for %s failed%s%s", a.challenge.Type, a.domain, problem, advice(a))
			}
			return false, told, nil
		}
		return false, "", fmt.Errorf("the CA did not accept the %s challenge for %s: the authorization is %.50q%s%s",
			a.challenge.Type, a.domain, got.Status, challengeProblem(got), advice(a))
	})
}

// advice says what a person can look at when a CA could not see the answer.
func advice(a authz) string {
	switch challenge.Type(a.challenge.Type) {
	case challenge.HTTP01:
		return fmt.Sprintf("; see that %s leads to this machine from the internet, and port 80 to keepkey or the webroot", a.domain)
	case challenge.TLSALPN01:
		return fmt.Sprintf("; see that %s leads to this machine from the internet, and port 443 to keepkey", a.domain)
	case challenge.DNS01:
		return fmt.Sprintf("; see that the provider's zone is the one that the internet asks for _acme-challenge.%s, and give propagation more time", a.domain)
	}
	return ""
}

// challengeProblem tells what a CA says went wrong with an authorization.
func challengeProblem(a acme.Authorization) string {
	for _, ch := range a.Challenges {
		if ch.Error != nil {
			return ": " + details(ch.Error)
		}
	}
	return ""
}
