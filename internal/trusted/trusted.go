// Package trusted reads the files that a person names and that decide what keepkey does, or
// hold a secret. There is one rule for all of them, which docs/running.md states: they are
// regular files, of the user that keepkey runs as or of root, and nobody else may change
// them, or read them where they hold a secret.
package trusted

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"syscall"
)

// Read returns what a file says that decides what keepkey does. One that is longer than
// limit bytes is refused. It never waits for a writer.
func Read(path string, limit int64) ([]byte, error) { return read(path, limit, false) }

// ReadSecret returns what a file says that nobody else may know. See [Read].
func ReadSecret(path string) ([]byte, error) { return read(path, maxSecret, true) }

// maxSecret is more than any secret takes, in bytes.
const maxSecret = 64 << 10

// Program says why a program is not to be run: somebody else could change it.
func Program(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return us().refuse(path, info, false)
}

// ReadTheirs returns what a file says that its owner trusts, and who that is. Whoever calls
// it has to know whether it is somebody to believe. See [Read].
func ReadTheirs(path string, limit int64) (data []byte, owner int, err error) {
	data, err = readAs(path, limit, false, func(info fs.FileInfo) (identity, error) {
		owner = int(info.Sys().(*syscall.Stat_t).Uid)
		a, err := AccountOf(owner)
		return identity{a.UID, a.GID, a.Groups}, err
	})
	return data, owner, err
}

func read(path string, limit int64, secret bool) ([]byte, error) {
	return readAs(path, limit, secret, func(fs.FileInfo) (identity, error) { return us(), nil })
}

// readAs reads a file that is to be trusted by somebody, which can depend on the file.
func readAs(path string, limit int64, secret bool, who func(fs.FileInfo) (identity, error)) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	id, err := who(info)
	if err != nil {
		return nil, err
	}
	if err := id.refuse(path, info, secret); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s is longer than %d bytes", path, limit)
	}
	return data, err
}

// identity is who keepkey runs as.
type identity struct {
	uid    int
	gid    int
	groups []int // all that it is in
}

func us() identity {
	groups, err := os.Getgroups()
	if err != nil {
		groups = nil // then none but its own is trusted
	}
	return identity{os.Geteuid(), os.Getegid(), append(groups, os.Getegid())}
}

// refuse says why a file is not trusted, and what to do about it.
func (id identity) refuse(path string, info fs.FileInfo, secret bool) error {
	owner, ok := info.Sys().(*syscall.Stat_t)
	mode := info.Mode().Perm()
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file", path)
	case !ok:
		return errors.New("this system does not say whom files belong to")
	case int(owner.Uid) != id.uid && owner.Uid != 0:
		return fmt.Errorf("%s belongs to %s, who could change it: run chown %s on it", path, User(int(owner.Uid)), strconv.Itoa(id.uid))
	case mode&0o002 != 0:
		return fmt.Errorf("everybody can write to %s (mode %04o): check what it says, and run chmod o-w on it", path, mode)
	case mode&0o020 != 0 && int(owner.Gid) != id.gid && owner.Gid != 0:
		return fmt.Errorf("the group with ID %d can write to %s (mode %04o): check what it says, and run chmod g-w on it", owner.Gid, path, mode)
	case secret && mode&0o004 != 0:
		return fmt.Errorf("everybody can read %s (mode %04o), which holds a secret: run chmod o-r on it, and replace the secret if somebody may have read it", path, mode)
	case secret && mode&0o040 != 0 && owner.Gid != 0 && !slices.Contains(id.groups, int(owner.Gid)):
		return fmt.Errorf("the group with ID %d can read %s (mode %04o), which holds a secret: run chmod g-r on it, and replace the secret if somebody may have read it", owner.Gid, path, mode)
	}
	return nil
}
