package keystore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"keepkey/pinset"
)

func TestKeyComesBackUnderItsPin(t *testing.T) {
	t.Parallel()
	for _, kt := range pinset.KeyTypes() {
		t.Run(string(kt), func(t *testing.T) {
			t.Parallel()
			l := newLineage(t)
			pin, err := l.Keys.Create(kt)
			if err != nil {
				t.Fatal(err)
			}
			key, err := l.Keys.Signer(pin)
			if err != nil {
				t.Fatal(err)
			}
			if got := pinset.TypeOf(key.Public()); got != kt {
				t.Errorf("the key is of type %s", got)
			}
			if err := l.Keys.Check(pin); err != nil {
				t.Error(err)
			}
			if pins, err := l.Keys.List(); err != nil || !slices.Equal(pins, []pinset.Pin{pin}) {
				t.Errorf("listed are %v (%v), want %v", pins, err, pin)
			}
			info, err := os.Stat(l.Keys.path(pin))
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
		"a symbolic link":        {func(p string) error { return errors.Join(os.Rename(p, p+".real"), os.Symlink(p+".real", p)) }, "cannot be read"},
		"a directory":            {func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) }, "cannot be read"},
		"larger than any key":    {func(p string) error { return os.Truncate(p, 2<<20) }, "cannot be read"},
		"two keys in one file":   {func(p string) error { return appendTo(p, otherPEM) }, "is damaged"},
		"a comment after it all": {func(p string) error { return appendTo(p, []byte("# mine\n")) }, "is damaged"},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLineage(t)
			pin, err := l.Keys.Create(pinset.EC256)
			if err != nil {
				t.Fatal(err)
			}
			if err := damage.do(l.Keys.path(pin)); err != nil {
				t.Fatal(err)
			}
			before := snapshot(t, l.Keys.dir)
			_, signerErr := l.Keys.Signer(pin)
			for _, err := range []error{signerErr, l.Keys.Check(pin)} {
				var keyErr *KeyError
				if !errors.As(err, &keyErr) || !strings.Contains(err.Error(), damage.want) {
					t.Fatalf("error %v, want a KeyError that says %q", err, damage.want)
				}
				if !strings.Contains(err.Error(), "api.example.com") || strings.Contains(err.Error(), "BEGIN") {
					t.Errorf("the error must name the lineage and show no key: %v", err)
				}
			}
			if after := snapshot(t, l.Keys.dir); after != before {
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

func TestAdoptedKeyIsStoredOnce(t *testing.T) {
	t.Parallel()
	l := newLineage(t)
	key, err := GenerateKey(pinset.EC384)
	if err != nil {
		t.Fatal(err)
	}
	want, err := pinset.Of(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	var before string
	for range 2 {
		pin, err := l.Keys.Adopt(key)
		if err != nil || pin != want {
			t.Fatalf("pin %s (%v), want %s", pin, err, want)
		}
		if err := l.Keys.Check(want); err != nil {
			t.Error(err)
		}
		after := snapshot(t, l.Keys.dir)
		if before != "" && after != before {
			t.Errorf("the second time changed the directory:\n%s\n%s", before, after)
		}
		before = after
	}
}

func TestAdoptKeepsWhatElseIsUnderTheName(t *testing.T) {
	t.Parallel()
	other, err := GenerateKey(pinset.EC256)
	if err != nil {
		t.Fatal(err)
	}
	otherPEM, err := MarshalKey(other)
	if err != nil {
		t.Fatal(err)
	}
	for name, put := range map[string]func(path string) error{
		"garbage":         func(p string) error { return os.WriteFile(p, []byte("garbage"), 0o600) },
		"another key":     func(p string) error { return os.WriteFile(p, otherPEM, 0o600) },
		"a dangling link": func(p string) error { return os.Symlink("nowhere", p) },
		"a directory":     func(p string) error { return os.Mkdir(p, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLineage(t)
			if _, err := l.Keys.Create(pinset.EC256); err != nil { // makes the directory
				t.Fatal(err)
			}
			key, err := GenerateKey(pinset.EC256)
			if err != nil {
				t.Fatal(err)
			}
			pin, err := pinset.Of(key.Public())
			if err != nil {
				t.Fatal(err)
			}
			if err := put(l.Keys.path(pin)); err != nil {
				t.Fatal(err)
			}
			before := snapshot(t, l.Keys.dir)
			_, err = l.Keys.Adopt(key)
			var keyErr *KeyError
			if !errors.As(err, &keyErr) {
				t.Errorf("error %v, want a KeyError", err)
			}
			if after := snapshot(t, l.Keys.dir); after != before {
				t.Errorf("the directory changed:\n%s\n%s", before, after)
			}
		})
	}
}

// hardware is a key that nobody can take out of where it is.
type hardware struct{ crypto.Signer }

func TestKeyThatCouldNotBeReadAgainIsNotStored(t *testing.T) {
	t.Parallel()
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := GenerateKey(pinset.EC256)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"Ed25519": edwards, "P-224": p224, "in hardware": hardware{p256}} {
		l := newLineage(t)
		if pin, err := l.Keys.Adopt(key); err == nil {
			t.Errorf("%s: stored as %s", name, pin)
		}
		if pins, err := l.Keys.List(); len(pins) != 0 || err != nil {
			t.Errorf("%s: there are %v (%v)", name, pins, err)
		}
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

// A key that was proved once is told by its digest; whatever else is under its name is
// opened and judged.
func TestAKeyIsVerifiedByItsDigest(t *testing.T) {
	t.Parallel()
	l := newLineage(t)
	pin, err := l.Keys.Create(pinset.EC256)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := l.Keys.Digest(pin)
	if err != nil {
		t.Fatal(err)
	}
	path := l.Keys.path(pin)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other, err := GenerateKey(pinset.EC256)
	if err != nil {
		t.Fatal(err)
	}
	otherData, err := MarshalKey(other)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		data   []byte
		mode   os.FileMode
		digest string
		want   string
	}{
		{"as it was", data, 0o600, digest, ""},
		{"without a digest on record", data, 0o600, "", ""},
		{"restored, and written in another way", append(data, '\n'), 0o600, digest, ""},
		{"another key", otherData, 0o600, digest, "holds another key"},
		{"another key, which the digest is of", otherData, 0o600, digestOf(otherData), ""}, // whoever writes the state vouches for it
		{"cut short", data[:50], 0o600, digest, "is damaged"},
		{"open to others", data, 0o640, digest, "can be read by others"},
	} {
		if err := errors.Join(os.WriteFile(path, tt.data, tt.mode), os.Chmod(path, tt.mode)); err != nil {
			t.Fatal(err)
		}
		err := l.Keys.Verify(pin, tt.digest)
		if (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := l.Keys.Verify(pin, digest); err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Errorf("missing: %v", err)
	}
}
