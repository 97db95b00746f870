package acme

import (
	"context"
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/go-acme/lego/v4/acme"
	"github.com/go-acme/lego/v4/challenge"
	"github.com/go-acme/lego/v4/challenge/dns01"

	"keepkey/internal/fault"
)

// cleanupTime bounds the clean-up of challenges, which also happens after an
// interruption.
const cleanupTime = 20 * time.Second

// Solver answers one type of challenge (RFC 8555 section 8, RFC 8737). Make one
// with [NewHTTP01], [NewWebroot], [NewTLSALPN01] or [NewDNS01]; it is safe for
// concurrent use, and orders should share it.
type Solver struct {
	kind     challenge.Type
	provider challenge.Provider
	dns      []dns01.ChallengeOption // for DNS-01: how propagation is checked
	zone     bool                    // for DNS-01: by asking the zone's name servers
}

// solve answers challenges together: present all, trigger all, poll all. What
// was presented is cleaned up whatever happens.
func (c *Client) solve(ctx context.Context, batch []authz, s *Solver) (err error) {
	var mu sync.Mutex
	var presented []authz
	defer func() {
		// The certificate does not depend on a record that stayed behind.
		if cleanup := c.cleanup(context.WithoutCancel(ctx), presented, s); cleanup != nil {
			c.cfg.Logger.Warn("a challenge could not be cleaned up", "problem", cleanup)
		}
	}()
	err = each(len(batch), func(i int) error {
		a := batch[i]
		mu.Lock()
		presented = append(presented, a)
		mu.Unlock()
		err := fault.Do("present challenge", a.domain, func() error { return c.present(ctx, a, s) })
		if err != nil {
			return fmt.Errorf("challenge for %s: %w", a.domain, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = each(len(batch), func(i int) error {
		a := batch[i]
		_, err := call(ctx, c, func() (acme.ExtendedChallenge, error) { return c.core().Challenges.New(a.challenge.URL) })
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

// batches says which authorizations may be worked on together. A DNS provider
// that declares itself sequential (lego's rfc2136 replaces the whole record set,
// exec runs the operator's script) gets them one by one.
func (s *Solver) batches(pending []authz) [][]authz {
	if _, ok := s.provider.(interface{ Sequential() time.Duration }); !ok {
		if len(pending) == 0 {
			return nil
		}
		return [][]authz{pending}
	}
	var batches [][]authz
	for _, a := range pending {
		batches = append(batches, []authz{a})
	}
	return batches
}

// present puts the answer where the CA will look, and returns when the CA can
// be told.
func (c *Client) present(ctx context.Context, a authz, s *Solver) error {
	if s.kind == challenge.DNS01 {
		return Hidden(c.presentDNS01(ctx, a, s))
	}
	return s.provider.Present(a.domain, a.challenge.Token, a.keyAuth)
}

// cleanup takes away what present put there. It tries all, within cleanupTime.
func (c *Client) cleanup(ctx context.Context, presented []authz, s *Solver) error {
	ctx, cancel := context.WithTimeout(ctx, cleanupTime)
	defer cancel()
	var errs []error
	for _, a := range presented {
		err := fault.Do("clean up challenge", a.domain, func() error {
			_, err := call(ctx, c, func() (struct{}, error) {
				return struct{}{}, s.provider.CleanUp(a.domain, a.challenge.Token, a.keyAuth)
			})
			return err
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", a.domain, Hidden(err)))
		}
	}
	return several(errs)
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
