package keystore

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"keepkey/pinset"
)

// newVersion makes a key of the lineage and a certificate for it.
func newVersion(t testing.TB, l *Lineage) (Chain, Want) {
	t.Helper()
	pin, err := l.Keys.Create(pinset.EC256)
	if err != nil {
		t.Fatal(err)
	}
	return newChain(t, l, pin)
}

// newChain makes a certificate for a key of the lineage.
func newChain(t testing.TB, l *Lineage, pin pinset.Pin) (Chain, Want) {
	t.Helper()
	key, err := l.Keys.Signer(pin)
	if err != nil {
		t.Fatal(err)
	}
	ca := newTestCA(t, "CA")
	want := Want{Pin: pin, Domains: []string{"api.example.com", "www.example.com"}, Now: testNow}
	chain, err := CheckChain(Chain{ca.issue(t, key.Public(), nil), ca.cert}.PEM(), want)
	if err != nil {
		t.Fatal(err)
	}
	return chain, want
}

// addVersion stores a certificate for a new key of the lineage.
func addVersion(t testing.TB, l *Lineage) (Version, Want) {
	t.Helper()
	chain, want := newVersion(t, l)
	return add(t, l, 0, chain), want
}

func add(t testing.TB, l *Lineage, after int, chain Chain) Version {
	t.Helper()
	key, err := l.Keys.Signer(pinset.OfCertificate(chain.Leaf()))
	if err != nil {
		t.Fatal(err)
	}
	v, err := l.Live.Add(after, chain, key)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVersionsAreNumberedAndSwitched(t *testing.T) {
	t.Parallel()
	l := newLineage(t)
	if n, err := l.Live.Current(); n != 0 || err != nil {
		t.Errorf("before anything is live: %d, %v", n, err)
	}
	if ns, err := l.Live.Versions(); len(ns) != 0 || err != nil {
		t.Errorf("before anything is stored: %d, %v", ns, err)
	}
	for want := 1; want <= 11; want++ {
		v, wanted := addVersion(t, l)
		if v.N != want {
			t.Errorf("version %d, want %d", v.N, want)
		}
		if err := l.Live.Switch(v.N); err != nil {
			t.Fatal(err)
		}
		if live, err := l.Live.Current(); live != v.N || err != nil {
			t.Errorf("live is %d (%v), want %d", live, err, v.N)
		}
		if err := l.Live.Verify(v); err != nil {
			t.Error(err)
		}
		if got, err := l.Live.Inspect(v.N, wanted); got != v || err != nil {
			t.Errorf("inspected as %v (%v), stored as %v", got, err, v)
		}
		chain, err := l.Live.Chain(v.N)
		if err != nil || len(chain) != 2 || pinset.OfCertificate(chain.Leaf()) != wanted.Pin {
			t.Errorf("the chain has %d certificates (%v)", len(chain), err)
		}
	}
	if ns, err := l.Live.Versions(); err != nil || !slices.Equal(ns, []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}) {
		t.Errorf("stored are %d (%v)", ns, err)
	}
}

func TestNumberOfAVersionNeverComesAgain(t *testing.T) {
	t.Parallel()
	l := newLineage(t)
	chain, _ := newVersion(t, l)
	for _, step := range []struct{ after, want int }{{0, 1}, {0, 2}, {1, 3}, {7, 8}, {3, 9}} {
		if v := add(t, l, step.after, chain); v.N != step.want {
			t.Errorf("after %d: version %d, want %d", step.after, v.N, step.want)
		}
	}
	if err := l.Live.Prune(9); err != nil {
		t.Fatal(err)
	}
	if v := add(t, l, 9, chain); v.N != 10 {
		t.Errorf("after 9, which was removed, comes %d", v.N)
	}
	key, err := l.Keys.Signer(pinset.OfCertificate(chain.Leaf()))
	if err != nil {
		t.Fatal(err)
	}
	for _, after := range []int{maxVersion, math.MaxInt} {
		if v, err := l.Live.Add(after, chain, key); err == nil {
			t.Errorf("after %d comes %d", after, v.N)
		}
	}
}

func TestLiveFilesAreCertbotsAndMore(t *testing.T) {
	t.Parallel()
	l := newLineage(t)
	v, _ := addVersion(t, l)
	if err := l.Live.Switch(v.N); err != nil {
		t.Fatal(err)
	}
	get := func(name string) string {
		data, err := os.ReadFile(filepath.Join(l.Live.Dir(), name))
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
		info, err := os.Stat(filepath.Join(l.Live.Dir(), name))
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
		"a version below 1":       func(p string) error { return os.Symlink("certs/0", p) },
		"a version and more":      func(p string) error { return os.Symlink("certs/1/", p) },
		"a temporary name":        func(p string) error { return os.Symlink("certs/.tmp-1", p) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLineage(t)
			addVersion(t, l)
			if err := put(l.Live.Dir()); err != nil {
				t.Fatal(err)
			}
			if n, err := l.Live.Current(); err == nil {
				t.Errorf("taken for version %d", n)
			}
			if err := l.Live.Prune(1); err == nil {
				t.Error("a version was removed although it cannot be told what is live")
			}
		})
	}
}

