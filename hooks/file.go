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

// File is a file that holds the newest pin set.
type File struct{ Path string }

func (f File) String() string { return f.Path }

// Run replaces the file in one step. One that is there already keeps its mode and,
// as far as keepkey may, its owner; a new one can be read by everybody.
func (f File) Run(_ context.Context, e Event) error {
	err := replaceFile(f.Path, []byte(e.Document))
	if err == nil {
		return nil
	}
	why := err.Error()
	dir := filepath.Dir(f.Path)
	if _, statErr := os.Stat(dir); errors.Is(statErr, fs.ErrNotExist) {
		why = fmt.Sprintf("the directory %s does not exist", dir)
	}
	return &Error{Hook: f.String(), Reason: why}
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
	// One byte more than ours is enough to see that it is another document.
	content, err := io.ReadAll(io.LimitReader(old, int64(len(data))+1))
	if err != nil {
		return err
	}
	if bytes.Equal(content, data) {
		return nil
	}
	a := durable.Access{Mode: info.Mode().Perm()}
	// A file may be another user's, say the web server's: with our owner and its mode,
	// its readers would be locked out. Only root can give files away, and others only
	// to a group of theirs; what is not possible is let be, since the new pin set
	// matters more than whose it is.
	owner, ok := info.Sys().(*syscall.Stat_t)
	if ok && (int(owner.Uid) != os.Geteuid() || int(owner.Gid) != os.Getegid()) {
		a.Owner, a.Group, a.IfPossible = int(owner.Uid), int(owner.Gid), true
	}
	return durable.Replace(path, data, a)
}

// openRegular opens a file to read it, and nothing that could block: opening a
// named pipe would wait for a writer, beyond any time limit.
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
