package hooks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"keepkey/internal/fault"
)

// A publish hook must not outlive its keepkey unnoticed: it could put an old pin set over
// a newer one that a later run confirmed. So each holds a lock file that it inherits, as
// does everything that it starts. Whoever publishes on the same channel next finds the
// file, and waits for those who hold it, or ends them.

// leash is the lock of one hook that runs, with the file that the hook is given.
type leash struct {
	dir  string
	lock *os.File
}

// The files of a leash. Only the holder of keepkey's own lock touches them.
const (
	lockName  = "lock"
	inputName = "pinset"
)

// newLeash makes the directory of a hook that is about to run: first it waits for the end
// of one that an earlier keepkey started there. limit is how long a hook may take.
func newLeash(ctx context.Context, dir string, limit time.Duration, document string) (*leash, error) {
	if err := endOrphans(ctx, filepath.Join(dir, lockName), limit); err != nil {
		return nil, err
	}
	l := &leash{dir: dir}
	err := fault.Do("write hook input", dir, func() error {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(l.input(), []byte(document), 0o600); err != nil {
			return err
		}
		f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		l.lock = f
		return lock(f)
	})
	if err != nil {
		return nil, errors.Join(err, l.release())
	}
	return l, nil
}

// openLock opens a lock file that is there already.
func openLock(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW, 0)
}

// lock takes the lock, unless somebody else holds it.
func lock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }

// input is the path of the document.
func (l *leash) input() string { return filepath.Join(l.dir, inputName) }

// release says that the hook's end was seen.
func (l *leash) release() error {
	err := fault.Do("remove hook input", l.dir, func() error { return os.RemoveAll(l.dir) })
	if l.lock != nil {
		err = errors.Join(err, l.lock.Close())
	}
	return err
}

// endOrphans returns when nobody holds a lock file any more: after the time that is left
// to the hook, those who hold it are ended.
func endOrphans(ctx context.Context, path string, limit time.Duration) error {
	f, err := openLock(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the usual case
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	free := func() bool { return lock(f) == nil }
	// Nobody waits longer than for a hook that was started just now, whatever the clock says.
	left := min(max(limit-time.Since(info.ModTime()), 0), limit)
	if await(ctx, time.Now().Add(left), free) {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		for _, pid := range holders(path) {
			_ = syscall.Kill(pid, sig)
		}
		if await(ctx, time.Now().Add(grace), free) {
			return nil
		}
	}
	return fmt.Errorf("a hook that an earlier run started still runs%s and holds %s; end it first", pids(holders(path)), path)
}

// Tidy removes what hooks of a killed keepkey left in a directory of [Event.WorkDir]s, as
// far as none of them runs any more. Nobody else may publish there meanwhile.
func Tidy(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		f, openErr := openLock(filepath.Join(dir, e.Name(), lockName))
		held := openErr == nil && lock(f) != nil
		if openErr == nil {
			f.Close()
		}
		if !held {
			left := filepath.Join(dir, e.Name())
			err = errors.Join(err, fault.Do("remove hook input", left, func() error { return os.RemoveAll(left) }))
		}
	}
	return err
}

// await polls until something is so, and reports whether it came to that before the
// deadline. It is for processes that are not our children to wait for.
func await(ctx context.Context, deadline time.Time, so func() bool) bool {
	for !so() {
		if ctx.Err() != nil || !time.Now().Before(deadline) {
			return false
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
	return true
}

// pids tells processes, as far as they are known.
func pids(of []int) string {
	switch len(of) {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf(" (process %d)", of[0])
	}
	return fmt.Sprintf(" (processes %d)", of)
}
