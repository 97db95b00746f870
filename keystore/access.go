package keystore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"keepkey/internal/durable"
)

// access returns who may use a file of a version: the group may read the keys, and
// everybody what servers tell everybody.
func (s *Store) access(file int) durable.Access {
	switch {
	case file != privkeyFile && file != combinedFile:
		return durable.Access{Mode: 0o644}
	case s.group == 0:
		return secret
	default:
		return durable.Access{Mode: 0o640, Group: s.group}
	}
}

// granted is a file or directory with who should be able to use it.
type granted struct {
	path   string
	access durable.Access
}

// way lists what leads to a version's files, and then these.
func (v *Live) way(n int) []granted {
	way := v.store.wayToLive()
	all := []granted{{v.store.dir + "/lineages", way}, {v.dir, way}, {v.dir + "/certs", way}, {v.versionDir(n), way}}
	if v.store.group != 0 {
		all = append([]granted{{v.store.dir, v.store.top()}}, all...)
	}
	for i, name := range versionFiles {
		all = append(all, granted{v.versionDir(n) + "/" + name, v.store.access(i)})
	}
	return all
}

// Readable says whether those may read a stored version who should, and nobody else: nil,
// or which file or directory has another mode or group than the configured group asks for.
//
//	lstat(each directory on the way, and each file)
func (v *Live) Readable(n int) error {
	for _, g := range v.way(n) {
		info, err := os.Lstat(g.path)
		if err != nil {
			return v.problem(n, err)
		}
		if !differs(info, g.access) {
			continue
		}
		is, gid := info.Mode().Perm(), int(info.Sys().(*syscall.Stat_t).Gid)
		if g.access.Group == 0 {
			return fmt.Errorf("%s has the mode %04o instead of %04o", g.path, is, g.access.Mode)
		}
		return fmt.Errorf("%s has the mode %04o and the group %s instead of %04o and %s", g.path, is, groupName(gid), g.access.Mode, groupName(g.access.Group))
	}
	return nil
}

// Grant gives a stored version to whom it is for: what [Live.Readable] found to be wrong.
//
//	lstat durable.Grant          of each that differs
func (v *Live) Grant(n int) error {
	if v.store.lock == nil {
		return errReadOnly
	}
	var problems []error
	for _, g := range v.way(n) {
		info, err := os.Lstat(g.path)
		if err == nil && differs(info, g.access) {
			if err = durable.Grant(g.path, g.access); err != nil {
				err = ungranted(g.path, g.access, err)
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}
