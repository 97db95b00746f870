package pinset

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
)

// Pin is the SHA-256 hash of a key's SubjectPublicKeyInfo (RFC 7469 section 2.4).
type Pin [sha256.Size]byte

// Of returns the pin of a public key. It fails only for key types that
// crypto/x509 cannot marshal.
func Of(pub crypto.PublicKey) (Pin, error) {
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return Pin{}, fmt.Errorf("public key has no SubjectPublicKeyInfo: %w", err)
	}
	return sha256.Sum256(spki), nil
}

// OfCertificate returns the pin of a certificate's key, over the bytes of the
// SubjectPublicKeyInfo exactly as they stand in the certificate.
func OfCertificate(c *x509.Certificate) Pin {
	return sha256.Sum256(c.RawSubjectPublicKeyInfo)
}

// String returns the pin in base64, the form that apps and `openssl` print.
func (p Pin) String() string { return base64.StdEncoding.EncodeToString(p[:]) }

// Hex returns the pin in lower-case hexadecimal, the form of TLSA records
// (RFC 6698) and of keepkey's key file names.
func (p Pin) Hex() string { return hex.EncodeToString(p[:]) }

// IsZero reports whether the pin was never set.
func (p Pin) IsZero() bool { return p == Pin{} }

// Parse reads a pin in base64. It accepts nothing but the 44 characters that
// [Pin.String] writes.
func Parse(s string) (Pin, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	// The decoder ignores line ends and unused bits; the comparison does not.
	if err != nil || len(b) != sha256.Size || base64.StdEncoding.EncodeToString(b) != s {
		return Pin{}, fmt.Errorf("%.100q is not a pin: want base64 of a SHA-256 hash, 44 characters", s)
	}
	return Pin(b), nil
}

// ParseHex reads a pin in lower-case hexadecimal, as key files are named.
func ParseHex(s string) (Pin, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != sha256.Size || hex.EncodeToString(b) != s {
		return Pin{}, fmt.Errorf("%.100q is not a pin: want a SHA-256 hash in lower-case hex, 64 characters", s)
	}
	return Pin(b), nil
}

// MarshalText implements [encoding.TextMarshaler] with the base64 form.
func (p Pin) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler] by [Parse].
func (p *Pin) UnmarshalText(text []byte) error {
	pin, err := Parse(string(text))
	if err != nil {
		return err
	}
	*p = pin
	return nil
}
