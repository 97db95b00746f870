package apply

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"keepkey/pinset"
	"keepkey/plan"
	"keepkey/probe"
)

// maxDials is how many servers of a lineage are looked at, or looked up, at a time.
const maxDials = 16

// seen is what the server at one IP of an address presents.
type seen struct {
	ip   netip.Addr // not valid where the error is about the address as a whole
	name string     // the domain that was asked for
	probe.Presented
	err error
}

// servers looks at the servers at all IPs of an address. One that does not answer keeps no
// other from being looked at.
func (r *run) servers(ctx context.Context, addr string) []seen {
	a, err := probe.Parse(addr)
	if err != nil {
		return []seen{{err: err}}
	}
	name := nameAt(a.Host, r.cert.Domains)
	var ips []netip.Addr
	err = r.dial(func() (err error) {
		ips, err = probe.Resolver(r.cert.Resolvers).Addresses(ctx, a.Host)
		return err
	})
	all := make([]seen, len(ips))
	var wg sync.WaitGroup
	for i, ip := range ips {
		wg.Go(func() {
			all[i] = seen{ip: ip, name: name}
			all[i].err = r.dial(func() (err error) {
				all[i].Presented, err = probe.Look(ctx, a, ip, name)
				return err
			})
		})
	}
	wg.Wait()
	if err != nil {
		all = append(all, seen{name: name, err: err})
	}
	return all
}

// dial does something of which not too much goes on at a time.
func (r *run) dial(do func() error) error {
	r.dials <- struct{}{}
	defer func() { <-r.dials }()
	return r.safely(do)
}

// safely has a panic be the problem of one place.
func (r *run) safely(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			r.log.Error("keepkey broke down; this is a bug", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = fmt.Errorf("keepkey broke down while it looked there (%v); this is a bug", p)
		}
	}()
	return do()
}

// nameAt is the domain that clients of a host ask for: the host itself, where the
// certificate is for it, else the first that is not a wildcard.
func nameAt(host string, domains []string) string {
	_, parent, _ := strings.Cut(host, ".")
	if slices.Contains(domains, host) || slices.Contains(domains, "*."+parent) {
		return host
	}
	for _, d := range domains {
		if !strings.HasPrefix(d, "*.") {
			return d
		}
	}
	return "www" + strings.TrimPrefix(domains[0], "*")
}

// wrongAt says what is wrong at an address with the keys that are served: nil if nothing is.
func (l *lineage) wrongAt(ctx context.Context, addr string) (wrong *lookError) {
	in := l.input()
	var unseen *lookError
	looked := false
	for _, s := range l.servers(ctx, addr) {
		var pin pinset.Pin
		var serial string
		if s.err == nil {
			pin, serial = pinset.OfCertificate(s.Chain[0]), plan.Serial(s.Chain[0])
		}
		m := plan.JudgeServed(in, addr, pin, serial, s.err)
		if s.ip.IsValid() {
			m.Text = fmt.Sprintf("%s: %s", s.ip, m.Text)
		}
		switch {
		case errors.Is(s.err, probe.ErrNoRoute):
			unseen = unseen.and(m)
			continue
		case m.Code != "":
			wrong = wrong.and(m)
		}
		looked = true
	}
	if !looked {
		return unseen
	}
	return wrong
}

// served returns the keys that are served at an address, as far as it answers.
func (l *lineage) served(ctx context.Context, addr string) []pinset.Pin {
	var pins []pinset.Pin
	for _, s := range l.servers(ctx, addr) {
		if s.err != nil {
			continue
		}
		if pin := pinset.OfCertificate(s.Chain[0]); !slices.Contains(pins, pin) {
			pins = append(pins, pin)
		}
	}
	return pins
}
