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
	ctx, cancel := context.WithTimeoutCause(ctx, revokeTime, fmt.Errorf("the CA did not answer within %s", revokeTime))
	defer cancel()
	if err := l.revokeNow(ctx, a); err != nil {
		return fmt.Errorf("certificate version %d (serial %s), whose key is compromised, is not revoked; the next run tries again: %w", a.Version, a.Target, err)
	}
	return l.commit(func(s *plan.State) { s.MarkRevoked(a.Target, l.Now()) })
}

func (l *lineage) revokeNow(ctx context.Context, a plan.Action) error {
	i := slices.IndexFunc(l.state.Issued, func(c plan.Issued) bool { return c.Serial == a.Target })
	if i < 0 {
		return errors.New("it is not on record")
	}
	issued := l.state.Issued[i]
	cert, err := l.store.Certificate(a.Version)
	if err != nil {
		return err
	}
	if serial := fmt.Sprintf("%x", cert.SerialNumber); serial != issued.Serial {
		return fmt.Errorf("the stored certificate has the serial %s", serial)
	}
	ca := l.config.ACME
	if ca.Directory != issued.Directory {
		// Signed with the certificate's key, no account there is needed.
		ca = config.ACME{Directory: issued.Directory, CABundle: ca.CABundle, AcceptTerms: ca.AcceptTerms, Email: ca.Email}
	}
	client, err := l.client(ctx, ca)
	if err != nil {
		return err
	}
	key, err := l.store.Key(issued.Pin)
	if err != nil {
		l.Log.Warn("revoking with the account's signature instead of the key's", "certificate", l.config.Name, "problem", err)
	}
	return client.RevokeCompromised(ctx, cert.Raw, key)
}
