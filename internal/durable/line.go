package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"keepkey/internal/fault"
)

// Older is the name to which [AppendLine] moves a file that is full.
func Older(path string) string { return path + ".1" }

// AppendLine adds a line to a file that only people read, so that nothing is lost when the
// newest lines are: it does not wait for the disk. A file that would get longer than limit
// bytes takes the place of the older one before. What a crash left of a line ends there.
//
//	openat(path, O_APPEND|O_CREAT|O_NOFOLLOW|O_NONBLOCK) fstat pread(last byte) write close
//	renameat(path, older)        before that, when it is full
func AppendLine(path string, line []byte, limit int64, a Access) (err error) {
	if info, err := os.Lstat(path); err == nil && info.Size()+int64(len(line)) >= limit {
		if err := rename(path, Older(path)); err != nil {
			return err
		}
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := open(path, os.O_RDWR|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, a.Mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", filepath.Base(path))
	}
	whole := append(append([]byte(nil), line...), '\n')
	if n := info.Size(); n > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, n-1); err != nil {
			return err
		}
		if last[0] != '\n' {
			whole = append([]byte{'\n'}, whole...)
		}
	}
	return fault.Do("write", path, func() error {
		_, err := f.Write(whole)
		return err
	})
}
