package keystore

import (
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"regexp"

	"keepkey/internal/durable"
	"keepkey/pinset"
)

// Account is where an ACME account (RFC 8555 section 7.1.2) is kept. Its key is
// pinned by nobody: losing it costs a new registration and nothing more.
type Account struct {
	dir string
}

// accountFile is what account.json holds.
type accountFile struct {
	Schema    int    `json:"schema"`
	Directory string `json:"directory"`
	URL       string `json:"url"`
}

var unsafeHost = regexp.MustCompile(`[^a-z0-9.-]`)

// Account returns the account for a CA's directory URL and, where one account
// is bound to another outside ACME, its external account key identifier.
func (s *Store) Account(directory, kid string) (*Account, error) {
	u, err := url.Parse(directory)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(directory + "\n" + kid))
	host := unsafeHost.ReplaceAllString(u.Host, "_")
	dir := filepath.Join(s.dir, "accounts", host)
	for _, d := range []string{dir, filepath.Join(dir, hex.EncodeToString(sum[:6]))} {
		if err := s.ensureDir(d, private); err != nil {
			return nil, err
		}
		dir = d
	}
	return &Account{dir: dir}, durable.RemoveTemp(dir)
}

// Key returns the account's key and whether it was just made.
func (a *Account) Key() (key crypto.Signer, fresh bool, err error) {
	path := filepath.Join(a.dir, "key.pem")
	data, _, err := readFile(path)
	if err == nil {
		key, err := ParseKey(data)
		if err != nil {
			return nil, false, fmt.Errorf("account key %s is damaged (%w); restore it, or remove the file to register a new account", path, err)
		}
		return key, false, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, false, fmt.Errorf("account key: %w", err)
	}
	key, err = GenerateKey(pinset.EC256)
	if err != nil {
		return nil, false, err
	}
	data, err = MarshalKey(key)
	if err != nil {
		return nil, false, err
	}
	if err := durable.Create(path, data, durable.Access{Mode: 0o600}); err != nil {
		return nil, false, fmt.Errorf("account key: %w", err)
	}
	return key, true, nil
}

// URL returns the account's URL, or "" when it is not known. A damaged record
// reads as not known: the CA tells the URL again for the key.
func (a *Account) URL() string {
	data, _, err := readFile(filepath.Join(a.dir, "account.json"))
	if err != nil {
		return ""
	}
	var f accountFile
	if json.Unmarshal(data, &f) != nil || f.Schema != 1 {
		return ""
	}
	return f.URL
}

// SaveURL records the URL that the CA gave the account.
func (a *Account) SaveURL(directory, accountURL string) error {
	data, err := json.MarshalIndent(accountFile{Schema: 1, Directory: directory, URL: accountURL}, "", "  ")
	if err != nil {
		return err
	}
	return durable.Replace(filepath.Join(a.dir, "account.json"), append(data, '\n'), durable.Access{Mode: 0o600})
}
