// Package keystore keeps what must not be lost: keys, certificates, and the record of
// what clients were told. It keeps three things of each lineage, which have three fates:
//
//   - [Records]: the state document and the ledger. Hosts will share them: all hosts that
//     serve a lineage must agree on them. So they change only together, by
//     compare-and-swap against the revision that was read. The state is opaque here;
//     package plan says what it means.
//   - [Keys]: named by their pins. A key is created once and never written again. No code
//     in this package removes or replaces one, and none makes a new key in place of one
//     that is missing, damaged or not what its name says.
//   - [Live]: this host's own. It holds the certificates that servers here read. Each
//     version is a directory that appears complete with its key or not at all and is
//     never changed; one symbolic link points to the version that is served.
//
// On disk:
//
//	<state>/lock                          one process at a time
//	<state>/host                          this host's id
//	<state>/accounts/<host>/<id>/         an ACME account's key and URL
//	<state>/lineages/<name>/state.json    records: the state, and the ledger's head
//	<state>/lineages/<name>/ledger.jsonl  records: the ledger, a line an entry
//	<state>/lineages/<name>/journal.jsonl for people: what was done; journal.jsonl.1 is older
//	<state>/lineages/<name>/reports.json  what clients told of pin validations that failed
//	<state>/lineages/<name>/keys/<spki sha256, hex>.pem
//	<state>/lineages/<name>/certs/<n>/{cert,chain,fullchain,privkey,combined}.pem
//	<state>/lineages/<name>/live -> certs/<n>
//	<state>/lineages/<name>/hooks/<channel>/  while a publish hook runs
//	<state>/lineages/<name>/pins/<channel>    what the daemon serves
//	<state>/told.json, told/<name>.json   what notify hooks were told, of keepkey and of lineages
//	<state>/dropped/<name>.<time>/        a lineage that a person dropped, with all its keys
//
// All changes go through package durable. What a process that died left unfinished has a
// temporary name and is never read; see [Store.Tidy]. Nothing is written that could not
// be read back: the limits that hold for reading are checked before a write.
package keystore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"keepkey/internal/durable"
	"keepkey/internal/trusted"
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

// Store is a state directory. It is safe for concurrent use with different lineages.
type Store struct {
	dir   string
	group int    // group ID that may read live/, or 0
	host  string // "" only in a store that was opened for reading
	lock  *durable.Lock

	// afterCrash: the previous process did not close the store, so a directory that
	// exists may not be on the disk yet.
	afterCrash bool
	// untidy: that process, or a write of ours that failed, may have left something
	// unfinished.
	untidy atomic.Bool
}

// Open opens a state directory for reading. A directory that does not exist
// yet reads as one without lineages. The group is what [OpenLocked] says.
func Open(dir, group string) (*Store, error) {
	gid, err := LookupGroup(group)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: filepath.Clean(dir), group: gid}
	if err := CheckDir(s.dir); errors.Is(err, fs.ErrNotExist) {
		return s, nil
	} else if err != nil {
		return nil, err
	}
	if err := s.loadHost(); err != nil {
		return nil, err
	}
	return s, nil
}

// OpenLocked opens a state directory for writing, creating it when it is
// missing. Until Close, no other process can do the same; if one holds it
// already the error is a [*LockedError]. Members of the named group, if there
// is one, can read what is served, and nothing else.
func OpenLocked(dir, group string) (*Store, error) {
	gid, err := LookupGroup(group)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: filepath.Clean(dir), group: gid}
	if err := durable.Mkdir(s.dir, s.top()); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("the state directory's parent is missing, make it or name another place as state: %w", err)
		}
		if errors.Is(err, syscall.EACCES) {
			return nil, fmt.Errorf("the state directory is missing, and this user may not make it: run keepkey as its own user, or as root: install -d -m 0700 -o %s %s: %w",
				trusted.UserName(os.Geteuid()), s.dir, err)
		}
		return nil, fmt.Errorf("state directory: %w", err)
	}
	if err := CheckDir(s.dir); err != nil {
		return nil, err
	}
	lock, err := durable.Acquire(s.dir + "/lock")
	var held *durable.LockedError
	if errors.As(err, &held) {
		return nil, &LockedError{Dir: s.dir, PID: held.PID}
	}
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	s.lock, s.afterCrash = lock, !lock.Clean()
	s.untidy.Store(s.afterCrash)
	if err := s.prepare(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// prepare makes what every state directory holds.
func (s *Store) prepare() error {
	for _, d := range []struct {
		path   string
		access durable.Access
	}{{s.dir, s.top()}, {s.dir + "/accounts", private}, {s.dir + "/lineages", s.wayToLive()}} {
		if d.path == s.dir && s.group == 0 {
			continue // its owner decides who may see it
		}
		if err := s.ensureDir(d.path, d.access); err != nil {
			return err
		}
	}
	if err := s.loadHost(); err != nil {
		return err
	}
	return s.makeHost()
}

// LetPass lets others pass through the state directory, to the socket of a daemon. All that
// is in it stays closed to them.
func (s *Store) LetPass() error { return s.ensureDir(s.dir, passable) }

// Close gives up the lock, and tells the next process whether there is anything to
// tidy.
func (s *Store) Close() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.Release(!s.untidy.Load())
}

