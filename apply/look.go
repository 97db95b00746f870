package apply

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"keepkey/hooks"
	"keepkey/keystore"
	"keepkey/pinset"
	"keepkey/plan"
)

// lineage is one lineage as it was found on disk, for the time of one action.
type lineage struct {
	*run
	store   *keystore.Lineage
	records keystore.Snapshot
	state   plan.State
	disk    plan.Disk
}

// newHost stands for this host's ID before the state directory is made.
const newHost = "new"

// input is what a plan is computed from.
func (l *lineage) input() plan.Input {
	now := l.Now()
	return plan.Input{
		Goal: l.goal, State: l.state, Ledger: l.records.Ledger, Disk: l.disk, CA: l.caKnown(now), Host: cmp.Or(l.Store.Host(), newHost), Now: now,
		Force: l.options.Force, NewLineage: l.options.NewLineage, Tried: l.tried,
	}
}

// look reads all that a plan depends on.
func (r *run) look(ctx context.Context) (*lineage, error) {
	store, err := r.Store.Lineage(r.cert.Name)
	if err != nil {
		return nil, err
	}
	l := &lineage{run: r, store: store}
	if l.records, err = store.Records.Load(); err != nil {
		return nil, err
	}
	l.disk.LedgerProblem = l.records.LedgerProblem
	l.disk.Live, l.disk.LiveProblem = store.Live.Current()
	if l.records.State == nil {
		return l, l.lookAround(ctx)
	}
	if l.state, err = plan.ParseState(r.cert.Name, l.records.State); err != nil {
		return nil, fmt.Errorf("state.json is %w", err)
	}
	l.disk.Newer = l.newer(ctx)
	l.checkKeys()
	l.checkStored()
	// Before that there is nothing to prune, not even after what a run may add.
	if c := l.state.Certificate; c != nil && c.Version >= plan.KeepVersions-1 {
		if l.disk.Versions, err = store.Live.Versions(); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// lookAround looks for anything that speaks against a first run.
func (l *lineage) lookAround(ctx context.Context) (err error) {
	if l.disk.Keys, err = l.store.Keys.List(); err != nil {
		return err
	}
	if l.disk.Versions, err = l.store.Live.Versions(); err != nil {
		return err
	}
	if len(l.disk.Keys)+len(l.disk.Versions) > 0 || l.disk.Live != 0 || l.options.NewLineage {
		return nil
	}
	signs, names, err := l.related()
	if err != nil {
		return err
	}
	l.disk.Elsewhere, l.disk.Related = append(signs, l.elsewhere(ctx)...), names
	return nil
}

// checkKeys proves that the keys that may be needed are there, each once a run.
func (l *lineage) checkKeys() {
	pending := l.state.Pending()
	for _, k := range l.state.Keys {
		needed := k.Role == plan.Active || k.Role == plan.Backup || (pending != nil && k.Pin == pending.To)
		if !needed {
			continue
		}
		err, known := l.checks.keys[k.Pin]
		if !known {
			err = l.store.Keys.Verify(k.Pin, k.Digest)
			l.checks.keys[k.Pin] = err
		}
		if err != nil {
			if l.disk.KeyProblems == nil {
				l.disk.KeyProblems = make(map[pinset.Pin]error)
			}
			l.disk.KeyProblems[k.Pin] = err
		}
	}
}

// checkStored proves, once a run, that the stored certificate is what was accepted.
func (l *lineage) checkStored() {
	c := l.state.Certificate
	if c == nil {
		return
	}
	want := keystore.Version{N: c.Version, Digest: c.Digest}
	if l.checks.stored == want {
		return
	}
	if l.disk.StoredProblem = l.store.Live.Verify(want); l.disk.StoredProblem == nil {
		l.checks.stored = want
	}
}

// newer looks into the files that pin sets are published to for versions that the
// ledger does not know: clients may be enforcing those. A file that is not keepkey's
// document of this lineage is the publication's business.
func (l *lineage) newer(ctx context.Context) []string {
	if l.disk.LedgerProblem != nil {
		return nil
	}
	var signs []string
	newest := l.records.Ledger.Newest().Version // on any channel: one may have been given another name
	for _, ch := range l.cert.Channels {
		for _, h := range ch.Publish {
			file, ok := h.(hooks.File)
			if !ok {
				continue
			}
			data, err := file.Read(ctx, hooks.Event{})
			if err != nil {
				continue
			}
			found, err := ch.Format.Decode(data)
			if err == nil && found.Version > newest {
				signs = append(signs, fmt.Sprintf("%s, to which channel %s publishes, holds version %d of the pin set, and the ledger knows of %d", file, ch.Name, found.Version, newest))
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
	for _, ch := range l.cert.Channels {
		for _, h := range ch.Publish {
			file, ok := h.(hooks.File)
			if !ok {
				continue
			}
			if _, err := os.Lstat(file.Path); err == nil {
				signs = append(signs, fmt.Sprintf("%s, to which channel %s publishes, is there already", file, ch.Name))
			}
		}
	}
	served := make([]string, len(l.cert.Check))
	done := make(chan struct{})
	for i, addr := range l.cert.Check {
		go func() {
			defer func() { done <- struct{}{} }()
			if p, err := servedPin(ctx, addr, l.cert.Domains[0]); err == nil {
				served[i] = fmt.Sprintf("%s serves a key with pin %s", addr, p)
			}
		}()
	}
	for range served {
		<-done
	}
	return append(signs, slices.DeleteFunc(served, func(s string) bool { return s == "" })...)
}

// servedPin returns the pin of the key served at an address. The certificate is not
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
