package acme

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-acme/lego/v4/acme"
	"github.com/go-acme/lego/v4/acme/api"
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
}

// batches says which authorizations may be worked on together. A DNS provider
// that declares itself sequential (lego's rfc2136 replaces the whole record set,
// exec runs scripts of anybody's) gets them one by one.
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
func (s *Solver) present(ctx context.Context, core *api.Core, a authz) error {
	return fault.Do("present challenge", a.domain, func() error { return s.presentNow(ctx, core, a) })
}

func (s *Solver) presentNow(ctx context.Context, core *api.Core, a authz) error {
	if s.kind != challenge.DNS01 {
		return s.provider.Present(a.domain, a.challenge.Token, a.keyAuth)
	}
	// lego's DNS-01 waits for propagation inside Solve; what it would then say to
	// the CA is ours to say.
	told := func(*api.Core, string, acme.Challenge) error { return nil }
	ch := dns01.NewChallenge(core, told, s.provider, s.dns...)
	authorization := acme.Authorization{
		Identifier: acme.Identifier{Type: "dns", Value: a.domain},
		Challenges: []acme.Challenge{a.challenge},
	}
	_, err := call(ctx, func() (struct{}, error) {
		if err := ch.PreSolve(authorization); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, ch.Solve(authorization)
	})
	return err
}

// cleanup takes away what present put there. It tries all, within cleanupTime.
func (s *Solver) cleanup(ctx context.Context, presented []authz) error {
	ctx, cancel := context.WithTimeout(ctx, cleanupTime)
	defer cancel()
	var errs []error
	for _, a := range presented {
		err := fault.Do("clean up challenge", a.domain, func() error {
			_, err := call(ctx, func() (struct{}, error) {
				return struct{}{}, s.provider.CleanUp(a.domain, a.challenge.Token, a.keyAuth)
			})
			return err
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", a.domain, err))
		}
	}
	return errors.Join(errs...)
}

// Propagation says how DNS-01 makes sure that the CA will see a record.
type Propagation struct {
	// Authoritative asks the zone's own name servers for the record, Resolvers
	// the recursive ones. With neither, only Wait passes.
	Authoritative, Resolvers bool
	Wait                     time.Duration
}

// NewDNS01 answers through one of lego's DNS providers. env holds the
// provider's settings, as lego documents them, over the process's environment.
func NewDNS01(provider string, env map[string]string, p Propagation) (*Solver, error) {
	dns, err := openDNSProvider(provider, env)
	if err != nil {
		return nil, err
	}
	s := &Solver{kind: challenge.DNS01, provider: dns}
	switch {
	case p.Authoritative:
	case p.Resolvers:
		s.dns = append(s.dns, dns01.DisableAuthoritativeNssPropagationRequirement(), dns01.RecursiveNSsPropagationRequirement())
	default:
		s.dns = append(s.dns, dns01.PropagationWait(p.Wait, true))
	}
	return s, nil
}

// SetResolvers sets the recursive DNS servers (host:port) that all DNS-01
// solvers of the process ask. lego keeps them in a variable of its own, so call
// it once, before any order.
func SetResolvers(servers []string) {
	// The option acts on lego's package, not on the challenge that it is given.
	_ = dns01.AddRecursiveNameservers(servers)(nil)
}