// Group returns the ID of the group that may read what is served, or 0.
func (s *Store) Group() int { return s.group }

// Tidy removes unfinished files and directories from the whole store: those of a
// process that died, and those of a write that failed. Call it once after [OpenLocked],
// before anything else is written. Its error is a warning: what could not be removed does
// no harm, and the next process tries again.
//
// It costs nothing when there can be nothing to remove. Only a process that died while it
// held the lock, or whose write failed, leaves something behind, and the lock file tells:
// [Store.Close] marks it when neither happened (see [durable.Lock]).
func (s *Store) Tidy() error {
	if s.lock == nil {
		return errReadOnly
	}
	if !s.untidy.Load() {
		return nil
	}
	names, err := s.Names()
	if err != nil {
		return err
	}
	dirs := []string{s.dir, s.dir + "/lineages", s.toldDir()}
	for _, name := range names {
		dir := s.lineageDir(name)
		dirs = append(dirs, dir, dir+"/keys", dir+"/certs")
	}
	accounts, err := s.accountDirs()
	if err != nil {
		return err
	}
	dirs = append(dirs, accounts...)
	var problems []error
	for _, dir := range dirs {
		if err := durable.RemoveTemp(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, err)
		}
	}
	if len(problems) == 0 {
		s.untidy.Store(false)
	}
	return errors.Join(problems...)
}

