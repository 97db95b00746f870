package hooks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"keepkey/internal/durable"
)

// File is a file that holds the newest pin set. It is a [Hook] and a [Reader].
type File struct{ Path string }

func (f File) ID() string { return identity("file", f.Path) }

func (f File) String() string { return f.Path }

// Run replaces the file with the document; see [PutFile].
func (f File) Run(_ context.Context, e Event) error {
	if err := PutFile(f.Path, []byte(e.Document)); err != nil {
		return failed(f, err.Error(), "")
	}
	return nil
}

// PutFile replaces a file that others read in one step. An existing file keeps its mode and,
// as far as keepkey may set it, its owner; a new one is readable by everybody. Of a symbolic
// link the target is replaced, since that is what others read.
func PutFile(file string, data []byte) error {
	path, err := target(file)
	if err == nil {
		err = replaceFile(path, data)
	}
	if err == nil {
		return nil
	}
	dir := filepath.Dir(file)
	if _, statErr := os.Stat(dir); errors.Is(statErr, fs.ErrNotExist) {
		return fmt.Errorf("the directory %s does not exist", dir)
	}
	if pe := (*fs.PathError)(nil); errors.Is(err, fs.ErrPermission) && errors.As(err, &pe) && pe.Path != path { // the new file
		return fmt.Errorf("the directory %s can't be written to by keepkey's user: %w", filepath.Dir(path), err)
	}
	return err
}

// target returns the file that a path stands for. A link is followed if it was made by
// somebody who could have changed the target anyway: else anybody who may write to a
// directory could have keepkey overwrite other files.
func target(path string) (string, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && info.Mode()&fs.ModeSymlink == 0) {
		return path, nil
	}
	if err != nil {
		return "", err
	}
	to, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", fmt.Errorf("it is a symbolic link that leads nowhere: %w", err)
	}
	there, err := os.Stat(to)
	if err != nil {
		return "", err
	}
	maker, owner := int(info.Sys().(*syscall.Stat_t).Uid), int(there.Sys().(*syscall.Stat_t).Uid)
	if maker != 0 && maker != os.Geteuid() && maker != owner {
		return "", fmt.Errorf("it is a symbolic link to %s that another user made (uid %d): name the file itself, or make the link yourself", to, maker)
	}
	return to, nil
}

// Read returns what the file holds.
func (f File) Read(_ context.Context, _ Event) ([]byte, error) {
	data, err := readRegular(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nothing(f, err.Error(), "")
	}
	if err != nil {
		return nil, unread(f, err.Error(), "")
	}
	return bounded(f, data)
}

// readRegular reads a regular file, up to one byte more than a document may have.
func readRegular(path string) ([]byte, error) {
	file, _, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, maxDocument+1))
}

func replaceFile(path string, data []byte) error {
	old, info, err := openRegular(path)
	if errors.Is(err, fs.ErrNotExist) {
		return durable.Replace(path, data, durable.Access{Mode: 0o644})
	}
	if err != nil {
		return err
	}
	defer old.Close()
	owner, ok := info.Sys().(*syscall.Stat_t)
	if ok && owner.Nlink > 1 {
		return fmt.Errorf("%s has %d names (hard links), and a new file would get only this one: remove the others", path, owner.Nlink)
	}
	// One byte more than ours is enough to see that it is a different document.
	content, err := io.ReadAll(io.LimitReader(old, int64(len(data))+1))
	if err != nil {
		return err
	}
	if bytes.Equal(content, data) {
		return nil
	}
	a := durable.Access{Mode: info.Mode().Perm()}
	// The file may belong to another user, say the web server's: with our owner and its
	// mode, its readers would be locked out. Only root can give files away, and others
	// only to a group they are in, so ownership is best effort: publishing matters more.
	if ok && (int(owner.Uid) != os.Geteuid() || int(owner.Gid) != os.Getegid()) {
		a.Owner, a.Group, a.IfPossible = int(owner.Uid), int(owner.Gid), true
	}
	return durable.Replace(path, data, a)
}

// openRegular opens a regular file for reading. It never blocks: opening a named
// pipe would wait for a writer, beyond any time limit.
func openRegular(path string) (*os.File, fs.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}
