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
	"os"
	"strings"

	"keepkey/internal/durable"
	"keepkey/pinset"
)

// Account is where an ACME account (RFC 8555 section 7.1.2) is kept. Its key is
// pinned by nobody: losing it costs a new registration and nothing more.
type Account struct {
	store *Store
	host  string // the directory of the CA
	dir   string // the account's own, in it
}

// accountFile is what account.json holds.
type accountFile struct {
	Schema    int    `json:"schema"`
	Directory string `json:"directory"`
	URL       string `json:"url"`
	Email     string `json:"email,omitempty"` // that the CA was told last
}

// Account returns the account for a CA's directory URL and, where one account
// is bound to another outside ACME, its external account key identifier.
func (s *Store) Account(directory, kid string) (*Account, error) {
	u, err := url.Parse(directory)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(directory + "\n" + kid))
	host := s.dir + "/accounts/" + strings.Map(safeInName, u.Host)
	return &Account{store: s, host: host, dir: host + "/" + hex.EncodeToString(sum[:6])}, nil
}

// accountDirs returns the directories of all accounts.
func (s *Store) accountDirs() ([]string, error) {
	var dirs []string
	hosts, err := os.ReadDir(s.dir + "/accounts")
	if err != nil {
		return nil, err
	}
	for _, host := range hosts {
		if !host.IsDir() {
			continue
		}
		path := s.dir + "/accounts/" + host.Name()
		accounts, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		for _, account := range accounts {
			if account.IsDir() {
				dirs = append(dirs, path+"/"+account.Name())
			}
		}
	}
	return dirs, nil
}

func safeInName(c rune) rune {
	if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '.' || c == '-' {
		return c
	}
	return '_'
}

// Dir returns the account's directory. Without it, the next run registers a new account.
func (a *Account) Dir() string { return a.dir }

// ensure makes the account's directories.
func (a *Account) ensure() error {
	if err := a.store.ensureDir(a.host, private); err != nil {
		return err
	}
	return a.store.ensureDir(a.dir, private)
}

// Key returns the account's key and whether it was just made.
func (a *Account) Key() (key crypto.Signer, fresh bool, err error) {
	path := a.dir + "/key.pem"
	data, mode, err := readFile(path, maxFile)
	if err == nil && mode&0o077 != 0 {
		return nil, false, fmt.Errorf("account key %s can be read by others (mode %04o); if nobody did, run chmod 600 on it; else remove %s, and the next run registers a new account", path, mode, a.dir)
	}
	if err == nil {
		key, err := ParseKey(data)
		if err != nil {
			return nil, false, fmt.Errorf("account key %s is damaged (%w); restore it, or remove %s, and the next run registers a new account", path, err, a.dir)
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
	if err := a.ensure(); err != nil {
		return nil, false, err
	}
	if err := a.store.wrote(durable.Create(path, data, secret)); err != nil {
		return nil, false, fmt.Errorf("account key: %w", err)
	}
	return key, true, nil
}

// Saved returns the account's URL and e-mail address, "" for what is not known. A damaged
// record reads as not known: the CA tells the URL again for the key.
func (a *Account) Saved() (accountURL, email string) {
	data, err := readRecord(a.dir+"/account.json", maxFile)
	if err != nil {
		return "", ""
	}
	var f accountFile
	if json.Unmarshal(data, &f) != nil || f.Schema != 1 {
		return "", ""
	}
	return f.URL, f.Email
}

// Save records the URL that the CA gave the account, and the e-mail address that it knows.
func (a *Account) Save(directory, accountURL, email string) error {
	data, err := json.MarshalIndent(accountFile{Schema: 1, Directory: directory, URL: accountURL, Email: email}, "", "  ")
	if err != nil {
		return err
	}
	if err := a.ensure(); err != nil {
		return err
	}
	return a.store.wrote(durable.Replace(a.dir+"/account.json", append(data, '\n'), secret))
}
