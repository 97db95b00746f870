package acme

import (
	"context"
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
	ch := dns01.NewChallenge(c.core(), told, s.provider, s.dns...)
	authorization := acme.Authorization{
		Identifier: acme.Identifier{Type: "dns", Value: a.domain},
		Challenges: []acme.Challenge{a.challenge},
	}
	_, err := call(ctx, c, func() (struct{}, error) {
		if err := ch.PreSolve(authorization); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, ch.Solve(authorization)
	})
	return err
}
