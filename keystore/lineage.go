package keystore

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"keepkey/internal/durable"
	"keepkey/pinset"
)

// Lineage is one named certificate with all its keys and versions. Methods that
// write need a store opened by [OpenLocked].
type Lineage struct {
	store *Store
	name  string
	dir   string
	ready bool // directories are known to be there with the right modes
}

// LiveDir returns the path at which servers find the live certificate.
func (l *Lineage) LiveDir() string { return filepath.Join(l.dir, "live") }

// ErrNoState says that a lineage has no state yet: it was never begun, or its
// state file was lost.
var ErrNoState = errors.New("no state")

// ErrConflict says that the state was changed by somebody else since it was read.
var ErrConflict = errors.New("the state changed since it was read")

// Revision identifies one content of a lineage's state. The zero value stands
// for "there is none".
type Revision string

// State reads the lineage's state document and its revision. Without one, the
// error is [ErrNoState].
func (l *Lineage) State() ([]byte, Revision, error) {
	data, _, err := readFile(l.statePath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", ErrNoState
	}
	if err != nil {
		return nil, "", fmt.Errorf("state of %s: %w", l.name, err)
	}
	return data, revisionOf(data), nil
}

// SwapState replaces the state if it still has the revision that was read, and
// returns the new one; otherwise the error is [ErrConflict]. When it returns
// another error, either content may be on disk: read again before going on.
func (l *Lineage) SwapState(old Revision, data []byte) (Revision, error) {
	_, now, err := l.State()
	if err != nil && !errors.Is(err, ErrNoState) {
		return "", err
	}
	if now != old {
		return "", ErrConflict
	}
	if err := l.ensureDirs(); err != nil {
		return "", err
	}
	if err := durable.Replace(l.statePath(), data, durable.Access{Mode: 0o600}); err != nil {
		return "", fmt.Errorf("state of %s: %w", l.name, err)
	}
	return revisionOf(data), nil
}

func revisionOf(data []byte) Revision {
	sum := sha256.Sum256(data)
	return Revision(hex.EncodeToString(sum[:]))
}

func (l *Lineage) statePath() string { return filepath.Join(l.dir, "state.json") }

