// Package durable changes files so that a crash or a power cut at any moment
// leaves either the old content or the new one, never a mixture, and so that
// what it reported as done stays done.
//
// Each function lists its system calls in order. Three rules are common to all:
// data reaches the disk (fsync) before the name that points to it appears; the
// directory is synced after a name changed; and modes and group are set while
// the file still has a temporary name, so that no secret is readable by others
// even for an instant. Names beginning with [TempPrefix] are unfinished work of
// a process that died, or of a function that returned an error; see [RemoveTemp].
package durable

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"keepkey/internal/fault"
)

// TempPrefix begins the name of every file and directory that is not finished.
const TempPrefix = ".tmp-"

// Access says who may use a new file or directory.
type Access struct {
	// Mode is the permission bits, set exactly, whatever the umask says.
	Mode fs.FileMode
	// Owner and Group are the IDs of a user and a group, or 0 for the process's own.
	// (Nothing can be given to root; nobody needs that.)
	Owner, Group int
	// IfPossible says to go on where the file may not be given to Owner or Group.
	IfPossible bool
}

// Create makes a file that did not exist. It never overwrites: when path exists,
// the error satisfies errors.Is(err, fs.ErrExist) and the file is untouched.
//
//	openat(tmp, O_CREAT|O_EXCL) fchown fchmod write fsync close
//	linkat(tmp, path)            fails with EEXIST instead of replacing
//	unlinkat(tmp) fsync(dir)
func Create(path string, data []byte, a Access) error {
	tmp, err := writeTemp(path, data, a)
	if err != nil {
		return err
	}
	if err := fault.Do("link", path, func() error { return os.Link(tmp, path) }); err != nil {
		return errors.Join(err, remove(tmp))
	}
	if err := remove(tmp); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// Replace gives path the new content in one step; readers see the old content
// or the new one. The mode of a file that is there already does not carry over.
//
//	openat(tmp, O_CREAT|O_EXCL) fchown fchmod write fsync close
//	renameat(tmp, path) fsync(dir)
func Replace(path string, data []byte, a Access) error {
	tmp, err := writeTemp(path, data, a)
	if err != nil {
		return err
	}
	if err := rename(tmp, path); err != nil {
		return errors.Join(err, remove(tmp))
	}
	return SyncDir(filepath.Dir(path))
}

// Append writes data at the end of a file whose first size bytes count; it makes
// the file when size is 0. What is beyond them is what a crash left of an earlier
// Append, and is cut off.
//
//	openat(path, O_CREAT) fstat ftruncate(size) pwrite fsync close
//	fsync(dir)                   when the file may be new
func Append(path string, size int64, data []byte, a Access) (err error) {
	f, err := open(path, os.O_WRONLY|os.O_CREATE, a.Mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < size {
		return fmt.Errorf("%s is %d bytes long, and should have %d: it was cut short", path, info.Size(), size)
	}
	if info.Size() > size {
		if err := fault.Do("truncate", path, func() error { return f.Truncate(size) }); err != nil {
			return err
		}
	}
	err = fault.Do("write", path, func() error {
		_, err := f.WriteAt(data, size)
		return err
	})
	if err != nil {
		return err
	}
	if err := sync(f); err != nil {
		return err
	}
	if size == 0 {
		return SyncDir(filepath.Dir(path))
	}
	return nil
}

// Rewrite writes data again where a file already has it. What an Append that failed or
// was interrupted left behind can be read, but may be in memory only, and another fsync
// is not enough: after a failed one, the kernel takes the data for written. After Rewrite
// it is on the disk.
//
//	openat(path) pwrite fsync close
//	fsync(dir)                   when the file may be new
func Rewrite(path string, offset int64, data []byte) (err error) {
	f, err := open(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	err = fault.Do("write", path, func() error {
		_, err := f.WriteAt(data, offset)
		return err
	})
	if err != nil {
		return err
	}
	if err := sync(f); err != nil {
		return err
	}
	if offset == 0 {
		return SyncDir(filepath.Dir(path))
	}
	return nil
}

// File is one entry of a directory made by [CreateDir].
type File struct {
	Name   string
	Data   []byte
	Access Access
}

// CreateDir makes a directory with all its files; the directory appears under
// its name complete, or not at all. It never replaces: when path exists, the
// error satisfies errors.Is(err, fs.ErrExist).
//
//	mkdirat(tmp)
//	each file: openat(O_CREAT|O_EXCL) fchown fchmod write fsync close
//	fchown(tmp) fchmod(tmp)
//	fsync(tmp) renameat(tmp, path) fsync(parent)
//
// renameat refuses to replace a directory that is not empty, and every
// directory made here holds at least one file.
func CreateDir(path string, a Access, files []File) (err error) {
	parent := filepath.Dir(path)
	tmp := filepath.Join(parent, tempName())
	if err := mkdir(tmp); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, removeAll(tmp))
		}
	}()
	for _, f := range files {
		if err := write(filepath.Join(tmp, f.Name), f.Data, f.Access); err != nil {
			return err
		}
	}
	if err := Grant(tmp, a); err != nil {
		return err
	}
	if err := SyncDir(tmp); err != nil {
		return err
	}
	if _, err := os.Lstat(path); err == nil {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	if err := rename(tmp, path); err != nil {
		return err
	}
	return SyncDir(parent)
}

// Mkdir makes a directory, durably, unless it is there already. An existing
// directory keeps its mode.
//
//	mkdirat fchown fchmod fsync(parent)
func Mkdir(path string, a Access) error {
	if err := mkdir(path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	if err := Grant(path, a); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// Symlink points link at target in one step, whether or not link exists.
//
//	symlinkat(target, tmp) renameat(tmp, link) fsync(dir)
func Symlink(link, target string) error {
	tmp := filepath.Join(filepath.Dir(link), tempName())
	if err := fault.Do("symlink", tmp, func() error { return os.Symlink(target, tmp) }); err != nil {
		return err
	}
	if err := rename(tmp, link); err != nil {
		return errors.Join(err, remove(tmp))
	}
	return SyncDir(filepath.Dir(link))
}

// Link gives a file a second name, so that it outlives the first. It never overwrites: when name exists, the error satisfies errors.Is(err, fs.ErrExist).
//
//	linkat(path, name) fsync(dir)
func Link(path, name string) error {
	if err := fault.Do("link", name, func() error { return os.Link(path, name) }); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(name))
}

// Move gives a file or directory another name, in another directory of the same file
// system. It never replaces a file or a directory that is not empty.
//
//	renameat(from, to) fsync(the new parent) fsync(the old parent)
func Move(from, to string) error {
	if _, err := os.Lstat(to); err == nil {
		return &fs.PathError{Op: "move", Path: to, Err: fs.ErrExist}
	}
	if err := rename(from, to); err != nil {
		return err
	}
	// The new name first: a power cut may leave both, and must not leave none.
	return errors.Join(SyncDir(filepath.Dir(to)), SyncDir(filepath.Dir(from)))
}

// RemoveFile removes a file.
//
//	unlinkat(path) fsync(dir)
func RemoveFile(path string) error {
	if err := remove(path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// RemoveDir removes a directory and its content. Readers find all of it or nothing: it
// loses its name first.
//
//	renameat(path, tmp) fsync(parent)
//	unlinkat(each file) unlinkat(tmp) fsync(parent)
func RemoveDir(path string) error {
	parent := filepath.Dir(path)
	tmp := filepath.Join(parent, tempName())
	if err := rename(path, tmp); err != nil {
		return err
	}
	// Without this, a power cut could bring the name back without the files.
	if err := SyncDir(parent); err != nil {
		return err
	}
	if err := removeAll(tmp); err != nil {
		return err
	}
	return SyncDir(parent)
}

// RemoveTemp deletes what an earlier process left unfinished in dir. Only the
// holder of the lock may call it, and only while it changes nothing else there.
//
//	getdents(dir)
//	unlinkat(each) fsync(dir)    if there was anything
func RemoveTemp(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	found := false
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), TempPrefix) {
			continue
		}
		found = true
		if err := removeAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	if !found {
		return nil
	}
	return SyncDir(dir)
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(sync(d), d.Close())
}

func tempName() string { return TempPrefix + rand.Text() }

// writeTemp writes what path is to hold under a name of its own, always the same one:
// what a crash left there is gone with the next attempt, also in directories that
// nobody calls [RemoveTemp] for. Where somebody else has put something under that name
// which can't be removed (in a directory like /tmp), any other name does. It is no longer
// than path's may be, and does not end like it, so that nobody takes it for a key.
func writeTemp(path string, data []byte, a Access) (string, error) {
	dir, base := filepath.Split(path)
	tmp := dir + TempPrefix + fmt.Sprintf("%x", sha256.Sum256([]byte(base)))[:16] + ".part"
	err := write(tmp, data, a)
	if errors.Is(err, fs.ErrExist) && remove(tmp) == nil {
		err = write(tmp, data, a)
	}
	if errors.Is(err, fs.ErrExist) {
		tmp = dir + tempName()
		err = write(tmp, data, a)
	}
	if err != nil {
		return "", err
	}
	return tmp, nil
}

// write makes one new file and syncs it. A file that could not be written whole
// is removed again: after a failed fsync the page cache lies, so nothing of it
// may be trusted.
func write(path string, data []byte, a Access) (err error) {
	f, err := open(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), remove(path))
		}
	}()
	if err := grant(f, a); err != nil {
		return err
	}
	err = fault.Do("write", path, func() error {
		_, err := f.Write(data)
		return err
	})
	if err != nil {
		return err
	}
	if err := sync(f); err != nil {
		return err
	}
	return f.Close()
}

