package keystore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"keepkey/pinset"
)

// testCA issues what no honest CA would.
type testCA struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newTestCA(t testing.TB, name string) testCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: testNow.Add(-365 * day), NotAfter: testNow.Add(3650 * day),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return testCA{cert, key}
}

func (ca testCA) issue(t testing.TB, pub crypto.PublicKey, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{"api.example.com", "www.example.com"},
		NotBefore: testNow.Add(-day), NotAfter: testNow.Add(89 * day),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, pub, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

const day = 24 * time.Hour

var testNow = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func TestCheckChainAcceptsOnlyWhatWasWanted(t *testing.T) {
	t.Parallel()
	ca, otherCA := newTestCA(t, "CA"), newTestCA(t, "CA") // the same name, another key
	stranger := newTestCA(t, "Stranger")
	key, err := GenerateKey(pinset.EC256)
	if err != nil {
		t.Fatal(err)
	}
	pin, err := pinset.Of(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	good := ca.issue(t, key.Public(), nil)
	with := func(change func(*x509.Certificate)) []byte {
		return Chain{ca.issue(t, key.Public(), change), ca.cert}.PEM()
	}
	wrongKey, err := GenerateKey(pinset.EC256)
	if err != nil {
		t.Fatal(err)
	}
	keyBlock, err := MarshalKey(wrongKey)
	if err != nil {
		t.Fatal(err)
	}
	goodPEM := Chain{good, ca.cert}.PEM()
	notCA := testCA{ca.issue(t, wrongKey.Public(), func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "no CA"} }), wrongKey}

	// under is what an issuer of its own issues, which the CA made.
	under := func(change func(*x509.Certificate)) []byte {
		issuer := testCA{ca.issue(t, wrongKey.Public(), func(c *x509.Certificate) {
			c.Subject, c.IsCA, c.DNSNames, c.KeyUsage, c.ExtKeyUsage = pkix.Name{CommonName: "Issuer"}, true, nil, x509.KeyUsageCertSign, nil
			change(c)
		}), wrongKey}
		return Chain{issuer.issue(t, key.Public(), nil), issuer.cert, ca.cert}.PEM()
	}
	rsaIssuer := func(bits uint) []byte {
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		issuer := ca.issue(t, &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537}, func(c *x509.Certificate) { c.Subject, c.IsCA = ca.cert.Subject, true })
		return Chain{good, issuer}.PEM()
	}
	critical := func(size int) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3, 4}, Critical: true, Value: make([]byte, size)}}
		}
	}
	serial := func(bytes uint) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 8*bytes-2) }
	}

	tests := []struct {
		name string
		pem  []byte
		want string // part of the error; "" accepts
	}{
		{"an issuer between", under(func(*x509.Certificate) {}), ""},
		{"a serial number of 20 bytes", with(serial(20)), ""},
		{"a serial number of 21 bytes", with(serial(21)), "a serial number of 21 bytes"},
		{"a serial number of an issuer", under(serial(180_000)), "certificate 2 of the chain"},
		{"a huge certificate", with(critical(maxCertificate)), "bytes long, more than 65536"},
		{"a critical extension that nobody knows", with(critical(1)), "clients would refuse the certificate: \"x509: unhandled critical extension\""},
		{"names that the issuer may not have", under(func(c *x509.Certificate) {
			c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"example.org"}
		}), "clients would refuse"},
		{"an issuer that may not issue certificates", under(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }), "does not link up"},
		{"an issuer for clients only", under(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), "clients would refuse"},
		{"a small RSA key", rsaIssuer(1024), "an RSA key of 1024 bits"},
		{"a giant RSA key", rsaIssuer(1 << 18), "an RSA key of 262144 bits"},
		{"a good chain", goodPEM, ""},
		{"names in another order and case", with(func(c *x509.Certificate) { c.DNSNames = []string{"WWW.example.com", "api.example.com"} }), ""},
		{"blank lines around the blocks", []byte("\n\n" + string(goodPEM) + "\r\n\n"), ""},
		{"nothing", nil, "empty"},
		{"HTML", []byte("<html>\x1b[31mit works</html>"), `not a certificate chain in PEM`},
		{"text before the certificate", append([]byte("hello\n"), goodPEM...), "not a certificate chain"},
		{"text after the certificate", append(goodPEM[:len(goodPEM):len(goodPEM)], "hello"...), "not a certificate chain"},
		{"garbage in a block", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), "certificate 1"},
		{"a private key among the certificates", append(goodPEM[:len(goodPEM):len(goodPEM)], keyBlock...), `"PRIVATE KEY"`},
		{"no issuer", Chain{good}.PEM(), "without its issuer"},
		{"eleven certificates", Chain{good, ca.cert, ca.cert, ca.cert, ca.cert, ca.cert, ca.cert, ca.cert, ca.cert, ca.cert, ca.cert}.PEM(), "more than 10"},
		{"another key", Chain{ca.issue(t, wrongKey.Public(), nil), ca.cert}.PEM(), "another key"},
		{"a name is missing", with(func(c *x509.Certificate) { c.DNSNames = c.DNSNames[:1] }), "other names"},
		{"a name too many", with(func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, "evil.example.com") }), "other names"},
		{"an address too many", with(func(c *x509.Certificate) { c.EmailAddresses = []string{"a@example.com"} }), "other names"},
		{"expired", with(func(c *x509.Certificate) { c.NotAfter = testNow.Add(-time.Second) }), "expired"},
		{"not valid yet", with(func(c *x509.Certificate) { c.NotBefore = testNow.Add(time.Minute) }), "look at the clock"},
		{"a CA's certificate", with(func(c *x509.Certificate) { c.IsCA = true }), "is a CA's"},
		{"for clients only", with(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), "serverAuth"},
		{"no extended key usage", with(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), "serverAuth"},
		{"the issuer is somebody else", Chain{good, stranger.cert}.PEM(), "does not link up"},
		{"the issuer has the name but not the key", Chain{good, otherCA.cert}.PEM(), "not signed by the next"},
		{"the issuer is no CA", Chain{notCA.issue(t, key.Public(), nil), notCA.cert, ca.cert}.PEM(), "is not a CA's"},
		{"two leaves", Chain{good, good, ca.cert}.PEM(), "does not link up"},
		{"the wrong order", Chain{ca.cert, good}.PEM(), "another key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := CheckChain(tt.pem, Want{Pin: pin, Domains: []string{"www.example.com", "api.example.com"}, Now: testNow})
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error %v, want one that says %q", err, tt.want)
			case err != nil && strings.ContainsAny(err.Error(), "\x1b\n"):
				t.Errorf("the error carries control characters: %q", err)
			}
		})
	}
}

func FuzzCheckChain(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("<html>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := CheckChain(data, Want{Domains: []string{"a.example"}}); err == nil {
			t.Error("a certificate for the zero pin was accepted")
		}
	})
}