// Ledger reads the lines of the lineage's ledger; there are none before the first
// append.
func (l *Lineage) Ledger() ([]byte, error) {
	data, _, err := readBounded(l.LedgerPath(), maxLedger)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// AppendLedger adds a line after the first size bytes, which are those that
// count. When it returns an error, the line may be on disk or not.
func (l *Lineage) AppendLedger(size int, line []byte) error {
	if err := l.ensureDirs(); err != nil {
		return err
	}
	return durable.Append(l.LedgerPath(), int64(size), line, durable.Access{Mode: 0o600})
}

// RestartLedger puts a new ledger in the place of a damaged one, which is kept beside
// it under another name.
func (l *Lineage) RestartLedger(lines []byte, at time.Time) error {
	old, _, err := readBounded(l.LedgerPath(), maxLedger)
	if err == nil {
		kept := l.LedgerPath() + ".damaged-" + at.UTC().Format("20060102T150405Z")
		err = durable.Create(kept, old, durable.Access{Mode: 0o600})
		if errors.Is(err, fs.ErrExist) {
			err = nil // by a restart a moment ago, which did not get further
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := l.ensureDirs(); err != nil {
		return err
	}
	return durable.Replace(l.LedgerPath(), lines, durable.Access{Mode: 0o600})
}

// LedgerPath returns the ledger's path, for people.
func (l *Lineage) LedgerPath() string { return filepath.Join(l.dir, "ledger.jsonl") }

// Tidy removes what a process that died left unfinished. It needs a store opened by
// [OpenLocked].
func (l *Lineage) Tidy() error {
	for _, dir := range []string{l.dir, filepath.Join(l.dir, "keys"), filepath.Join(l.dir, "certs")} {
		if err := durable.RemoveTemp(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// ensureDirs makes the lineage's directories.
func (l *Lineage) ensureDirs() error {
	if l.ready {
		return nil
	}
	for _, d := range []struct {
		path   string
		access durable.Access
	}{
		{l.dir, l.store.wayToLive()},
		{filepath.Join(l.dir, "keys"), private},
		{filepath.Join(l.dir, "certs"), l.store.wayToLive()},
	} {
		if err := l.store.ensureDir(d.path, d.access); err != nil {
			return err
		}
	}
	l.ready = true
	return nil
}

// Version is a certificate with its key, as it stands under certs/.
type Version struct {
	N     int
	Chain Chain
}

// AddVersion stores a certificate that passed [CheckChain] together with its
// key, and returns the version's number. It becomes live only by [Lineage.Switch].
func (l *Lineage) AddVersion(chain Chain) (int, error) {
	key, err := l.Key(pinset.OfCertificate(chain.Leaf()))
	if err != nil {
		return 0, err
	}
	keyPEM, err := MarshalKey(key)
	if err != nil {
		return 0, err
	}
	if err := l.ensureDirs(); err != nil {
		return 0, err
	}
	ns, err := l.versions()
	if err != nil {
		return 0, err
	}
	n := 1
	if len(ns) > 0 {
		n = slices.Max(ns) + 1
	}
	public, secret := durable.Access{Mode: 0o644}, durable.Access{Mode: 0o600}
	if l.store.group != 0 {
		secret = durable.Access{Mode: 0o640, Group: l.store.group}
	}
	err = durable.CreateDir(l.versionDir(n), l.store.wayToLive(), []durable.File{
		{Name: "cert.pem", Data: chain[:1].PEM(), Access: public},
		{Name: "chain.pem", Data: chain[1:].PEM(), Access: public},
		{Name: "fullchain.pem", Data: chain.PEM(), Access: public},
		{Name: "privkey.pem", Data: keyPEM, Access: secret},
		{Name: "combined.pem", Data: append(slices.Clone(keyPEM), chain.PEM()...), Access: secret},
	})
	if err != nil {
		return 0, fmt.Errorf("storing certificate version %d of %s: %w", n, l.name, err)
	}
	return n, nil
}

// Version reads a stored version back and proves that it is complete, that its
// certificate and key belong together and that it is what was wanted.
func (l *Lineage) Version(n int, want Want) (Version, error) {
	dir := l.versionDir(n)
	full, _, err := readFile(filepath.Join(dir, "fullchain.pem"))
	if err != nil {
		return Version{}, fmt.Errorf("certificate version %d of %s: %w", n, l.name, err)
	}
	chain, err := CheckChain(full, want)
	if err != nil {
		return Version{}, fmt.Errorf("certificate version %d of %s: %w", n, l.name, err)
	}
	keyPEM, _, err := readFile(filepath.Join(dir, "privkey.pem"))
	if err != nil {
		return Version{}, fmt.Errorf("certificate version %d of %s: %w", n, l.name, err)
	}
	key, err := ParseKey(keyPEM)
	if err != nil {
		return Version{}, fmt.Errorf("certificate version %d of %s: privkey.pem: %w", n, l.name, err)
	}
	pin, err := pinset.Of(key.Public())
	if err != nil {
		return Version{}, err
	}
	if pin != want.Pin {
		return Version{}, fmt.Errorf("certificate version %d of %s: privkey.pem holds another key (pin %s) than the certificate's %s", n, l.name, pin, want.Pin)
	}
	return Version{N: n, Chain: chain}, nil
}

// Certificate returns the server's certificate of a stored version, unjudged.
func (l *Lineage) Certificate(n int) (*x509.Certificate, error) {
	path := filepath.Join(l.versionDir(n), "cert.pem")
	data, _, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("certificate version %d of %s: %w", n, l.name, err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("certificate version %d of %s: %s holds no PEM block", n, l.name, path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("certificate version %d of %s: %q", n, l.name, err)
	}
	return cert, nil
}

// Live returns the number of the version that live points to, or 0 when there
// is no live link. A link that points anywhere else is an error.
func (l *Lineage) Live() (int, error) {
	target, err := os.Readlink(l.LiveDir())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("%s is not the symbolic link that keepkey made: %w", l.LiveDir(), err)
	}
	stem, ok := strings.CutPrefix(target, "certs/")
	n, err := strconv.Atoi(stem)
	if !ok || err != nil || n < 1 || strconv.Itoa(n) != stem {
		return 0, fmt.Errorf("%s points to %q, which is no certificate version", l.LiveDir(), target)
	}
	return n, nil
}

// Switch makes a stored version the live one, certificate and key in one step.
func (l *Lineage) Switch(n int) error {
	if _, err := os.Stat(filepath.Join(l.versionDir(n), "privkey.pem")); err != nil {
		return fmt.Errorf("certificate version %d of %s is not complete: %w", n, l.name, err)
	}
	if err := durable.Symlink(l.LiveDir(), "certs/"+strconv.Itoa(n)); err != nil {
		return fmt.Errorf("making certificate version %d of %s live: %w", n, l.name, err)
	}
	return nil
}

func (l *Lineage) versionDir(n int) string {
	return filepath.Join(l.dir, "certs", strconv.Itoa(n))
}

func (l *Lineage) versions() ([]int, error) {
	entries, err := os.ReadDir(filepath.Join(l.dir, "certs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var ns []int
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			ns = append(ns, n)
		}
	}
	return ns, nil
}