// Names returns the names of all lineages on disk, sorted, whether or not the
// configuration still has them.
func (s *Store) Names() ([]string, error) {
	entries, err := os.ReadDir(s.dir + "/lineages")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && validName(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Drop takes a lineage out of the store. Its files are kept, with all keys, and where is
// returned: a mistake can be mended by moving them back.
func (s *Store) Drop(name string, at time.Time) (kept string, err error) {
	if !validName(name) {
		return "", fmt.Errorf("there is no lineage %.200q", name)
	}
	if _, err := os.Lstat(s.lineageDir(name)); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("there is no lineage %s in %s", name, s.dir)
	}
	if err := s.ensureDir(s.dir+"/dropped", private); err != nil {
		return "", err
	}
	kept = s.dir + "/dropped/" + name + "." + at.UTC().Format("20060102T150405Z")
	if err := s.wrote(durable.Move(s.lineageDir(name), kept)); err != nil {
		return "", fmt.Errorf("dropping %s: %w", name, err)
	}
	return kept, nil
}

// Lineage is one named certificate with all that is kept for it. Methods that write
// need a store opened by [OpenLocked].
type Lineage struct {
	Records *Records
	Keys    *Keys
	Live    *Live
	Journal *Journal
	Reports *Reports
}

// Lineage returns the lineage of that name, whether or not it has anything on
// disk yet. Names that could leave the directory are refused.
func (s *Store) Lineage(name string) (*Lineage, error) {
	if !validName(name) {
		return nil, fmt.Errorf("%q cannot name a lineage: want up to 200 lower-case letters, digits, '.', '_' and '-', with a letter or digit first", name)
	}
	p := &place{store: s, name: name, dir: s.lineageDir(name)}
	return &Lineage{Records: &Records{p}, Keys: &Keys{p}, Live: &Live{p}, Journal: &Journal{p}, Reports: &Reports{p}}, nil
}

func (s *Store) lineageDir(name string) string { return s.dir + "/lineages/" + name }

// validName reports whether a name is safe as a directory's: it has no separator and
// does not begin with a sign.
func validName(name string) bool {
	for i := range len(name) {
		c := name[i]
		letter := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		sign := c == '.' || c == '_' || c == '-'
		if !letter && (!sign || i == 0) {
			return false
		}
	}
	return 1 <= len(name) && len(name) <= 200
}

// place is where a lineage lies.
type place struct {
	store *Store
	name  string
	dir   string
}

// ensure makes the lineage's directory and, unless sub is "", one in it.
func (p *place) ensure(sub string, a durable.Access) error {
	if err := p.store.ensureDir(p.dir, p.store.wayToLive()); err != nil || sub == "" {
		return err
	}
	return p.store.ensureDir(p.dir+"/"+sub, a)
}

// errReadOnly is a bug of ours: something was to be written without the lock.
var errReadOnly = errors.New("the state directory was opened for reading only")

// wrote notes that a write failed: it may have left something unfinished. Every call of
// package durable that may leave a temporary name passes through it.
func (s *Store) wrote(err error) error {
	if err != nil {
		s.untidy.Store(true)
	}
	return err
}

// Who may use what: directories and files that are nobody else's, and a directory through
// which everybody may pass.
var (
	private  = durable.Access{Mode: 0o700}
	secret   = durable.Access{Mode: 0o600}
	passable = durable.Access{Mode: 0o711}
)

// top is the access to the state directory. With a group anybody may pass through it, and
// its own group stays: systemd gives a StateDirectory= of another group, with all that is
// in it, back to the service's at every start.
func (s *Store) top() durable.Access {
	if s.group == 0 {
		return private
	}
	return passable
}

// wayToLive is the access to the directories between the state directory and
// the files under live/.
func (s *Store) wayToLive() durable.Access {
	if s.group == 0 {
		return private
	}
	return durable.Access{Mode: 0o750, Group: s.group}
}

// ensureDir makes a directory, or brings the mode of an existing one to what
// the configured group asks for (somebody may have added `group` later). Every write
// begins here.
//
//	lstat(path)
//	durable.Mkdir                        if it is missing
//	fsync(parent)                        if a process may have died right after making it
//	durable.Grant                     if its mode or group differs
func (s *Store) ensureDir(path string, a durable.Access) error {
	if s.lock == nil {
		return errReadOnly
	}
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		err := s.wrote(durable.Mkdir(path, a))
		if errors.Is(err, syscall.EPERM) && a.Group != 0 {
			return ungranted(path, a, err)
		}
		if err != nil {
			return fmt.Errorf("state directory: %w", err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", path)
	}
	if owner := int(info.Sys().(*syscall.Stat_t).Uid); owner != os.Geteuid() {
		return fmt.Errorf("%s belongs to %s, who could change what is in it: see that nobody did, and run chown %s on it", path, trusted.User(owner), trusted.UserName(os.Geteuid()))
	}
	if s.afterCrash || s.untidy.Load() {
		if err := durable.SyncDir(filepath.Dir(path)); err != nil {
			return fmt.Errorf("state directory: %w", err)
		}
	}
	if !differs(info, a) {
		return nil
	}
	if err := durable.Grant(path, a); err != nil {
		return ungranted(path, a, err)
	}
	return nil
}

// differs reports whether others may use a file or directory than a says.
func differs(info fs.FileInfo, a durable.Access) bool {
	return info.Mode().Perm() != a.Mode || (a.Group != 0 && a.Group != int(info.Sys().(*syscall.Stat_t).Gid))
}

// ungranted says why a file or directory can't be given to whom it is for.
func ungranted(path string, a durable.Access, err error) error {
	if errors.Is(err, fs.ErrPermission) && a.Group != 0 {
		group := groupName(a.Group)
		return fmt.Errorf("%s cannot be given to the configured group %s: keepkey's user is not in it; run usermod -aG %s %s, and start keepkey anew: %w",
			path, group, group, trusted.UserName(os.Geteuid()), err)
	}
	return fmt.Errorf("%s cannot be given the mode %04o and the configured group: %w", path, a.Mode, err)
}

// CheckDir refuses a state directory that somebody else could change.
func CheckDir(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	if link, err := os.Lstat(dir); err == nil && link.Mode()&fs.ModeSymlink != 0 {
		// Whoever made it can lead us to another directory of ours at any time.
		if maker := int(link.Sys().(*syscall.Stat_t).Uid); maker != 0 && maker != os.Geteuid() {
			return fmt.Errorf("state directory %s is a symbolic link that %s made: name the directory itself, or make the link yourself", dir, trusted.User(maker))
		}
	}
	if !info.IsDir() {
		return fmt.Errorf("state directory %s is not a directory", dir)
	}
	owner := int(info.Sys().(*syscall.Stat_t).Uid)
	if me := os.Geteuid(); owner != me {
		return fmt.Errorf("state directory %s belongs to %s, but keepkey runs as %s; run it as root, which then acts as the owner: sudo keepkey COMMAND",
			dir, trusted.User(owner), trusted.User(me))
	}
	if m := info.Mode().Perm(); m&0o022 != 0 {
		return fmt.Errorf("state directory %s can be written by others (mode %04o); run chmod go-w %s and look for changes that are not yours", dir, m, dir)
	}
	return nil
}

func groupName(gid int) string {
	if g, err := user.LookupGroupId(strconv.Itoa(gid)); err == nil {
		return g.Name
	}
	return strconv.Itoa(gid)
}

// LookupGroup returns the ID of a group that the configuration names, 0 of none.
func LookupGroup(name string) (int, error) {
	if name == "" {
		return 0, nil
	}
	g, err := user.LookupGroup(name)
	if errors.As(err, new(user.UnknownGroupError)) {
		return 0, fmt.Errorf("there is no group %q, which the configuration names: make it with groupadd --system %s, or name another", name, name)
	}
	if err != nil {
		return 0, fmt.Errorf("configured group %q: %w", name, err)
	}
	return strconv.Atoi(g.Gid)
}
