package keystore

import (
	"crypto"
	"crypto/ecdsa"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAccountKeepsItsKeyAndURL(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	const directory = "https://CA.example:14000/dir"
	account := func(directory, kid string) *Account {
		a, err := s.Account(directory, kid)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	key, fresh, err := account(directory, "").Key()
	if err != nil || !fresh {
		t.Fatalf("the first time: fresh is %v, %v", fresh, err)
	}
	again, fresh, err := account(directory, "").Key()
	if err != nil || fresh || !sameKey(again, key) {
		t.Errorf("the second time: fresh is %v, %v", fresh, err)
	}
	if url, _ := account(directory, "").Saved(); url != "" {
		t.Errorf("the URL is %q before there is one", url)
	}
	if err := account(directory, "").Save(directory, "https://ca.example/acct/1", "ops@example.com"); err != nil {
		t.Fatal(err)
	}
	if url, email := account(directory, "").Saved(); url != "https://ca.example/acct/1" || email != "ops@example.com" {
		t.Errorf("the URL is %q, the e-mail address %q", url, email)
	}
	// Another binding or another CA is another account.
	for _, other := range []*Account{account(directory, "kid"), account(directory+"2", "")} {
		if url, _ := other.Saved(); url != "" {
			t.Errorf("another account has the URL %q", url)
		}
		if _, fresh, err := other.Key(); err != nil || !fresh {
			t.Errorf("another account: fresh is %v, %v", fresh, err)
		}
	}
	dirs, err := os.ReadDir(filepath.Join(s.dir, "accounts"))
	if err != nil || len(dirs) != 1 || dirs[0].Name() != "__.example_14000" {
		t.Errorf("%v, %v", dirs, err)
	}
}

func TestDamagedAccountKeyIsNotReplaced(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	a, err := s.Account("https://ca.example/dir", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.Key(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(a.dir, "key.pem")
	if err := os.WriteFile(path, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.Key(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v, want one that names the file", err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "garbage" {
		t.Errorf("it was replaced: %v", err)
	}
	// A damaged URL is asked for again.
	if err := os.WriteFile(filepath.Join(a.dir, "account.json"), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if url, _ := a.Saved(); url != "" {
		t.Errorf("the URL is %q", url)
	}
}

func sameKey(a, b crypto.Signer) bool {
	return a.Public().(*ecdsa.PublicKey).Equal(b.Public())
}

func TestAnAccountKeyThatOthersCanReadIsRefused(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	a, err := s.Account("https://ca.example/dir", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, fresh, err := a.Key(); !fresh || err != nil {
		t.Fatal(fresh, err)
	}
	if err := os.Chmod(a.dir+"/key.pem", 0o640); err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.Key(); err == nil || !strings.Contains(err.Error(), "can be read by others (mode 0640); if nobody did, run chmod 600") {
		t.Error(err)
	}
}
