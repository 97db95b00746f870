package keystore

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
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

// Bounds for what a CA sends. Public CAs send two to four certificates of some 2 KiB each,
// with RSA keys of up to 4096 bits. The bits are bounded since checking a signature takes
// time that grows with their square.
const (
	maxChain       = 10
	maxCertificate = 64 << 10 // bytes in DER
	maxSerial      = 20 * 8   // bits: RFC 5280 section 4.1.2.2
	minRSA, maxRSA = 2048, 8192
)

// CheckChain reads a certificate chain as a CA sends it (RFC 8555 section 9.1)
// and proves that it is what was wanted: it is for the wanted key, for exactly
// the wanted names, valid now, a server's certificate and not a CA's, and each
// certificate is signed by the next, and a client that trusts the last one would accept
// it (RFC 5280 section 6). The same check judges what comes from the network and what is
// read back from disk. It does not ask whether anybody trusts the last certificate:
// private CAs are welcome.
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
	if err := checkKeys(chain[1:]); err != nil {
		return nil, err
	}
	if err := checkLinks(chain); err != nil {
		return nil, err
	}
	if err := checkAsClient(chain, want.Now); err != nil {
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
			return nil, fmt.Errorf("the chain holds a PEM block of type %.100q, only CERTIFICATE belongs there", block.Type)
		}
		if len(chain) == maxChain {
			return nil, fmt.Errorf("the chain holds more than %d certificates", maxChain)
		}
		if len(block.Bytes) > maxCertificate {
			return nil, fmt.Errorf("certificate %d of the chain is %d bytes long, more than %d", len(chain)+1, len(block.Bytes), maxCertificate)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d of the chain: %q", len(chain)+1, err)
		}
		if bits := cert.SerialNumber.BitLen(); bits > maxSerial {
			return nil, fmt.Errorf("certificate %d of the chain has a serial number of %d bytes; more than 20 are not allowed", len(chain)+1, (bits+7)/8)
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

// checkKeys refuses issuers' keys that nobody uses, before any signature is checked.
func checkKeys(issuers Chain) error {
	for _, cert := range issuers {
		switch key := cert.PublicKey.(type) {
		case *rsa.PublicKey:
			if bits := key.N.BitLen(); bits < minRSA || bits > maxRSA {
				return fmt.Errorf("the issuer %q has an RSA key of %d bits, and %d to %d are accepted", cert.Subject, bits, minRSA, maxRSA)
			}
		case *ecdsa.PublicKey:
			if size := key.Curve.Params().BitSize; size < 256 {
				return fmt.Errorf("the issuer %q has a key on a curve of %d bits, and 256 are the least", cert.Subject, size)
			}
		case ed25519.PublicKey:
		default:
			return fmt.Errorf("the issuer %q has a key of a kind that is not known", cert.Subject)
		}
	}
	return nil
}

// checkAsClient verifies the chain as a client does that trusts its last certificate: by
// critical extensions, name constraints, path lengths and key usages.
func checkAsClient(chain Chain, now time.Time) error {
	last := len(chain) - 1
	o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now}
	o.Roots.AddCert(chain[last])
	for i, cert := range chain {
		if 0 < i && i < last {
			o.Intermediates.AddCert(cert)
		}
		if now.IsZero() && cert.NotBefore.After(o.CurrentTime) {
			o.CurrentTime = cert.NotBefore // the first instant at which all of them were valid
		}
	}
	if _, err := chain.Leaf().Verify(o); err != nil {
		return fmt.Errorf("clients would refuse the certificate: %q", err)
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
