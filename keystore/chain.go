package keystore

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"keepkey/pinset"
)

// Want is what a certificate must be before keepkey lets it near a server.
type Want struct {
	Pin     pinset.Pin // of the key that the certificate must be for
	Domains []string   // its names, exactly these
	Now     time.Time  // an instant that its validity must include; zero asks for none
}

// Chain is a certificate that passed [CheckChain]: the leaf first, then each
// certificate's issuer.
type Chain []*x509.Certificate

// Leaf returns the server's certificate.
func (c Chain) Leaf() *x509.Certificate { return c[0] }

// PEM writes certificates as PEM blocks (RFC 7468 section 5).
func (c Chain) PEM() []byte {
	var b bytes.Buffer
	for _, cert := range c {
		pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}) // a bytes.Buffer takes everything
	}
	return b.Bytes()
}

// maxChain bounds a chain: public CAs send two to four certificates.
const maxChain = 10

// CheckChain reads a certificate chain as a CA sends it (RFC 8555 section 9.1)
// and proves that it is what was wanted: it is for the wanted key, for exactly
// the wanted names, valid now, a server's certificate and not a CA's, and each
// certificate is signed by the next. The same check judges what comes from the
// network and what is read back from disk. It does not ask whether anybody
// trusts the last certificate: private CAs are welcome.
func CheckChain(data []byte, want Want) (Chain, error) {
	chain, err := parseChain(data)
	if err != nil {
		return nil, err
	}
	leaf := chain.Leaf()
	if got := pinset.OfCertificate(leaf); got != want.Pin {
		return nil, fmt.Errorf("the certificate is for another key: its pin is %s, wanted %s", got, want.Pin)
	}
	if err := checkNames(leaf, want.Domains); err != nil {
		return nil, err
	}
	for _, cert := range chain {
		if err := checkValidity(cert, want.Now); err != nil {
			return nil, err
		}
	}
	if err := checkServer(leaf); err != nil {
		return nil, err
	}
	if err := checkLinks(chain); err != nil {
		return nil, err
	}
	return chain, nil
}

func parseChain(data []byte) (Chain, error) {
	var chain Chain
	for len(bytes.TrimSpace(data)) > 0 {
		if !bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN ")) {
			return nil, fmt.Errorf("not a certificate chain in PEM: %s", quoteStart(data))
		}
		block, rest := pem.Decode(data)
		if block == nil {
			return nil, fmt.Errorf("not a certificate chain in PEM: %s", quoteStart(data))
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("the chain holds a PEM block of type %q, only CERTIFICATE belongs there", block.Type)
		}
		if len(chain) == maxChain {
			return nil, fmt.Errorf("the chain holds more than %d certificates", maxChain)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d of the chain: %q", len(chain)+1, err)
		}
		chain = append(chain, cert)
		data = rest
	}
	switch len(chain) {
	case 0:
		return nil, errors.New("the certificate chain is empty")
	case 1:
		return nil, errors.New("the chain holds a certificate without its issuer; clients could not verify it")
	}
	return chain, nil
}

func quoteStart(data []byte) string {
	const shown = 60
	if len(data) > shown {
		return fmt.Sprintf("it begins with %q", data[:shown])
	}
	return fmt.Sprintf("%q", data)
}

func checkNames(leaf *x509.Certificate, domains []string) error {
	want := slices.Sorted(slices.Values(domains))
	var got []string
	for _, name := range leaf.DNSNames {
		got = append(got, strings.ToLower(name))
	}
	slices.Sort(got)
	others := len(leaf.IPAddresses) + len(leaf.EmailAddresses) + len(leaf.URIs)
	if !slices.Equal(slices.Compact(got), slices.Compact(want)) || others != 0 {
		return fmt.Errorf("the certificate is for other names: it has %q and %d that are not domain names, wanted %q", got, others, want)
	}
	return nil
}

func checkValidity(cert *x509.Certificate, now time.Time) error {
	if now.IsZero() {
		return nil
	}
	who := "the certificate"
	if cert.IsCA {
		who = fmt.Sprintf("the issuer %q", cert.Subject)
	}
	switch {
	case now.Before(cert.NotBefore):
		return fmt.Errorf("%s is valid from %s, and this machine's clock says %s: look at the clock",
			who, cert.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case now.After(cert.NotAfter):
		return fmt.Errorf("%s expired at %s, and this machine's clock says %s",
			who, cert.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

func checkServer(leaf *x509.Certificate) error {
	if leaf.IsCA {
		return errors.New("the first certificate is a CA's, not a server's")
	}
	if !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) {
		return errors.New("the certificate is not for servers: its extended key usage lacks serverAuth")
	}
	return nil
}

func checkLinks(chain Chain) error {
	for i, cert := range chain[:len(chain)-1] {
		issuer := chain[i+1]
		if !bytes.Equal(cert.RawIssuer, issuer.RawSubject) {
			return fmt.Errorf("the chain does not link up: certificate %d was issued by %q, and next comes %q", i+1, cert.Issuer, issuer.Subject)
		}
		if !issuer.IsCA {
			return fmt.Errorf("the chain does not link up: certificate %d, %q, is not a CA's", i+2, issuer.Subject)
		}
		if err := cert.CheckSignatureFrom(issuer); err != nil {
			return fmt.Errorf("the chain does not link up: certificate %d is not signed by the next: %w", i+1, err)
		}
	}
	return nil
}
