package acmetest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// Forgery is a chain of a CA that keeps to no rule: a root of its own, issuers below it, and
// a certificate. Each can be changed at will.
type Forgery struct {
	Root, Issuer, Leaf func(*x509.Certificate)
	Issuers            int              // between root and certificate; 0 means 1
	IssuerKey          crypto.PublicKey // in the last issuer's certificate, in place of its own
}

// Forge makes the chain for any key, in PEM. Without changes it is a good one, and so
// proves that what is refused is refused for the change.
func Forge(pub crypto.PublicKey, domains []string, f Forgery) ([]byte, error) {
	ca := func(name string) *x509.Certificate {
		return &x509.Certificate{
			Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, MaxPathLen: -1, KeyUsage: x509.KeyUsageCertSign,
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	root, err := sign(ca("Forged root"), nil, key.Public(), key, f.Root)
	if err != nil {
		return nil, err
	}
	chain, issuer := []*x509.Certificate{root}, root
	for n := range max(f.Issuers, 1) {
		next, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		public := crypto.PublicKey(next.Public())
		if f.IssuerKey != nil && n == max(f.Issuers, 1)-1 {
			public = f.IssuerKey
		}
		if issuer, err = sign(ca(fmt.Sprintf("Forged issuer %d", n)), issuer, public, key, f.Issuer); err != nil {
			return nil, err
		}
		chain, key = append(chain, issuer), next
	}
	parent := *issuer
	parent.PublicKey = key.Public() // whatever its certificate says
	leaf, err := sign(&x509.Certificate{
		DNSNames: domains, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}, &parent, pub, key, f.Leaf)
	if err != nil {
		return nil, err
	}
	chain = append(chain, leaf)
	slices.Reverse(chain)
	var all bytes.Buffer
	for _, cert := range chain {
		if err := pem.Encode(&all, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}); err != nil {
			return nil, err
		}
	}
	return all.Bytes(), nil
}

// sign makes a certificate; without a parent it is signed by itself.
func sign(template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer, change func(*x509.Certificate)) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template.SerialNumber, template.NotBefore, template.NotAfter = serial, now.Add(-time.Hour), now.Add(90*24*time.Hour)
	if change != nil {
		change(template)
	}
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
