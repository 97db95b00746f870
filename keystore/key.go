package keystore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"keepkey/internal/durable"
	"keepkey/pinset"
)

// KeyError says that a key can't be used as it is on disk. No other key is made
// or used in its place.
type KeyError struct {
	Lineage string
	Path    string
	Reason  string
	Err     error // what the system said, if anything
}

func (e *KeyError) Error() string {
	msg := fmt.Sprintf("key of %s: %s %s", e.Lineage, e.Path, e.Reason)
	if e.Err != nil {
		msg += ": " + e.Err.Error()
	}
	return msg
}

func (e *KeyError) Unwrap() error { return e.Err }

// CreateKey makes a new key and returns its pin once the key is durably on disk
// and has been read back.
func (l *Lineage) CreateKey(t pinset.KeyType) (pinset.Pin, error) {
	key, err := GenerateKey(t)
	if err != nil {
		return pinset.Pin{}, err
	}
	pin, err := pinset.Of(key.Public())
	if err != nil {
		return pinset.Pin{}, err
	}
	data, err := MarshalKey(key)
	if err != nil {
		return pinset.Pin{}, err
	}
	if err := l.ensureDirs(); err != nil {
		return pinset.Pin{}, err
	}
	if err := durable.Create(l.keyPath(pin), data, durable.Access{Mode: 0o600}); err != nil {
		return pinset.Pin{}, fmt.Errorf("storing a new key of %s: %w", l.name, err)
	}
	if _, err := l.Key(pin); err != nil {
		return pinset.Pin{}, err
	}
	return pin, nil
}

// Key reads a key and proves that it is the one with this pin. Every failure is
// a [*KeyError].
func (l *Lineage) Key(pin pinset.Pin) (crypto.Signer, error) {
	path := l.keyPath(pin)
	fail := func(reason string, err error) error {
		return &KeyError{Lineage: l.name, Path: path, Reason: reason, Err: err}
	}
	data, mode, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fail("is missing; restore it from a backup, no new key takes its place", nil)
	}
	if err != nil {
		return nil, fail("can't be read", err)
	}
	if mode.Perm()&0o077 != 0 {
		return nil, fail(fmt.Sprintf("can be read by others (mode %04o); if nobody did, run chmod 600 on it", mode.Perm()), nil)
	}
	key, err := ParseKey(data)
	if err != nil {
		return nil, fail("is damaged; restore it from a backup, no new key takes its place", err)
	}
	got, err := pinset.Of(key.Public())
	if err != nil {
		return nil, fail("is damaged", err)
	}
	if got != pin {
		return nil, fail(fmt.Sprintf("holds another key (pin %s) than its name says; restore it from a backup", got), nil)
	}
	return key, nil
}

// Keys returns the pins that key files are named after, sorted. It does not
// read the files.
func (l *Lineage) Keys() ([]pinset.Pin, error) {
	entries, err := os.ReadDir(filepath.Join(l.dir, "keys"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var pins []pinset.Pin
	for _, e := range entries {
		stem, isKey := strings.CutSuffix(e.Name(), ".pem")
		if !isKey {
			continue
		}
		pin, err := pinset.ParseHex(stem)
		if err != nil {
			continue
		}
		pins = append(pins, pin)
	}
	return pins, nil
}

func (l *Lineage) keyPath(pin pinset.Pin) string {
	return filepath.Join(l.dir, "keys", pin.Hex()+".pem")
}

// GenerateKey makes a key of the type.
func GenerateKey(t pinset.KeyType) (crypto.Signer, error) {
	switch t {
	case pinset.EC256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case pinset.EC384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case pinset.RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case pinset.RSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	case pinset.RSA4096:
		return rsa.GenerateKey(rand.Reader, 4096)
	}
	_, err := pinset.ParseKeyType(string(t))
	return nil, err
}

// MarshalKey writes a key as one PKCS #8 PEM block (RFC 5958, RFC 7468 section 10).
func MarshalKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// ParseKey reads what [MarshalKey] writes: one PEM block and nothing besides.
// Its errors never show any of the input.
func ParseKey(data []byte) (crypto.Signer, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" || len(strings.TrimSpace(string(rest))) != 0 {
		return nil, errors.New("not a single PEM block of type PRIVATE KEY")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("the PEM block does not hold a PKCS #8 private key")
	}
	signer, ok := key.(crypto.Signer)
	if !ok || pinset.TypeOf(signer.Public()) == "" {
		return nil, fmt.Errorf("a key of type %T is none that keepkey makes", key)
	}
	return signer, nil
}
