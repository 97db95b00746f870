package apply

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ocsp"

	"keepkey/keystore"
	"keepkey/plan"
	"keepkey/probe"
)

// storedChain returns the chain that was accepted with a certificate that a server presents,
// or with the newest where that one is not there any more.
func (l *lineage) storedChain(presented []*x509.Certificate) keystore.Chain {
	for _, n := range []int{l.state.Version(plan.Serial(presented[0])), l.state.Certificate.Version} {
		if n == 0 {
			continue
		}
		if chain, err := l.store.Live.Chain(n); err == nil {
			return chain
		}
	}
	return nil
}

// chainProblem says why a client would not get from a server's certificate to its CA by what
// the server presents with it. A client trusts the system's roots, or the root of the chain
// that the CA issued: a private CA is as good as any.
func chainProblem(presented []*x509.Certificate, stored keystore.Chain, now time.Time) error {
	o := x509.VerifyOptions{Intermediates: x509.NewCertPool(), CurrentTime: now}
	for _, cert := range presented[1:] {
		o.Intermediates.AddCert(cert)
	}
	_, err := presented[0].Verify(o)
	if err == nil || len(stored) < 2 || !bytes.Equal(presented[0].RawIssuer, stored[1].RawSubject) {
		return err
	}
	var missing []string
	for _, cert := range stored[1:] {
		if !slices.ContainsFunc(presented, cert.Equal) && !selfSigned(cert) {
			missing = append(missing, fmt.Sprintf("%q", cert.Subject))
		}
	}
	if len(missing) > 0 {
		return errors.New("the server does not send " + strings.Join(missing, ", "))
	}
	o.Roots = x509.NewCertPool()
	o.Roots.AddCert(stored[len(stored)-1])
	_, err = presented[0].Verify(o)
	return err
}

// selfSigned reports whether a certificate is a root, which servers need not send.
func selfSigned(cert *x509.Certificate) bool { return bytes.Equal(cert.RawIssuer, cert.RawSubject) }

// stapleOf reads the OCSP response that a server presents, if it does.
func stapleOf(p probe.Presented) *plan.Staple {
	if len(p.Staple) == 0 {
		return nil
	}
	var issuer *x509.Certificate
	if len(p.Chain) > 1 {
		issuer = p.Chain[1]
	}
	r, err := ocsp.ParseResponseForCert(p.Staple, p.Chain[0], issuer)
	switch {
	case err != nil:
		return &plan.Staple{Problem: fmt.Errorf("it can't be read: %q", err)}
	case r.Status == ocsp.Revoked:
		return &plan.Staple{Revoked: r.RevokedAt}
	case r.Status != ocsp.Good:
		return &plan.Staple{Problem: errors.New("it says that the CA does not know the certificate")}
	}
	return &plan.Staple{Until: r.NextUpdate}
}
