package pinset

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
)

// A key made with openssl, and its pin as `openssl pkey -pubin -outform DER |
// openssl dgst -sha256 -binary | openssl base64` prints it.
const (
	opensslKey = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEKtDdfwMuiEzwBL0xwGLHCNay+5NB
dF6oJWujf3pcdxkIhAwAFE7lFoe2E3lT9sKwWVAefdwzFewKPLIIBay/3A==
-----END PUBLIC KEY-----`
	opensslPin = "4Nj2CdPsp49lnqPHrLUy3ZZVo965C2Lx53EFnBJUSY0="
)

func TestPinIsWhatOpenSSLComputes(t *testing.T) {
	t.Parallel()
	block, _ := pem.Decode([]byte(opensslKey))
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := Of(key); p.String() != opensslPin || err != nil {
		t.Errorf("got %s (%v), want %s", p, err, opensslPin)
	}
}

func TestPinHasTwoForms(t *testing.T) {
	t.Parallel()
	var p Pin
	for i := range p {
		p[i] = byte(i)
	}
	if got, err := Parse(p.String()); got != p || err != nil {
		t.Errorf("base64: %v, %v", got, err)
	}
	if got, err := ParseHex(p.Hex()); got != p || err != nil {
		t.Errorf("hex: %v, %v", got, err)
	}
	data, err := json.Marshal(map[string]Pin{"pin": p})
	if err != nil || string(data) != `{"pin":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}` {
		t.Errorf("JSON: %s, %v", data, err)
	}
	for _, bad := range []string{"", "AAEC", p.Hex(), p.String() + "\n", " " + p.String(), p.String()[:43] + "==", "sha256/" + p.String()} {
		if got, err := Parse(bad); err == nil {
			t.Errorf("%q is taken for %s", bad, got)
		}
	}
	for _, bad := range []string{"", "00", strings.ToUpper(p.Hex()), p.String(), p.Hex() + "0"} {
		if got, err := ParseHex(bad); err == nil {
			t.Errorf("%q is taken for %s", bad, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := Parse(s); err == nil && p.String() != s {
			t.Errorf("%q comes back as %q", s, p)
		}
	})
}