func TestSwitchOnlyToWhatIsStored(t *testing.T) {
	t.Parallel()
	l := newLineage(t)
	v, _ := addVersion(t, l)
	if err := l.Live.Switch(v.N); err != nil {
		t.Fatal(err)
	}
	if err := l.Live.Switch(v.N + 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("switched to what is not there: %v", err)
	}
	if n, err := l.Live.Current(); n != v.N || err != nil {
		t.Errorf("live is %d (%v)", n, err)
	}
}

// Whatever a server may read of a version, a change of it is found (design, rule 7).
func TestChangedVersionIsFound(t *testing.T) {
	t.Parallel()
	flip := func(p string) error {
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		data[len(data)/2] ^= 1
		return os.WriteFile(p, data, 0o600)
	}
	changes := map[string]struct {
		do   func(dir, other string) error // other is another version for the same names
		want string
	}{
		"another certificate in cert.pem": {replaceBy("cert.pem"), "cert.pem is not"},
		"another issuer in chain.pem":     {replaceBy("chain.pem"), "chain.pem is not"},
		"another chain in fullchain.pem":  {replaceBy("fullchain.pem"), "another key"},
		"another key in privkey.pem":      {replaceBy("privkey.pem"), "another key"},
		"another pair in combined.pem":    {replaceBy("combined.pem"), "combined.pem is not"},
		"all of another version":          {replaceBy(versionFiles[:]...), "not those that were stored"},
		"a bit of the certificate":        {func(dir, _ string) error { return flip(dir + "/fullchain.pem") }, "fullchain.pem"},
		"a bit of the key":                {func(dir, _ string) error { return flip(dir + "/privkey.pem") }, "privkey.pem"},
		"cut short":                       {func(dir, _ string) error { return os.Truncate(dir+"/combined.pem", 300) }, "combined.pem"},
		"a line more":                     {func(dir, _ string) error { return appendTo(dir+"/fullchain.pem", []byte("\n")) }, "fullchain.pem"},
		"empty":                           {func(dir, _ string) error { return os.Truncate(dir+"/privkey.pem", 0) }, "privkey.pem"},
		"larger than any":                 {func(dir, _ string) error { return os.Truncate(dir+"/cert.pem", maxFile+1) }, "cert.pem"},
		"missing":                         {func(dir, _ string) error { return os.Remove(dir + "/chain.pem") }, "chain.pem"},
		"all missing":                     {func(dir, _ string) error { return os.RemoveAll(dir) }, "cert.pem"},
		"a byte wandered":                 {wander, "not"},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLineage(t)
			v, _ := addVersion(t, l)
			other, _ := addVersion(t, l)
			if err := change.do(l.Live.versionDir(v.N), l.Live.versionDir(other.N)); err != nil {
				t.Fatal(err)
			}
			err := l.Live.Verify(v)
			if err == nil || !strings.Contains(err.Error(), change.want) {
				t.Fatalf("error %v, want one that says %q", err, change.want)
			}
			if !strings.Contains(err.Error(), "version 1 of api.example.com") || strings.Contains(err.Error(), "BEGIN") {
				t.Errorf("the error must name the version and show no key: %v", err)
			}
			if err := l.Live.Verify(other); err != nil {
				t.Error(err)
			}
		})
	}
}

