package acme

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/go-acme/lego/v4/challenge/dns01"
	"github.com/miekg/dns"
)

// nameServerTime bounds a question to one name server.
const nameServerTime = 10 * time.Second

// nameServerPort is where a zone's name servers listen. Tests have another.
var nameServerPort = "53"

// seenByAll says whether all name servers of a zone have a TXT record. Their names and
// addresses come from the configured resolvers. (lego's own check asks the system's for
// the addresses, which may see another zone of that name, or none.)
func seenByAll(ctx context.Context, fqdn, value string) error {
	zone, err := dns01.FindZoneByFqdn(fqdn)
	if err != nil {
		return fmt.Errorf("looking for the zone of %s: %w", fqdn, err)
	}
	r := resolver.Load()
	servers, err := r.LookupNS(ctx, zone)
	if err != nil {
		return fmt.Errorf("looking for the name servers of %s: %w", zone, err)
	}
	return each(len(servers), func(i int) error {
		host := servers[i].Host
		addrs, err := r.LookupHost(ctx, host)
		if err != nil {
			return fmt.Errorf("looking for the name server %s of %s: %w", host, zone, err)
		}
		for _, addr := range addrs { // one may be of a protocol that there is no way for
			if err = seenAt(ctx, net.JoinHostPort(addr, nameServerPort), fqdn, value); err == nil || errors.Is(err, errNotThere) {
				break
			}
		}
		if err != nil {
			return fmt.Errorf("the name server %s of %s (%s): %w", host, zone, strings.Join(addrs, ", "), err)
		}
		return nil
	})
}

var errNotThere = errors.New("it does not have the record")

// seenAt says whether a name server has a TXT record.
func seenAt(ctx context.Context, server, fqdn, value string) error {
	question := new(dns.Msg).SetQuestion(fqdn, dns.TypeTXT)
	question.RecursionDesired = false
	question.SetEdns0(4096, false)
	answer, _, err := (&dns.Client{Timeout: nameServerTime}).ExchangeContext(ctx, question, server)
	if answer != nil && answer.Truncated {
		answer, _, err = (&dns.Client{Net: "tcp", Timeout: nameServerTime}).ExchangeContext(ctx, question, server)
	}
	if err != nil {
		return fmt.Errorf("it does not answer: %w", err)
	}
	if answer.Rcode != dns.RcodeSuccess && answer.Rcode != dns.RcodeNameError {
		return fmt.Errorf("it answers %s", dns.RcodeToString[answer.Rcode])
	}
	if !slices.ContainsFunc(answer.Answer, func(rr dns.RR) bool {
		txt, ok := rr.(*dns.TXT)
		return ok && strings.Join(txt.Txt, "") == value
	}) {
		return errNotThere
	}
	return nil
}
