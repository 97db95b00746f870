package apply

import (
	"cmp"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"keepkey/acme"
	"keepkey/keystore"
	"keepkey/pinset"
	"keepkey/plan"
)

// Bounds of obtaining one certificate.
const (
	obtainTime = 15 * time.Minute // DNS propagation can take most of it
	windowTime = 40 * time.Second // asking for the renewal window
	orderAge   = 24 * time.Hour   // an older order on record is not resumed
)

// obtain gets a certificate, for the active key or for the one that a rollover
// switches to, and stores it as a new version. What is installed is not touched.
func (l *lineage) obtain(ctx context.Context, a plan.Action) error {
	if a.Version > 0 {
		return l.switchBack(ctx, a)
	}
	limit := l.ObtainTime
	if limit == 0 {
		limit = obtainTime
	}
	limited, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the CA did not finish within %s; the next attempt resumes the order", limit))
	defer cancel()
	err := l.obtainNow(limited, a)
	if errors.Is(err, acme.ErrAccountRefused) {
		if account, e := l.Store.Account(l.cert.ACME.Directory, kidOf(l.cert.ACME)); e == nil {
			err = fmt.Errorf("%w; ask the CA about the account, or remove %s, and the next run registers a new one", err, account.Dir())
		}
	}
	if ctx.Err() == nil {
		l.heard(err)
	}
	return err
}

// switchBack undoes a rollover with the certificate from before, which is valid still: so
// there is a way back while the CA is down.
func (l *lineage) switchBack(ctx context.Context, a plan.Action) error {
	before, target := l.state.Rollover.Before, l.state.Target(a)
	key, err := l.store.Keys.Signer(target)
	if err != nil {
		return err
	}
	if _, err := l.store.Live.Inspect(a.Version, keystore.Want{Pin: target, Domains: l.cert.Domains, Now: l.Now()}); err != nil {
		return err
	}
	chain, err := l.store.Live.Chain(a.Version)
	if err != nil {
		return err
	}
	skew, _ := l.skew(ctx)
	if err := l.lastLook(ctx, target, skew); err != nil {
		return err
	}
	return l.accept(ctx, a, chain, key, before.Directory)
}

// lastLook is the last look before the key is switched: the clock may have been set back,
// or be wrong altogether, and what clients get may be something else by now.
func (l *lineage) lastLook(ctx context.Context, target pinset.Pin, skew time.Duration) error {
	if stopped := l.lookAll(ctx); stopped != nil {
		return fmt.Errorf("the key is not switched: %w", cmp.Or(stopped.Err, context.Cause(ctx)))
	}
	return plan.CheckSwitch(l.input(), target, skew)
}

// rejectedError is a certificate that a CA issued and keepkey does not install.
type rejectedError struct{ err error }

func (e *rejectedError) Error() string {
	return fmt.Sprintf("the CA issued a certificate that is refused: %v", e.err)
}
func (e *rejectedError) Unwrap() error { return e.err }

func (l *lineage) obtainNow(ctx context.Context, a plan.Action) error {
	target := l.state.Target(a)
	key, err := l.store.Keys.Signer(target)
	if err != nil {
		return err
	}
	solver, err := l.solver(l.cert.Challenge)
	if err != nil {
		return err
	}
	client, err := l.client(ctx, l.cert.ACME)
	if err != nil {
		return err
	}
	if skew, known := client.Skew(); known && a.Kind == plan.SwitchKey {
		// Before a certificate is spent on it.
		if err := plan.CheckSwitch(l.input(), target, skew); err != nil {
			return err
		}
	}
	order, csr, err := l.order(ctx, client, key, a)
	if err != nil {
		return err
	}
	if err := client.Authorize(ctx, order, l.cert.Domains, solver); err != nil {
		return err
	}
	if order, err = client.Finalize(ctx, order, csr); err != nil {
		return err
	}
	data, err := client.Certificate(ctx, order, l.cert.ACME.PreferredChain)
	if err != nil {
		return err
	}
	chain, err := keystore.CheckChain(data, keystore.Want{Pin: target, Domains: l.cert.Domains, Now: l.Now()})
	if err != nil {
		return &rejectedError{err}
	}
	leaf := chain.Leaf()
	serial := fmt.Sprintf("%x", leaf.SerialNumber)
	if c := l.state.Certificate; c != nil && c.Serial == serial && l.disk.StoredProblem == nil {
		return &rejectedError{fmt.Errorf("it is the one that is there already (serial %s)", serial)}
	}
	if a.Kind == plan.SwitchKey {
		skew, _ := client.Skew()
		if err := l.lastLook(ctx, target, skew); err != nil {
			return err
		}
	}
	return l.accept(ctx, a, chain, key, l.cert.ACME.Directory)
}

