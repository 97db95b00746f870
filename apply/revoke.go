package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"keepkey/config"
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
	ca := l.cert.ACME
	if ca.Directory != issued.Directory {
		// Signed with the certificate's key, no account there is needed.
		ca = config.ACME{Directory: issued.Directory, CABundle: ca.CABundle, AcceptTerms: ca.AcceptTerms, Email: ca.Email}
	}
	client, err := l.client(ctx, ca)
	if err != nil {
		return err
	}
	key, err := l.store.Keys.Signer(issued.Pin)
	if err != nil {
		l.log.Warn("revoking with the account's signature instead of the key's", "problem", err)
	}
	return client.RevokeCompromised(ctx, cert.Raw, key)
}
