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
)

// Propagation says how DNS-01 makes sure that the CA will see a record.
type Propagation struct {
	// Authoritative asks the zone's own name servers for the record, Resolvers
	// the recursive ones. With neither, only Wait passes.
	Authoritative, Resolvers bool
	Wait                     time.Duration
}

// DNSProvider puts TXT records into a zone and removes them; package dns has those
// that there are.
type DNSProvider interface {
	Present(domain, token, keyAuth string) error
	CleanUp(domain, token, keyAuth string) error
}

// NewDNS01 answers DNS-01 (RFC 8555 section 8.4) with TXT records.
func NewDNS01(provider DNSProvider, p Propagation) *Solver {
	s := &Solver{kind: challenge.DNS01, provider: provider}
	switch {
	case p.Authoritative:
		s.zone = true
	case p.Resolvers:
		s.dns = append(s.dns, dns01.DisableAuthoritativeNssPropagationRequirement(), dns01.RecursiveNSsPropagationRequirement())
	default:
		s.dns = append(s.dns, dns01.PropagationWait(p.Wait, true))
	}
	return s
}

// presentDNS01 adds the record and waits for it to be seen.
func (c *Client) presentDNS01(ctx context.Context, a authz, s *Solver) error {
	// lego's DNS-01 waits for propagation inside Solve; what it would then say to
	// the CA is ours to say.
	told := func(*api.Core, string, acme.Challenge) error { return nil }
	options := s.dns
	if s.zone {
		options = []dns01.ChallengeOption{dns01.WrapPreCheck(func(_, fqdn, value string, _ dns01.PreCheckFunc) (bool, error) {
			err := seenByAll(ctx, fqdn, value)
			return err == nil, err
		})}
	}
	ch := dns01.NewChallenge(c.core(), told, s.provider, options...)
	authorization := acme.Authorization{
		Identifier: acme.Identifier{Type: "dns", Value: a.domain},
		Challenges: []acme.Challenge{a.challenge},
	}
	step := func(do func(acme.Authorization) error) error {
		_, err := call(ctx, c, func() (struct{}, error) {
			err := do(authorization)
			if cause := errors.Unwrap(err); cause != nil { // lego says before it what we say, too
				err = cause
			}
			return struct{}{}, err
		})
		return err
	}
	err := step(ch.PreSolve)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("the DNS provider could not add the record: %w; see that the variables in env_file are right", err)
	}
	if err != nil {
		return err
	}
	err = step(ch.Solve)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("the record was added, and was not to be seen in time: %w; propagation under dns-01 says whom to ask (authoritative, resolvers), or how long to wait instead (2m)", err)
	}
	return err
}
