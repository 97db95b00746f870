// Package keystore keeps keys, certificate versions and each lineage's state on
// disk, and decides which certificate is live.
//
// What it promises, whatever happens around it:
//
//   - A key file is named after the SPKI hash of the key in it, is created once
//     and never written again. No code in this package removes or replaces one.
//   - A key that is missing, damaged, readable by others, or not the one its name
//     says is an error. Nothing here makes a new key in its place.
//   - A certificate version is a directory that appears complete with its key or
//     not at all, and is never changed. The live version is one symbolic link.
//   - A lineage's state is an opaque document, swapped only against the revision
//     that was read before: the only commit point of everything above.
//
// On disk:
//
//	<state>/lock                          one process at a time
//	<state>/accounts/<host>/<id>/         an ACME account's key and URL
//	<state>/lineages/<name>/keys/<spki sha256, hex>.pem
//	<state>/lineages/<name>/certs/<n>/{cert,chain,fullchain,privkey,combined}.pem
//	<state>/lineages/<name>/live -> certs/<n>
//	<state>/lineages/<name>/state.json
//	<state>/lineages/<name>/ledger.jsonl
package keystore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"

	"keepkey/internal/durable"
)

// LockedError says that another keepkey process is at work in the state
// directory, and which one.
type LockedError struct {
	Dir string
	PID int // 0 when unknown
}

func (e *LockedError) Error() string {
	who := "another keepkey"
	if e.PID != 0 {
		who = fmt.Sprintf("another keepkey (process %d)", e.PID)
	}
	return fmt.Sprintf("%s is at work in %s; nothing was done, try again when it has ended", who, e.Dir)
}

// Store is a state directory.
type Store struct {
	dir   string
	group int // group ID that may read live/, or 0
	lock  *durable.Lock
}

// Open opens a state directory for reading. A directory that does not exist
// yet reads as one without lineages.
func Open(dir string) (*Store, error) {
	if err := checkDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return &Store{dir: dir}, nil
}

// OpenLocked opens a state directory for writing, creating it when it is
// missing. Until Close, no other process can do the same; if one holds it
// already the error is a [*LockedError]. Members of the named group, if there
// is one, can read what is live, and nothing else.
func OpenLocked(dir, group string) (*Store, error) {
	gid, err := lookupGroup(group)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, group: gid}
	if err := durable.Mkdir(dir, s.wayToLive()); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("the state directory's parent is missing: %w", err)
		}
		return nil, fmt.Errorf("state directory: %w", err)
	}
	if err := checkDir(dir); err != nil {
		return nil, err
	}
	if gid != 0 {
		if err := s.ensureDir(dir, s.wayToLive()); err != nil {
			return nil, err
		}
	}
	lock, err := durable.Acquire(filepath.Join(dir, "lock"))
	var held *durable.LockedError
	if errors.As(err, &held) {
		return nil, &LockedError{Dir: dir, PID: held.PID}
	}
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	s.lock = lock
	for _, sub := range []struct {
		name   string
		access durable.Access
	}{{"accounts", private}, {"lineages", s.wayToLive()}} {
		if err := s.ensureDir(filepath.Join(dir, sub.name), sub.access); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// Close gives up the lock.
func (s *Store) Close() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.Release()
}

// Dir returns the state directory.
func (s *Store) Dir() string { return s.dir }

// Group returns the ID of the group that may read what is live, or 0.
func (s *Store) Group() int { return s.group }

var private = durable.Access{Mode: 0o700}

// wayToLive is the access to the directories between the state directory and
// the files under live/.
func (s *Store) wayToLive() durable.Access {
	if s.group == 0 {
		return private
	}
	return durable.Access{Mode: 0o750, Group: s.group}
}

// ensureDir makes a directory, or brings the mode of an existing one to what
// the configured group asks for (somebody may have added `group` later).
func (s *Store) ensureDir(path string, a durable.Access) error {
	if err := durable.Mkdir(path, a); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", path)
	}
	gid := int(info.Sys().(*syscall.Stat_t).Gid)
	if info.Mode().Perm() == a.Mode && (a.Group == 0 || a.Group == gid) {
		return nil
	}
	if err := durable.GrantDir(path, a); err != nil {
		return fmt.Errorf("%s can't be given the mode %04o and the configured group: %w", path, a.Mode, err)
	}
	return nil
}

// checkDir refuses a state directory that somebody else could change.
func checkDir(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("state directory %s is not a directory", dir)
	}
	owner := int(info.Sys().(*syscall.Stat_t).Uid)
	if me := os.Geteuid(); owner != me {
		return fmt.Errorf("state directory %s belongs to %s, but keepkey runs as %s; run it as the owner, so that no key ends up with the wrong one",
			dir, userName(owner), userName(me))
	}
	if m := info.Mode().Perm(); m&0o022 != 0 {
		return fmt.Errorf("state directory %s can be written by others (mode %04o); run chmod go-w %s and look for changes that are not yours", dir, m, dir)
	}
	return nil
}

func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return fmt.Sprintf("%s (uid %d)", u.Username, uid)
	}
	return fmt.Sprintf("uid %d", uid)
}

func lookupGroup(name string) (int, error) {
	if name == "" {
		return 0, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("configured group %q: %w", name, err)
	}
	return strconv.Atoi(g.Gid)
}

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,199}$`)

// Lineage returns the lineage of that name, whether or not it has anything on
// disk yet. Names that could leave the directory are refused.
func (s *Store) Lineage(name string) (*Lineage, error) {
	if !validName.MatchString(name) {
		return nil, fmt.Errorf("%q can't name a lineage: want lower-case letters, digits, '.', '_' and '-', not beginning with a sign", name)
	}
	return &Lineage{store: s, name: name, dir: filepath.Join(s.dir, "lineages", name)}, nil
}

// Bounds of the files that are read back: nothing keepkey writes comes near them.
const (
	maxFile   = 1 << 20
	maxLedger = 64 << 20
)

// readFile reads a regular file, bounded, without following a symbolic link in
// its last element, and returns its mode with the content.
func readFile(path string) ([]byte, fs.FileMode, error) { return readBounded(path, maxFile) }

func readBounded(path string, limit int64) ([]byte, fs.FileMode, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is not a regular file", path)
	}
	if info.Size() > limit {
		return nil, 0, fmt.Errorf("%s is %d bytes long, more than the %d that keepkey ever writes", path, info.Size(), limit)
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", path, err)
	}
	return data, info.Mode(), nil
}
