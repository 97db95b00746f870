package apply

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"keepkey/hooks"
	"keepkey/pinset"
	"keepkey/pinset/format"
	"keepkey/plan"
)

// Bounds of looking at a server.
const (
	dialTime   = 5 * time.Second
	checkTime  = 15 * time.Second // a reload takes effect a little after the hook returns
	checkPause = 500 * time.Millisecond
)

// check connects to an address as a client does and looks at the key there.
func (l *lineage) check(ctx context.Context, a plan.Action) error {
	limit := l.CheckTime
	if limit == 0 {
		limit = checkTime
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	want := l.state.Certificate.Pin
	var last error
	for {
		got, err := servedPin(ctx, a.Target, l.config.Domains[0])
		if err == nil && got == want {
			return l.commit(func(s *plan.State) { s.Certificate.Checked = append(s.Certificate.Checked, a.Target) })
		}
		if err == nil {
			err = fmt.Errorf("it serves another key (pin %s) than the live one (pin %s)", got, want)
		}
		if last == nil || ctx.Err() == nil {
			last = err // and not that the time was over during the last look
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("looking at what %s serves: %w; clients that pin may be locked out there: see that the server was reloaded, and reads %s", a.Target, last, l.store.LiveDir())
		case <-time.After(checkPause):
		}
	}
}

// servedPin returns the pin of the key at an address. The certificate is not
// verified: it is the key that matters here.
func servedPin(ctx context.Context, addr, domain string) (pinset.Pin, error) {
	name, _, err := net.SplitHostPort(addr)
	if err != nil {
		return pinset.Pin{}, err
	}
	if net.ParseIP(name) != nil || name == "localhost" {
		name = strings.TrimPrefix(domain, "*.")
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	d := tls.Dialer{Config: &tls.Config{ServerName: name, InsecureSkipVerify: true}}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return pinset.Pin{}, err
	}
	defer conn.Close()
	certs := conn.(*tls.Conn).ConnectionState().PeerCertificates
	if len(certs) == 0 {
		return pinset.Pin{}, errors.New("it presents no certificate")
	}
	return pinset.OfCertificate(certs[0]), nil
}

// newer looks into the files that pin sets are published to for versions that the
// ledger does not know: clients may be enforcing those. A file that is not keepkey's
// document of this lineage is the publication's business.
func (l *lineage) newer(ctx context.Context) []string {
	if l.disk.LedgerProblem != nil {
		return nil
	}
	var signs []string
	newest := l.ledger.Newest().Version // on any channel: one may have been given another name
	for _, ch := range l.config.Channels {
		for _, h := range ch.Publish {
			if h.File == "" {
				continue
			}
			data, err := hooks.Source{File: h.File}.Read(ctx, hooks.Event{})
			if err != nil {
				continue
			}
			set, err := format.Decode(ch.Format, data)
			if err == nil && set.Version > newest {
				signs = append(signs, fmt.Sprintf("%s, to which channel %s publishes, holds version %d of the pin set, and the ledger knows of %d", h.File, ch.Name, set.Version, newest))
			}
		}
	}
	return signs
}

// elsewhere looks for signs that clients know keys of this name already, which
// a first run must not overrule: a file that a channel publishes to, and a server
// at an address to check.
func (l *lineage) elsewhere(ctx context.Context) []string {
	var signs []string
	for _, ch := range l.config.Channels {
		for _, h := range ch.Publish {
			if h.File == "" {
				continue
			}
			if _, err := os.Lstat(h.File); err == nil {
				signs = append(signs, fmt.Sprintf("%s, to which channel %s publishes, is there already", h.File, ch.Name))
			}
		}
	}
	served := make([]string, len(l.config.Check))
	done := make(chan struct{})
	for i, addr := range l.config.Check {
		go func() {
			defer func() { done <- struct{}{} }()
			if p, err := servedPin(ctx, addr, l.config.Domains[0]); err == nil {
				served[i] = fmt.Sprintf("%s serves a key with pin %s", addr, p)
			}
		}()
	}
	for range served {
		<-done
	}
	return append(signs, slices.DeleteFunc(served, func(s string) bool { return s == "" })...)
}
