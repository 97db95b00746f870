package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/gofrs/flock"

	"keepkey/internal/fault"
)

// LockedError says that another process holds a lock.
type LockedError struct {
	Path string
	// PID is the holder's process ID, or 0 when the lock file does not tell.
	PID int
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("another process holds %s", e.Path)
	}
	return fmt.Sprintf("process %d holds %s", e.PID, e.Path)
}

// Lock is an exclusive lock on a file. The kernel holds it (flock), so it ends
// with the process however the process ends: there are no stale locks. The PID
// in the file is for people only and decides nothing.
type Lock struct {
	flock *flock.Flock
}

// Acquire takes the lock or fails at once with a [*LockedError].
func Acquire(path string) (*Lock, error) {
	for range 10 {
		l := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600))
		ok := false
		err := fault.Do("lock", path, func() (err error) {
			ok, err = l.TryLock()
			return err
		})
		if err != nil {
			return nil, errors.Join(err, l.Unlock())
		}
		if !ok {
			return nil, &LockedError{Path: path, PID: holder(path)}
		}
		// Somebody may have removed the file between our open and our lock;
		// then we hold a lock that the next process will not see.
		same, err := samePath(l, path)
		if err != nil {
			return nil, errors.Join(err, l.Unlock())
		}
		if !same {
			if err := l.Unlock(); err != nil {
				return nil, err
			}
			continue
		}
		// Written in place: the lock belongs to this inode, and a torn PID harms nobody.
		err = fault.Do("write", path, func() error {
			return os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600)
		})
		if err != nil {
			return nil, errors.Join(err, l.Unlock())
		}
		return &Lock{flock: l}, nil
	}
	return nil, fmt.Errorf("%s is removed again and again while it is being locked", path)
}

// Release gives the lock up. The file stays: removing it would let two
// processes lock two files of the same name.
func (l *Lock) Release() error { return l.flock.Unlock() }

func samePath(l *flock.Flock, path string) (bool, error) {
	held, err := l.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return os.SameFile(held, named), nil
}

func holder(path string) int {
	data, err := os.ReadFile(path)
	if err != nil || len(data) > 32 {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid < 1 {
		return 0
	}
	return pid
}