// replaceBy puts another version's files in the place of a version's.
func replaceBy(names ...string) func(dir, other string) error {
	return func(dir, other string) error {
		for _, name := range names {
			data, err := os.ReadFile(filepath.Join(other, name))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// wander moves the last byte of a file to the beginning of the next.
func wander(dir, _ string) error {
	from, err := os.ReadFile(dir + "/cert.pem")
	if err != nil {
		return err
	}
	to, err := os.ReadFile(dir + "/chain.pem")
	if err != nil {
		return err
	}
	last := len(from) - 1
	return errors.Join(
		os.WriteFile(dir+"/cert.pem", from[:last], 0o600),
		os.WriteFile(dir+"/chain.pem", slices.Concat(from[last:], to), 0o600))
}

func TestVersionWithoutADigestIsNotVerified(t *testing.T) {
	t.Parallel()
	l := newLineage(t)
	v, _ := addVersion(t, l)
	for _, digest := range []string{"", strings.ToUpper(v.Digest), v.Digest[1:]} {
		if err := l.Live.Verify(Version{N: v.N, Digest: digest}); err == nil {
			t.Errorf("%q was taken for the digest", digest)
		}
	}
}

func TestInspectHoldsAVersionToWhatIsWanted(t *testing.T) {
	t.Parallel()
	l := newLineage(t)
	v, want := addVersion(t, l)
	_, other := addVersion(t, l)
	for name, change := range map[string]struct {
		of   func(*Want)
		says string
	}{
		"another key":   {func(w *Want) { w.Pin = other.Pin }, "another key"},
		"another name":  {func(w *Want) { w.Domains = w.Domains[:1] }, "other names"},
		"another day":   {func(w *Want) { w.Now = w.Now.Add(1000 * day) }, "expired"},
		"nothing wrong": {func(*Want) {}, ""},
	} {
		w := want
		change.of(&w)
		_, err := l.Live.Inspect(v.N, w)
		if (err == nil) != (change.says == "") || err != nil && !strings.Contains(err.Error(), change.says) {
			t.Errorf("%s: error %v, want one that says %q", name, err, change.says)
		}
	}
	if err := replaceBy("privkey.pem")(l.Live.versionDir(1), l.Live.versionDir(2)); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Live.Inspect(v.N, want); err == nil || !strings.Contains(err.Error(), "privkey.pem") {
		t.Errorf("a key that is another's: %v", err)
	}
}

// What would be found damaged as soon as it is read is not stored (design, rule 19).
func TestVersionThatWouldNotVerifyIsNotStored(t *testing.T) {
	t.Parallel()
	l := newLineage(t)
	good, want := newVersion(t, l)
	key, err := l.Keys.Signer(want.Pin)
	if err != nil {
		t.Fatal(err)
	}
	otherPin, err := l.Keys.Create(pinset.EC256)
	if err != nil {
		t.Fatal(err)
	}
	other, err := l.Keys.Signer(otherPin)
	if err != nil {
		t.Fatal(err)
	}
	ca := newTestCA(t, "CA")
	huge := ca.issue(t, key.Public(), func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3}, Value: bytes.Repeat([]byte("x"), maxFile*3/4)}}
	})
	for name, try := range map[string]func() (Version, error){
		"another key":       func() (Version, error) { return l.Live.Add(0, good, other) },
		"no chain":          func() (Version, error) { return l.Live.Add(0, nil, key) },
		"no issuer":         func() (Version, error) { return l.Live.Add(0, good[:1], key) },
		"a broken chain":    func() (Version, error) { return l.Live.Add(0, Chain{good[0], ca.cert}, key) },
		"a huge one":        func() (Version, error) { return l.Live.Add(0, Chain{huge, ca.cert}, key) },
		"a key in hardware": func() (Version, error) { return l.Live.Add(0, good, hardware{key}) },
	} {
		if v, err := try(); err == nil {
			t.Errorf("%s: stored as version %d", name, v.N)
		}
		if ns, err := l.Live.Versions(); len(ns) != 0 || err != nil {
			t.Fatalf("%s: there is %d (%v)", name, ns, err)
		}
	}
}

func TestPruneRemovesWhatIsNotCurrent(t *testing.T) {
	t.Parallel()
	l := newLineage(t)
	chain, _ := newVersion(t, l)
	for range 4 {
		add(t, l, 0, chain)
	}
	if err := l.Live.Switch(2); err != nil {
		t.Fatal(err)
	}
	for n, want := range map[int]bool{1: true, 2: false, 3: true, 5: false, 0: false, -1: false} {
		if err := l.Live.Prune(n); (err == nil) != want {
			t.Errorf("removing version %d: %v", n, err)
		}
	}
	if ns, err := l.Live.Versions(); err != nil || !slices.Equal(ns, []int{2, 4}) {
		t.Errorf("left are %d (%v)", ns, err)
	}
	entries, err := os.ReadDir(l.Live.dir + "/certs")
	if err != nil || len(entries) != 2 {
		t.Errorf("left are %v (%v)", entries, err)
	}
}

// A crash at any moment of a removal leaves a version that is whole, or none.
func TestCrashWhilePruning(t *testing.T) {
	var v Version
	crashEverywhere(t, crash{
		before: func(l *Lineage) {
			chain, _ := newVersion(t, l)
			v = add(t, l, 0, chain)
			add(t, l, 0, chain)
		},
		do: func(l *Lineage) error { return l.Live.Prune(v.N) },
		after: func(t *testing.T, l *Lineage, done bool) {
			ns, err := l.Live.Versions()
			if err != nil {
				t.Fatal(err)
			}
			if slices.Contains(ns, v.N) {
				if done {
					t.Error("it was reported removed, and is there")
				}
				if err := l.Live.Verify(v); err != nil {
					t.Error(err)
				}
			}
			if !slices.Contains(ns, 2) {
				t.Errorf("left are %d", ns)
			}
		},
	})
}

// A crash at any moment while a version is added leaves all of it, or nothing.
func TestCrashWhileAdding(t *testing.T) {
	var chain Chain
	var want Want
	crashEverywhere(t, crash{
		before: func(l *Lineage) { chain, want = newVersion(t, l) },
		do: func(l *Lineage) error {
			key, err := l.Keys.Signer(want.Pin)
			if err != nil {
				return err
			}
			_, err = l.Live.Add(0, chain, key)
			return err
		},
		after: func(t *testing.T, l *Lineage, done bool) {
			ns, err := l.Live.Versions()
			if err != nil || len(ns) > 1 || done && len(ns) == 0 {
				t.Fatalf("stored are %d (%v)", ns, err)
			}
			if len(ns) == 1 {
				if _, err := l.Live.Inspect(ns[0], want); err != nil {
					t.Error(err)
				}
			}
			if v := add(t, l, 0, chain); v.N != len(ns)+1 {
				t.Errorf("after %d comes %s", ns, strconv.Itoa(v.N))
			}
		},
	})
}
