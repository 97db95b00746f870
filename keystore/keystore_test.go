package keystore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keepkey/pinset"
)

func openStore(t *testing.T) *Store {
	t.Helper()
	s, err := OpenLocked(filepath.Join(t.TempDir(), "state"), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newLineage(t *testing.T) *Lineage {
	t.Helper()
	l, err := openStore(t).Lineage("api.example.com")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// testCA issues what no honest CA would.
type testCA struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newTestCA(t *testing.T, name string) testCA {
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

func (ca testCA) issue(t *testing.T, pub crypto.PublicKey, change func(*x509.Certificate)) *x509.Certificate {
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

	tests := []struct {
		name string
		pem  []byte
		want string // part of the error; "" accepts
	}{
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

func TestKeyComesBackUnderItsPin(t *testing.T) {
	t.Parallel()
	for _, kt := range pinset.KeyTypes() {
		t.Run(string(kt), func(t *testing.T) {
			t.Parallel()
			l := newLineage(t)
			pin, err := l.CreateKey(kt)
			if err != nil {
				t.Fatal(err)
			}
			key, err := l.Key(pin)
			if err != nil {
				t.Fatal(err)
			}
			if got := pinset.TypeOf(key.Public()); got != kt {
				t.Errorf("the key is of type %s", got)
			}
			info, err := os.Stat(l.keyPath(pin))
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != 0o600 {
				t.Errorf("the key file has mode %04o", info.Mode().Perm())
			}
		})
	}
}

// Whatever happened to a key file, the answer is an error: never another key,
// never a change of the file (I2, I10).
func TestDamagedKeyIsNeverReplaced(t *testing.T) {
	t.Parallel()
	other, err := GenerateKey(pinset.EC256)
	if err != nil {
		t.Fatal(err)
	}
	otherPEM, err := MarshalKey(other)
	if err != nil {
		t.Fatal(err)
	}
	damages := map[string]struct {
		do   func(path string) error
		want string
	}{
		"missing":                {os.Remove, "is missing"},
		"empty":                  {func(p string) error { return os.Truncate(p, 0) }, "is damaged"},
		"cut short":              {func(p string) error { return os.Truncate(p, 100) }, "is damaged"},
		"garbage":                {func(p string) error { return os.WriteFile(p, []byte("garbage"), 0o600) }, "is damaged"},
		"another key":            {func(p string) error { return os.WriteFile(p, otherPEM, 0o600) }, "another key"},
		"readable by others":     {func(p string) error { return os.Chmod(p, 0o644) }, "can be read by others"},
		"a symbolic link":        {func(p string) error { return errors.Join(os.Rename(p, p+".real"), os.Symlink(p+".real", p)) }, "can't be read"},
		"a directory":            {func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) }, "can't be read"},
		"larger than any key":    {func(p string) error { return os.Truncate(p, 2<<20) }, "can't be read"},
		"two keys in one file":   {func(p string) error { return appendTo(p, otherPEM) }, "is damaged"},
		"a comment after it all": {func(p string) error { return appendTo(p, []byte("# mine\n")) }, "is damaged"},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLineage(t)
			pin, err := l.CreateKey(pinset.EC256)
			if err != nil {
				t.Fatal(err)
			}
			if err := damage.do(l.keyPath(pin)); err != nil {
				t.Fatal(err)
			}
			before := snapshot(t, l.dir)
			_, err = l.Key(pin)
			var keyErr *KeyError
			if !errors.As(err, &keyErr) || !strings.Contains(err.Error(), damage.want) {
				t.Fatalf("error %v, want a KeyError that says %q", err, damage.want)
			}
			if !strings.Contains(err.Error(), "api.example.com") || strings.Contains(err.Error(), "BEGIN") {
				t.Errorf("the error must name the lineage and show no key: %v", err)
			}
			if after := snapshot(t, l.dir); after != before {
				t.Errorf("the directory changed:\n%s\n%s", before, after)
			}
		})
	}
}

func appendTo(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// snapshot describes every file below dir: names, modes, times and content.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		b.WriteString(path + " " + info.Mode().String() + " " + info.ModTime().String())
		if info.Mode().IsRegular() && info.Size() < 1<<20 {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			b.Write(data)
		}
		b.WriteString("\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// addVersion stores a certificate for a new key of the lineage.
func addVersion(t *testing.T, l *Lineage) (int, Want) {
	t.Helper()
	pin, err := l.CreateKey(pinset.EC256)
	if err != nil {
		t.Fatal(err)
	}
	key, err := l.Key(pin)
	if err != nil {
		t.Fatal(err)
	}
	ca := newTestCA(t, "CA")
	want := Want{Pin: pin, Domains: []string{"api.example.com", "www.example.com"}, Now: testNow}
	chain, err := CheckChain(Chain{ca.issue(t, key.Public(), nil), ca.cert}.PEM(), want)
	if err != nil {
		t.Fatal(err)
	}
	n, err := l.AddVersion(chain)
	if err != nil {
		t.Fatal(err)
	}
	return n, want
}

func TestVersionsAreNumberedAndSwitched(t *testing.T) {
	t.Parallel()
	l := newLineage(t)
	if n, err := l.Live(); n != 0 || err != nil {
		t.Errorf("before anything is live: %d, %v", n, err)
	}
	for want := 1; want <= 3; want++ {
		n, wanted := addVersion(t, l)
		if n != want {
			t.Errorf("version %d, want %d", n, want)
		}
		if err := l.Switch(n); err != nil {
			t.Fatal(err)
		}
		if live, err := l.Live(); live != n || err != nil {
			t.Errorf("live is %d (%v), want %d", live, err, n)
		}
		if _, err := l.Version(n, wanted); err != nil {
			t.Error(err)
		}
	}
}

func TestLiveFilesAreCertbotsAndMore(t *testing.T) {
	t.Parallel()
	l := newLineage(t)
	n, _ := addVersion(t, l)
	if err := l.Switch(n); err != nil {
		t.Fatal(err)
	}
	get := func(name string) string {
		data, err := os.ReadFile(filepath.Join(l.LiveDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if get("fullchain.pem") != get("cert.pem")+get("chain.pem") {
		t.Error("fullchain.pem is not cert.pem and chain.pem")
	}
	if get("combined.pem") != get("privkey.pem")+get("fullchain.pem") {
		t.Error("combined.pem is not privkey.pem and fullchain.pem")
	}
	for name, want := range map[string]fs.FileMode{"cert.pem": 0o644, "privkey.pem": 0o600, "combined.pem": 0o600} {
		info, err := os.Stat(filepath.Join(l.LiveDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %04o, want %04o", name, info.Mode().Perm(), want)
		}
	}
}

func TestLiveThatIsNotOursIsAnError(t *testing.T) {
	t.Parallel()
	for name, put := range map[string]func(path string) error{
		"a directory":             func(p string) error { return os.Mkdir(p, 0o700) },
		"a file":                  func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"outside the lineage":     func(p string) error { return os.Symlink("/etc/ssl", p) },
		"up and away":             func(p string) error { return os.Symlink("certs/../../x", p) },
		"a version with a prefix": func(p string) error { return os.Symlink("certs/01", p) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLineage(t)
			addVersion(t, l)
			if err := put(l.LiveDir()); err != nil {
				t.Fatal(err)
			}
			if n, err := l.Live(); err == nil {
				t.Errorf("taken for version %d", n)
			}
		})
	}
}

func TestStateIsSwappedOnlyAgainstWhatWasRead(t *testing.T) {
	t.Parallel()
	l := newLineage(t)
	if _, _, err := l.State(); !errors.Is(err, ErrNoState) {
		t.Fatalf("before the first: %v", err)
	}
	first, err := l.SwapState("", []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.SwapState("", []byte("two")); !errors.Is(err, ErrConflict) {
		t.Errorf("a swap that expects no state says %v", err)
	}
	if _, err := l.SwapState(first, []byte("two")); err != nil {
		t.Fatal(err)
	}
	if _, err := l.SwapState(first, []byte("three")); !errors.Is(err, ErrConflict) {
		t.Errorf("a swap against an old revision says %v", err)
	}
	if data, _, err := l.State(); string(data) != "two" || err != nil {
		t.Errorf("the state is %q (%v)", data, err)
	}
}

func TestNamesNeverBecomePathsUnescaped(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	for _, name := range []string{"", ".", "..", "../x", "a/b", "a\x00b", "A", "-x", ".hidden", strings.Repeat("a", 201), "a b", "a\n"} {
		if _, err := s.Lineage(name); err == nil {
			t.Errorf("%q names a lineage", name)
		}
	}
}

func TestSecondProcessIsTurnedAway(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	var locked *LockedError
	if _, err := OpenLocked(s.Dir(), ""); !errors.As(err, &locked) || locked.PID != os.Getpid() {
		t.Errorf("error %v, want a LockedError with PID %d", err, os.Getpid())
	}
}

func TestStateDirectoryThatOthersCanWriteIsRefused(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o770); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLocked(dir, ""); err == nil || !strings.Contains(err.Error(), "chmod go-w") {
		t.Errorf("error %v, want one that says what to do", err)
	}
}

func FuzzParseKey(f *testing.F) {
	key, err := GenerateKey(pinset.EC256)
	if err != nil {
		f.Fatal(err)
	}
	good, err := MarshalKey(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := ParseKey(data)
		if err == nil && pinset.TypeOf(key.Public()) == "" {
			t.Error("a key of no known type was accepted")
		}
	})
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
