package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

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
// with the process however the process ends: there are no stale locks.
//
// The content of the file does not decide who holds the lock. It says how the last
// holder ended: it is the holder's PID, until [Lock.Release] replaces it by "released"
// for a holder that leaves nothing unfinished. A holder that was killed, or whose machine
// lost power, leaves its PID, and the next one knows that there may be something to clean
// up (see [Lock.Clean]). This is sound because
//
//   - the PID is on the disk (fsync) before the holder changes anything else, so a power
//     cut cannot bring back an older "released" beside unfinished work;
//   - "released" needs no sync: if it is lost, the next holder looks for unfinished work
//     and finds none;
//   - a file that is new, empty or cut short does not say "released".
type Lock struct {
	flock *flock.Flock
	clean bool
}

const released = "released\n"

// Acquire takes the lock or fails at once with a [*LockedError].
//
//	lstat(path) openat(path, O_CREAT) flock(LOCK_EX|LOCK_NB) stat read
//	openat(path, O_TRUNC) write(PID) fsync close
func Acquire(path string) (*Lock, error) {
	for range 10 {
		// A pipe has no end, and what a link leads to would be overwritten.
		switch info, err := os.Lstat(path); {
		case err != nil:
		case !info.Mode().IsRegular():
			return nil, fmt.Errorf("%s is not a regular file: remove it", path)
		case int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid():
			return nil, fmt.Errorf("%s belongs to another user (uid %d): run chown %d on it", path, info.Sys().(*syscall.Stat_t).Uid, os.Geteuid())
		}
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
		clean := content(path) == released
		// Written in place: the lock belongs to this inode, and a torn PID harms nobody.
		if err := mark(path, strconv.Itoa(os.Getpid())+"\n", true); err != nil {
			return nil, errors.Join(err, l.Unlock())
		}
		return &Lock{flock: l, clean: clean}, nil
	}
	return nil, fmt.Errorf("%s is removed again and again while it is being locked", path)
}

// Clean reports whether the previous holder released the lock and said that it left
// nothing unfinished. It is false for the first holder.
func (l *Lock) Clean() bool { return l.clean }

// Release gives the lock up; clean tells the next holder that nothing is left
// unfinished. The file stays: removing it would let two processes lock two files of
// the same name.
//
//	openat(path, O_TRUNC) write("released") close     if clean
//	close                                             and with it the lock
func (l *Lock) Release(clean bool) error {
	if clean && l.flock.Locked() {
		// If the file was removed, what is there now is somebody else's.
		if same, err := samePath(l.flock, l.flock.Path()); err == nil && same {
			_ = mark(l.flock.Path(), released, false) // if it fails, the next holder looks in vain
		}
	}
	return l.flock.Unlock()
}

func mark(path, content string, durably bool) error {
	f, err := open(path, os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = fault.Do("write", path, func() error {
		_, err := f.WriteString(content)
		return err
	})
	if err == nil && durably {
		err = sync(f)
	}
	return errors.Join(err, f.Close())
}

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

// content returns what a lock file says; none says more than a few bytes.
func content(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	const most = 32
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil || len(data) > most {
		return ""
	}
	return string(data)
}

func holder(path string) int {
	pid, err := strconv.Atoi(strings.TrimSpace(content(path)))
	if err != nil || pid < 1 {
		return 0
	}
	return pid
}
