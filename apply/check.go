package apply

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"

	"keepkey/config"
	"keepkey/plan"
	"keepkey/probe"
)

// Check looks at everything that clients of a lineage get, and puts nothing on record: what
// every server presents, and what can be read of every channel. With it comes what it is to be
// judged by.
func (r *Runner) Check(ctx context.Context, cert config.Certificate) (plan.Input, plan.Checked, error) {
	l, err := r.newRun(ctx, cert, Options{}).look(ctx)
	if err != nil {
		return plan.Input{}, plan.Checked{}, err
	}
	in := l.input()
	if in.State.Certificate == nil {
		return in, plan.Checked{}, nil // nobody knows yet what should be served
	}
	addrs := toCheck(cert)
	servers := make([][]plan.Server, len(addrs))
	channels := make([]plan.Sighted, len(cert.Channels))
	var wg sync.WaitGroup
	for i, addr := range addrs {
		wg.Go(func() {
			if err := l.safely(func() error { servers[i] = l.checkServers(ctx, addr); return nil }); err != nil {
				servers[i] = []plan.Server{{Addr: addr, Err: err}}
			}
		})
	}
	for i, ch := range cert.Channels {
		wg.Go(func() {
			if err := l.safely(func() error { channels[i] = l.checkChannel(ctx, in, ch); return nil }); err != nil {
				channels[i] = plan.Sighted{Channel: ch.Name, Read: true, Found: []plan.Meaning{{Code: plan.PlaceUnreadable, Text: err.Error()}}}
			}
		})
	}
	wg.Wait()
	found := plan.Checked{Channels: channels}
	for _, s := range servers {
		found.Servers = append(found.Servers, s...)
	}
	return in, found, ctx.Err()
}

// toCheck returns the addresses to look at: those that are configured, or else the domains, by
// HTTPS.
func toCheck(cert config.Certificate) []string {
	if len(cert.Check) > 0 {
		return cert.Check
	}
	var addrs []string
	for _, d := range cert.Domains {
		if !strings.HasPrefix(d, "*.") {
			addrs = append(addrs, net.JoinHostPort(d, "443"))
		}
	}
	return addrs
}

// checkServers looks at the servers of an address, and at its TLSA records.
func (l *lineage) checkServers(ctx context.Context, addr string) []plan.Server {
	var common plan.Server
	var wg sync.WaitGroup
	wg.Go(func() { common = l.tlsa(ctx, addr) })
	seen := l.servers(ctx, addr)
	wg.Wait()
	var all []plan.Server
	for _, s := range seen {
		server := common
		server.Addr, server.Name, server.Chain = addr, s.name, s.Chain
		server.Err, server.NoRoute = s.err, errors.Is(s.err, probe.ErrNoRoute)
		if s.ip.IsValid() {
			server.IP = s.ip.String()
		}
		if s.err == nil {
			server.ChainProblem = chainProblem(s.Chain, l.storedChain(s.Chain), l.Now())
			server.Staple = stapleOf(s.Presented)
		}
		all = append(all, server)
	}
	return all
}

// tlsa asks for the TLSA records of an address, which only a name can have.
func (l *lineage) tlsa(ctx context.Context, addr string) (s plan.Server) {
	a, err := probe.Parse(addr)
	if err != nil || net.ParseIP(a.Host) != nil || !strings.Contains(a.Host, ".") {
		return s
	}
	s.TLSAName = "_" + a.Port + "._tcp." + a.Host
	s.TLSAProblem = l.dial(func() error {
		records, err := probe.Resolver(l.cert.Resolvers).TLSA(ctx, s.TLSAName)
		for _, r := range records {
			s.TLSA = append(s.TLSA, plan.TLSA(r))
		}
		return err
	})
	return s
}

// checkChannel reads all places of a channel that can be read.
func (l *lineage) checkChannel(ctx context.Context, in plan.Input, ch config.Channel) plan.Sighted {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	found := plan.Sighted{Channel: ch.Name}
	if in.Disk.LedgerProblem != nil {
		return found // there is nothing to compare it with
	}
	goal, _ := l.goal.Channel(ch.Name)
	for _, p := range readable(ch) {
		found.Read = true
		if m := plan.Judge(in, goal, l.sight(ctx, ch, p)); m.Code != "" {
			found.Found = append(found.Found, m)
		}
	}
	return found
}
