package probe

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Resolver asks recursive DNS servers (host:port), one after the other where one does not
// answer. Without any it asks as this machine does.
type Resolver []string

// Bounds of what the DNS is asked for.
const (
	askTime      = 5 * time.Second // for one server
	resolveTime  = 10 * time.Second
	maxAddresses = 64 // of one host
	maxTLSA      = 100
)

// Addresses returns all IPs of a host, of both families, sorted. What could not be found out
// about one family is an error, which does not keep the other from being returned.
func (r Resolver) Addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	families := []string{"ip4", "ip6"}
	found := make([][]netip.Addr, len(families))
	problems := make([]error, len(families))
	var wg sync.WaitGroup
	for i, family := range families {
		wg.Go(func() { found[i], problems[i] = r.system().LookupNetIP(ctx, family, host) })
	}
	wg.Wait()
	ips := slices.Concat(found...)
	for i, ip := range ips {
		ips[i] = ip.Unmap()
	}
	slices.SortFunc(ips, netip.Addr.Compare)
	ips = slices.Compact(ips)
	if len(ips) > maxAddresses {
		return ips[:maxAddresses], fmt.Errorf("%s has %d addresses, and %d are looked at", host, len(ips), maxAddresses)
	}
	ipv4, ipv6 := reason(problems[0]), reason(problems[1])
	switch {
	case ipv4 != "" && ipv6 != "":
		return ips, fmt.Errorf("the addresses of %s can't be looked up: %s", host, ipv4)
	case ipv4 != "":
		return ips, fmt.Errorf("the IPv4 addresses of %s can't be looked up: %s", host, ipv4)
	case ipv6 != "":
		return ips, fmt.Errorf("the IPv6 addresses of %s can't be looked up: %s", host, ipv6)
	case len(ips) == 0:
		return nil, fmt.Errorf("%s has no address", host)
	}
	return ips, nil
}

// reason says why a host can't be looked up. That it has no such address is none.
func reason(err error) string {
	var e *net.DNSError
	var none *net.AddrError // it has addresses of the other family
	switch {
	case err == nil, errors.As(err, &none):
		return ""
	case !errors.As(err, &e):
		return err.Error()
	case e.IsNotFound:
		return ""
	}
	return e.Err
}

// system is what a host is looked up with: as other programs of this machine do, which for
// its own servers may be another way than through the DNS.
func (r Resolver) system() *net.Resolver {
	if len(r) == 0 {
		return net.DefaultResolver
	}
	var asked atomic.Uint32
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, r[(asked.Add(1)-1)%uint32(len(r))])
	}}
}

// TLSA is a record that says which certificate or key a server has (RFC 6698 section 2.1).
type TLSA struct {
	Usage, Selector, Matching uint8
	Data                      []byte
}

// TLSA returns the TLSA records of a name such as "_25._tcp.mail.example.com"; none where there
// are none. Whether they are signed (DNSSEC) is not looked at.
func (r Resolver) TLSA(ctx context.Context, name string) ([]TLSA, error) {
	servers := []string(r)
	if len(servers) == 0 {
		system, err := dns.ClientConfigFromFile("/etc/resolv.conf")
		if err != nil {
			return nil, err
		}
		for _, s := range system.Servers {
			servers = append(servers, net.JoinHostPort(s, system.Port))
		}
	}
	question := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeTLSA)
	question.SetEdns0(1232, false)
	problem := errors.New("no DNS server is configured")
	for _, server := range servers {
		var records []TLSA
		if records, problem = ask(ctx, server, question); problem == nil {
			return records, nil
		}
	}
	return nil, problem
}

// ask asks one server for TLSA records.
func ask(ctx context.Context, server string, question *dns.Msg) ([]TLSA, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	answer, _, err := (&dns.Client{}).ExchangeContext(ctx, question, server)
	if answer != nil && answer.Truncated {
		answer, _, err = (&dns.Client{Net: "tcp"}).ExchangeContext(ctx, question, server)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s does not answer: %w", server, err)
	case answer.Rcode == dns.RcodeNameError:
		return nil, nil
	case answer.Rcode != dns.RcodeSuccess:
		return nil, fmt.Errorf("%s answers %s", server, dns.RcodeToString[answer.Rcode])
	}
	var records []TLSA
	for _, rr := range answer.Answer {
		t, is := rr.(*dns.TLSA)
		if !is {
			continue // such as the CNAME that led there
		}
		data, err := hex.DecodeString(t.Certificate)
		if err != nil {
			return nil, fmt.Errorf("%s answers with a TLSA record that is none", server)
		}
		if records = append(records, TLSA{t.Usage, t.Selector, t.MatchingType, data}); len(records) == maxTLSA {
			break
		}
	}
	return records, nil
}