// accept stores a certificate of a CA and puts it on record.
func (l *lineage) accept(ctx context.Context, a plan.Action, chain keystore.Chain, key crypto.Signer, directory string) error {
	c, err := l.stored(chain, key, l.cert.Domains, directory)
	if err != nil {
		return err
	}
	return l.commit(ctx, a, plan.Result{Certificate: c})
}

// stored stores a certificate as a new version.
func (l *lineage) stored(chain keystore.Chain, key crypto.Signer, domains []string, directory string) (*plan.Certificate, error) {
	after := 0
	if c := l.state.Certificate; c != nil {
		after = c.Version
	}
	v, err := l.store.Live.Add(after, chain, key)
	if err != nil {
		return nil, err
	}
	leaf := chain.Leaf()
	return &plan.Certificate{
		Version: v.N, Digest: v.Digest, Pin: pinset.OfCertificate(leaf), Serial: fmt.Sprintf("%x", leaf.SerialNumber),
		Domains: slices.Clone(domains), Directory: directory, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
	}, nil
}

// order resumes the order on record, if it still fits, or places a new one and puts it
// on record. Its certificate request is on record before it is sent.
func (l *lineage) order(ctx context.Context, client *acme.Client, key crypto.Signer, a plan.Action) (acme.Order, []byte, error) {
	target := l.state.Target(a)
	if rec, ordered := l.state.Order(target); ordered && l.fits(rec) {
		order, err := client.Order(ctx, rec.URL)
		if err == nil {
			l.log.Info("resuming an order", "order", rec.URL)
			return order, rec.CSR, nil
		}
		if !errors.Is(err, acme.ErrOrderGone) {
			return acme.Order{}, nil, err
		}
		l.log.Warn("cannot resume the recorded order; placing a new one", "problem", err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: l.cert.Domains}, key)
	if err != nil {
		return acme.Order{}, nil, fmt.Errorf("certificate request: %w", err)
	}
	order, err := client.NewOrder(ctx, acme.OrderRequest{Domains: l.cert.Domains, Profile: l.cert.ACME.Profile, Replace: l.replaced()})
	if err != nil {
		return acme.Order{}, nil, err
	}
	return order, csr, l.commit(ctx, a, plan.Result{Order: &plan.Order{
		Directory: l.cert.ACME.Directory, URL: order.URL, Finalize: order.Finalize, CSR: csr,
		Pin: target, Domains: slices.Clone(l.cert.Domains), Created: l.Now(), Early: a.Early,
	}})
}

// replaced returns the certificate that the next one follows, if this CA issued it.
func (l *lineage) replaced() *x509.Certificate {
	c := l.state.Certificate
	if c == nil || c.Directory != l.cert.ACME.Directory || l.disk.StoredProblem != nil {
		return nil
	}
	chain, err := l.store.Live.Chain(c.Version)
	if err != nil {
		l.log.Warn("ordering without naming the certificate that is replaced", "problem", err)
		return nil
	}
	return chain.Leaf()
}

// fits says whether an order on record is still what the configuration asks for.
func (l *lineage) fits(rec plan.Order) bool {
	age := l.Now().Sub(rec.Created)
	return rec.Directory == l.cert.ACME.Directory && slices.Equal(rec.Domains, l.cert.Domains) && age >= 0 && age < orderAge
}

// askWindow asks the CA when it wants the certificate renewed. That it does not
// answer is no failure: the lifetime decides then.
func (l *lineage) askWindow(ctx context.Context, a plan.Action) error {
	limited, cancel := context.WithTimeout(ctx, windowTime)
	defer cancel()
	w, err := l.window(limited)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, acme.ErrNoRenewalInfo):
		return l.commit(ctx, a, plan.Result{Window: &plan.Answer{}})
	case err != nil:
		l.log.Debug("the CA's renewal window is not known, the lifetime decides", "problem", err)
		return l.commit(ctx, a, plan.Result{})
	}
	return l.commit(ctx, a, plan.Result{Window: &plan.Answer{Start: w.Start, End: w.End, Explanation: w.Explanation, AskAgain: w.RetryAfter}})
}

func (l *lineage) window(ctx context.Context) (w acme.Window, err error) {
	c := l.ca(l.cert.ACME)
	if silent := c.asking(l.Now()); silent != nil {
		return acme.Window{}, silent
	}
	defer func() {
		if !errors.Is(ctx.Err(), context.Canceled) {
			c.asked(err, l.Now())
		}
	}()
	client, err := l.client(ctx, l.cert.ACME)
	if err != nil {
		return acme.Window{}, err
	}
	chain, err := l.store.Live.Chain(l.state.Certificate.Version)
	if err != nil {
		return acme.Window{}, err
	}
	return client.RenewalWindow(ctx, chain.Leaf())
}
