package apply

import (
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

type pin = pinset.Pin

// Bounds of obtaining one certificate.
const (
	obtainTime = 15 * time.Minute // DNS propagation can take most of it
	windowTime = 40 * time.Second // asking for the renewal window
	orderAge   = 24 * time.Hour   // an order on record that is older is not gone on with
)

// obtain gets a certificate, for the active key or for the one that a rollover
// switches to, and stores it as a new version.
// What is live is not touched. A failure is put on record, with the time of the
// next attempt.
func (l *lineage) obtain(ctx context.Context, a plan.Action) error {
	limit := l.ObtainTime
	if limit == 0 {
		limit = obtainTime
	}
	limited, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the CA did not finish within %s; the next attempt goes on with the order", limit))
	defer cancel()
	err := l.obtainNow(limited, a)
	if err == nil || errors.Is(err, errCommit) {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("obtaining a certificate was interrupted; the next run goes on with the order: %w", context.Cause(ctx))
	}
	err = fmt.Errorf("no certificate was obtained: %w", err)
	var refused *acme.Problem
	var retryAfter time.Duration
	if errors.As(err, &refused) {
		retryAfter = refused.RetryAfter
	}
	var rejected *rejectedError
	record := l.commit(func(s *plan.State) {
		s.RecordFailure(err.Error(), l.Now(), retryAfter, jitter())
		if errors.As(err, &rejected) {
			s.Order = nil // it would only give the same again
		}
	})
	if record != nil {
		return errors.Join(err, record)
	}
	if c := l.state.Certificate; c != nil {
		err = fmt.Errorf("%w; what is live stays, it expires at %s", err, c.NotAfter.UTC().Format(time.RFC3339))
	}
	return fmt.Errorf("%w; the next attempt is due at %s, or at once with --force", err, l.state.Failure.Next.UTC().Format(time.RFC3339))
}

// rejectedError is a certificate that a CA issued and keepkey does not install.
type rejectedError struct{ err error }

func (e *rejectedError) Error() string {
	return fmt.Sprintf("the CA issued a certificate that is refused: %v", e.err)
}
func (e *rejectedError) Unwrap() error { return e.err }

func (l *lineage) obtainNow(ctx context.Context, a plan.Action) error {
	target := l.state.Active().Pin
	if a.Kind == plan.Switch {
		target = l.state.Rollover.To
	}
	key, err := l.store.Key(target)
	if err != nil {
		return err
	}
	solver, err := l.solver(l.config.Challenge)
	if err != nil {
		return err
	}
	client, err := l.client(ctx, l.config.ACME)
	if err != nil {
		return err
	}
	order, err := l.order(ctx, client, key, target, a.Early)
	if err != nil {
		return err
	}
	if err := client.Authorize(ctx, order, l.config.Domains, solver); err != nil {
		return err
	}
	if order, err = client.Finalize(ctx, order, l.state.Order.CSR); err != nil {
		return err
	}
	data, err := client.Certificate(ctx, order, l.config.ACME.PreferredChain)
	if err != nil {
		return err
	}
	chain, err := keystore.CheckChain(data, keystore.Want{Pin: target, Domains: l.config.Domains, Now: l.Now()})
	if err != nil {
		return &rejectedError{err}
	}
	leaf := chain.Leaf()
	serial := fmt.Sprintf("%x", leaf.SerialNumber)
	if c := l.state.Certificate; c != nil && c.Serial == serial && l.disk.StoredProblem == nil {
		return &rejectedError{fmt.Errorf("it is the one that is there already (serial %s)", serial)}
	}
	if a.Kind == plan.Switch {
		// The last look before the key is switched: the clock may have been set back, or
		// be wrong altogether.
		skew, _ := client.Skew()
		if err := plan.CheckSwitch(l.input(Options{}), target, skew); err != nil {
			return err
		}
	}
	n, err := l.store.AddVersion(chain)
	if err != nil {
		return err
	}
	return l.commit(func(s *plan.State) {
		s.Accept(a.Kind, plan.Certificate{
			Version: n, Pin: target, Serial: serial, Domains: slices.Clone(l.config.Domains),
			Directory: l.config.ACME.Directory, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
			Obtained: l.Now(), Early: s.Order.Early,
		}, l.Now())
		// A CA has nothing to say yet about a certificate that it just issued.
		s.Window = &plan.Window{Serial: serial, Asked: l.Now(), AskAgain: l.Now().Add(askAgain)}
	})
}

// order goes on with the order on record, if it still fits, or makes a new one
// and puts it on record. Its certificate request is on record before it is sent.
func (l *lineage) order(ctx context.Context, client *acme.Client, key crypto.Signer, target pin, early bool) (acme.Order, error) {
	if rec := l.state.Order; rec != nil && l.fits(rec, target) {
		order, err := client.Order(ctx, rec.URL)
		if err == nil {
			l.Log.Info("going on with an order", "certificate", l.config.Name, "order", rec.URL)
			return order, nil
		}
		if !errors.Is(err, acme.ErrOrderGone) {
			return acme.Order{}, err
		}
		l.Log.Warn("the order on record can't be gone on with, making a new one", "certificate", l.config.Name, "problem", err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: l.config.Domains}, key)
	if err != nil {
		return acme.Order{}, fmt.Errorf("certificate request: %w", err)
	}
	req := acme.OrderRequest{Domains: l.config.Domains, Profile: l.config.ACME.Profile}
	if c := l.state.Certificate; c != nil && c.Directory == l.config.ACME.Directory && l.stored != nil {
		req.Replace = l.stored.Leaf()
	}
	order, err := client.NewOrder(ctx, req)
	if err != nil {
		return acme.Order{}, err
	}
	return order, l.commit(func(s *plan.State) {
		s.Order = &plan.Order{
			Directory: l.config.ACME.Directory, URL: order.URL, Finalize: order.Finalize, CSR: csr,
			Pin: target, Domains: slices.Clone(l.config.Domains), Created: l.Now(), Early: early,
		}
	})
}

// fits says whether an order on record is still what the configuration asks for.
func (l *lineage) fits(rec *plan.Order, target pin) bool {
	age := l.Now().Sub(rec.Created)
	return rec.Directory == l.config.ACME.Directory &&
		slices.Equal(rec.Domains, l.config.Domains) &&
		rec.Pin == target &&
		age >= 0 && age < orderAge
}

// How long to leave a CA alone about its renewal window.
const (
	minAskAgain = time.Minute
	maxAskAgain = 24 * time.Hour
	askAgain    = 6 * time.Hour // when it does not say, has none, or did not answer
)

// askWindow asks the CA when it wants the certificate renewed. That it does not
// answer is no failure: the lifetime decides then.
func (l *lineage) askWindow(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, windowTime)
	defer cancel()
	client, err := l.client(ctx, l.config.ACME)
	var w acme.Window
	if err == nil {
		w, err = client.RenewalWindow(ctx, l.stored.Leaf())
	}
	switch {
	case ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded):
		return context.Cause(ctx)
	case errors.Is(err, acme.ErrNoRenewalInfo):
		w.RetryAfter = maxAskAgain
	case err != nil:
		l.Log.Warn("the CA's renewal window is not known, the lifetime decides", "certificate", l.config.Name, "problem", err)
	}
	again := askAgain
	if w.RetryAfter > 0 {
		again = min(max(w.RetryAfter, minAskAgain), maxAskAgain)
	}
	return l.commit(func(s *plan.State) {
		next := &plan.Window{Serial: s.Certificate.Serial, Asked: l.Now(), AskAgain: l.Now().Add(again)}
		switch {
		case err == nil:
			next.Start, next.End, next.Explanation = w.Start, w.End, w.Explanation
		case s.Window != nil && s.Window.Serial == next.Serial:
			// An answer that failed to come does not unsay the last one.
			next.Start, next.End, next.Explanation = s.Window.Start, s.Window.End, s.Window.Explanation
		}
		s.Window = next
	})
}