// grant gives a new file to whom it is for. By its descriptor: in a directory that
// others can write to, they could have put something else under its name.
func grant(f *os.File, a Access) error {
	if a.Owner != 0 || a.Group != 0 {
		err := chown(f, cmp.Or(a.Owner, -1), cmp.Or(a.Group, -1))
		if err != nil && a.IfPossible {
			_ = chown(f, -1, cmp.Or(a.Group, -1)) // to a group of ours, at least
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return fault.Do("chmod", f.Name(), func() error { return f.Chmod(a.Mode) })
}

// Grant gives a file or directory of ours to whom it is for.
//
//	openat(path, O_NOFOLLOW) fchown fchmod
func Grant(path string, a Access) error {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	return errors.Join(grant(f, a), f.Close())
}

// The system calls that change something, each a point at which tests can let it
// fail.

func chown(f *os.File, owner, group int) error {
	return fault.Do("chown", f.Name(), func() error { return f.Chown(owner, group) })
}

func open(path string, flag int, mode fs.FileMode) (f *os.File, err error) {
	err = fault.Do("open", path, func() (err error) {
		f, err = os.OpenFile(path, flag, mode)
		return err
	})
	if err != nil && f != nil {
		err = errors.Join(err, f.Close())
	}
	return f, err
}

func sync(f *os.File) error { return fault.Do("fsync", f.Name(), f.Sync) }

func rename(from, to string) error {
	return fault.Do("rename", to, func() error { return os.Rename(from, to) })
}

func mkdir(path string) error {
	return fault.Do("mkdir", path, func() error { return os.Mkdir(path, 0o700) })
}

func remove(path string) error {
	return fault.Do("remove", path, func() error { return os.Remove(path) })
}

func removeAll(path string) error {
	return fault.Do("remove all", path, func() error { return os.RemoveAll(path) })
}
