package keystore

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"keepkey/internal/trusted"
)

// Bounds of the files that are read back. Nothing larger is ever written.
const (
	maxFile   = 1 << 20
	maxLedger = 64 << 20
)

// readFile reads a regular file of ours of at most limit bytes, without following a symbolic
// link in its last element, and returns its permissions with the content. It uses the
// system calls themselves: an [os.File] costs as much again as reading the small files
// here, and a run over thousands of lineages does little else.
//
//	openat(path, O_NOFOLLOW|O_NONBLOCK) fstat read close
func readFile(path string, limit int64) (data []byte, mode fs.FileMode, err error) {
	fd, err := again(func() (int, error) {
		return syscall.Open(path, syscall.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, 0, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer syscall.Close(fd) // it was only read
	var info syscall.Stat_t
	if _, err := again(func() (int, error) { return 0, syscall.Fstat(fd, &info) }); err != nil {
		return nil, 0, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if info.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return nil, 0, fmt.Errorf("%s is not a regular file", path)
	}
	if int(info.Uid) != os.Geteuid() {
		return nil, 0, fmt.Errorf("%s belongs to %s, who could change it: see that nobody did, and run chown %s on it", path, trusted.User(int(info.Uid)), trusted.UserName(os.Geteuid()))
	}
	if info.Size > limit {
		return nil, 0, fmt.Errorf("%s is %d bytes long, more than the %d that keepkey ever writes", path, info.Size, limit)
	}
	data = make([]byte, info.Size)
	for n := 0; n < len(data); {
		more, err := again(func() (int, error) { return syscall.Read(fd, data[n:]) })
		if err == nil && more == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, 0, &fs.PathError{Op: "read", Path: path, Err: err}
		}
		n += more
	}
	return data, fs.FileMode(info.Mode & 0o777), nil
}

// readRecord reads a file of ours that nothing else proves to be what was written, so that
// nobody else may be able to write it.
func readRecord(path string, limit int64) ([]byte, error) {
	data, mode, err := readFile(path, limit)
	if err == nil && mode&0o022 != 0 {
		return nil, fmt.Errorf("%s can be written by others (mode %04o): see that nobody changed it, and run chmod go-w on it", path, mode)
	}
	return data, err
}

// again calls f until no signal interrupts it.
func again(f func() (int, error)) (int, error) {
	for {
		if n, err := f(); err != syscall.EINTR {
			return n, err
		}
	}
}

// sizeOf returns the size of a regular file, 0 if nothing has this name, and -1 if
// something else has it or its size cannot be read.
func sizeOf(path string) int64 {
	info, err := os.Lstat(path)
	switch {
	case err == nil && info.Mode().IsRegular():
		return info.Size()
	case os.IsNotExist(err):
		return 0
	}
	return -1
}
