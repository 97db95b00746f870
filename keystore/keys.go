package keystore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"keepkey/internal/durable"
	"keepkey/pinset"
)

// Keys are the private keys of a lineage, each in a file named after its pin. Nothing
// here removes or replaces one.
type Keys struct{ *place }

// KeyError says that a key cannot be used as it is on disk. No other key is made
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

// Create makes a new key and returns its pin once the key is durably on disk
// and has been read back.
func (k *Keys) Create(t pinset.KeyType) (pinset.Pin, error) {
	key, err := GenerateKey(t)
	if err != nil {
		return pinset.Pin{}, err
	}
	return k.Adopt(key)
}

// Adopt stores a key that was made elsewhere, and returns its pin once the key is
// durably on disk and has been read back. A key that is there already is no error; if
// something else is under its name, that is a [*KeyError], and stays as it is. A key
// of a type that keepkey does not make is refused.
//
//	lstat(path)
//	durable.Create(path)          if it is missing
//	fsync(dir)                    if it is there: a process that died may just have made it
func (k *Keys) Adopt(key crypto.Signer) (pinset.Pin, error) {
	data, err := MarshalKey(key)
	if err != nil {
		return pinset.Pin{}, fmt.Errorf("storing a key of %s: %w", k.name, err)
	}
	// What could not be read again is not stored.
	if key, err = ParseKey(data); err != nil {
		return pinset.Pin{}, fmt.Errorf("storing a key of %s: %w", k.name, err)
	}
	pin, err := pinset.Of(key.Public())
	if err != nil {
		return pinset.Pin{}, fmt.Errorf("storing a key of %s: %w", k.name, err)
	}
	if err := k.ensure("keys", private); err != nil {
		return pinset.Pin{}, err
	}
	if _, err = os.Lstat(k.path(pin)); errors.Is(err, fs.ErrNotExist) {
		err = durable.Create(k.path(pin), data, secret)
	} else if err == nil {
		err = durable.SyncDir(k.dir + "/keys")
	}
	if err := k.store.wrote(err); err != nil {
		return pinset.Pin{}, fmt.Errorf("storing a key of %s: %w", k.name, err)
	}
	return pin, k.Check(pin)
}

// Check proves that the key with this pin is there and can be used: its file holds the
// key that its name says, and nobody else can read it. Every failure is a [*KeyError].
// Use it wherever the key itself is not needed: once keys can be sealed, Check will not
// unseal them.
func (k *Keys) Check(pin pinset.Pin) error {
	_, err := k.Signer(pin)
	return err
}

// Digest proves what [Keys.Check] does, and returns the SHA-256 hash of the key's file,
// in hex. Whoever keeps it can tell by [Keys.Verify] that the file still is that one.
func (k *Keys) Digest(pin pinset.Pin) (string, error) {
	if err := k.Check(pin); err != nil {
		return "", err
	}
	data, err := k.read(pin)
	if err != nil {
		return "", err
	}
	return digestOf(data), nil
}

// Verify proves what [Keys.Check] does by the digest of the file that was proved once,
// which takes no opening of the key. A file that is another one, such as one that was
// restored and written in another way, is opened. Every failure is a [*KeyError].
func (k *Keys) Verify(pin pinset.Pin, digest string) error {
	data, err := k.read(pin)
	if err != nil {
		return err
	}
	if digestOf(data) == digest {
		return nil
	}
	return k.Check(pin)
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Signer opens the key with this pin, after proving what [Keys.Check] does. Every
// failure is a [*KeyError].
func (k *Keys) Signer(pin pinset.Pin) (crypto.Signer, error) {
	fail := func(reason string, err error) error { return k.fail(pin, reason, err) }
	data, err := k.read(pin)
	if err != nil {
		return nil, err
	}
	key, err := ParseKey(data)
	if err != nil {
		return nil, fail("is damaged", err)
	}
	got, err := pinset.Of(key.Public())
	if err != nil {
		return nil, fail("is damaged", err)
	}
	if got != pin {
		return nil, fail(fmt.Sprintf("holds another key (pin %s) than its name says", got), nil)
	}
	return key, nil
}

func (k *Keys) fail(pin pinset.Pin, reason string, err error) error {
	return &KeyError{Lineage: k.name, Path: k.path(pin), Reason: reason, Err: err}
}

// read reads a key's file, which must be nobody else's to read.
func (k *Keys) read(pin pinset.Pin) ([]byte, error) {
	data, mode, err := readFile(k.path(pin), maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, k.fail(pin, "is missing", nil)
	}
	if err != nil {
		return nil, k.fail(pin, "cannot be read", err)
	}
	if mode&0o077 != 0 {
		return nil, k.fail(pin, fmt.Sprintf("can be read by others (mode %04o); if nobody did, run chmod 600 on it", mode), nil)
	}
	return data, nil
}

// List returns the pins that key files are named after, sorted. It does not
// read the files.
func (k *Keys) List() ([]pinset.Pin, error) {
	entries, err := os.ReadDir(k.dir + "/keys")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("keys of %s: %w", k.name, err)
	}
	var pins []pinset.Pin
	for _, e := range entries {
		name, isKey := strings.CutSuffix(e.Name(), ".pem")
		if pin, err := pinset.ParseHex(name); isKey && err == nil {
			pins = append(pins, pin)
		}
	}
	return pins, nil
}

func (k *Keys) path(pin pinset.Pin) string { return k.dir + "/keys/" + pin.Hex() + ".pem" }

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

// ParseKey reads what [MarshalKey] writes: one PEM block and nothing else.
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
		return nil, fmt.Errorf("%T: keepkey makes no keys of this type", key)
	}
	return signer, nil
}
