package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"keepkey/acme"
	"keepkey/config"
	"keepkey/keystore"
	"keepkey/plan"
)

// revokeTime bounds the revocation of one certificate.
const revokeTime = 2 * time.Minute

// revoke has a CA revoke a stored certificate, because its key is compromised. The
// request is signed with that key, if it still can be read.
func (l *lineage) revoke(ctx context.Context, a plan.Action) error {
	limited, cancel := context.WithTimeoutCause(ctx, revokeTime, fmt.Errorf("the CA did not answer within %s", revokeTime))
	defer cancel()
	if err := l.revokeNow(limited, a); err != nil {
		return err
	}
	return l.commit(ctx, a, plan.Result{})
}

// caAt is the CA at a directory, which the configuration may not name any more.
func (l *lineage) caAt(directory string) config.ACME {
	ca := l.cert.ACME
	if ca.Directory != directory {
		ca = config.ACME{Directory: directory, CABundle: ca.CABundle, AcceptTerms: ca.AcceptTerms, Email: ca.Email}
	}
	return ca
}

// collect fetches the certificate of an order whose key became compromised before the
// certificate was stored, so that it can be revoked.
func (l *lineage) collect(ctx context.Context, a plan.Action) error {
	limited, cancel := context.WithTimeoutCause(ctx, revokeTime, fmt.Errorf("the CA did not answer within %s", revokeTime))
	defer cancel()
	rec, _ := l.state.Order(a.Pin)
	client, err := l.client(limited, l.caAt(rec.Directory))
	if err != nil {
		return err
	}
	order, err := client.Order(limited, rec.URL)
	if errors.Is(err, acme.ErrOrderGone) || (err == nil && !order.Finalized()) {
		return l.commit(ctx, a, plan.Result{}) // nothing was issued
	}
	if err != nil {
		return err
	}
	if order, err = client.Finalize(limited, order, rec.CSR); err != nil {
		return err
	}
	data, err := client.Certificate(limited, order, "")
	if err != nil {
		return err
	}
	chain, err := keystore.CheckChain(data, keystore.Want{Pin: a.Pin, Domains: rec.Domains, Now: l.Now()})
	if err != nil {
		return &rejectedError{err}
	}
	key, err := l.store.Keys.Signer(a.Pin)
	if err != nil {
		return err
	}
	c, err := l.stored(chain, key, rec.Domains, rec.Directory)
	if err != nil {
		return err
	}
	return l.commit(ctx, a, plan.Result{Certificate: c})
}

func (l *lineage) revokeNow(ctx context.Context, a plan.Action) error {
	i := slices.IndexFunc(l.state.Issued, func(c plan.Issued) bool { return c.Serial == a.Target })
	if i < 0 {
		return errors.New("it is not on record")
	}
	issued := l.state.Issued[i]
	chain, err := l.store.Live.Chain(a.Version)
	if err != nil {
		return err
	}
	cert := chain.Leaf()
	if serial := fmt.Sprintf("%x", cert.SerialNumber); serial != issued.Serial {
		return fmt.Errorf("the stored certificate has the serial %s", serial)
	}
	client, err := l.client(ctx, l.caAt(issued.Directory)) // signed with the certificate's key, no account there is needed
	if err != nil {
		return err
	}
	key, err := l.store.Keys.Signer(issued.Pin)
	if err != nil {
		l.log.Warn("revoking with the account's signature instead of the key's", "problem", err)
	}
	return client.RevokeCompromised(ctx, cert.Raw, key)
}
