package durable

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"keepkey/internal/fault"
)

func TestSecondLockNamesTheHolder(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	l, err := Acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Acquire(path)
	var held *LockedError
	if !errors.As(err, &held) || held.PID != os.Getpid() {
		t.Errorf("the second Acquire says %v, want a LockedError with PID %d", err, os.Getpid())
	}
	if err := l.Release(true); err != nil {
		t.Fatal(err)
	}
	again, err := Acquire(path)
	if err != nil {
		t.Fatalf("after Release: %v", err)
	}
	if got := read(t, path); got != strconv.Itoa(os.Getpid())+"\n" {
		t.Errorf("the file says %q while it is held", got)
	}
	again.Release(true)
}

// What is in the lock's place may have no end, or lead to something else.
func TestALockIsAFileOfOurs(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		place func(path, other string) error
		want  string // part of the error; "" takes the lock
	}{
		"a pipe":            {func(path, _ string) error { return syscall.Mkfifo(path, 0o600) }, "is not a regular file: remove it"},
		"a link":            {func(path, other string) error { return os.Symlink(other, path) }, "is not a regular file: remove it"},
		"a directory":       {func(path, _ string) error { return os.Mkdir(path, 0o700) }, "is not a regular file: remove it"},
		"a file of a TiB":   {func(path, other string) error { return errors.Join(os.Rename(other, path), os.Truncate(path, 1<<40)) }, ""},
		"something written": {func(path, other string) error { return os.Rename(other, path) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path, other := filepath.Join(dir, "lock"), filepath.Join(dir, "other")
			if err := errors.Join(os.WriteFile(other, []byte("mine"), 0o600), tt.place(path, other)); err != nil {
				t.Fatal(err)
			}
			l, err := Acquire(path)
			if err == nil {
				l.Release(true)
			}
			if (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if data, err := os.ReadFile(other); err == nil && string(data) != "mine" {
				t.Errorf("another file was written to: %q", data)
			}
		})
	}
}

func TestLockOnARemovedFileIsNotEnough(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	first, err := Acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Release(true)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	// The next process locks a new file; and the one after it must see that.
	second, err := Acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Release(true)
	var held *LockedError
	if _, err := Acquire(path); !errors.As(err, &held) {
		t.Errorf("a third Acquire says %v, want a LockedError", err)
	}
}

func TestLockTellsHowTheHolderBeforeEnded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	for _, step := range []struct {
		name   string
		before func() error // what happens to the file, when nobody holds it
		clean  bool         // what Clean says then
		end    bool         // what Release says afterwards
	}{
		{"a new file", nil, false, true},
		{"after a good end", nil, true, false},
		{"after a bad end", nil, false, true},
		{"after a good end again", nil, true, true},
		{"a removed file", func() error { return os.Remove(path) }, false, true},
		{"an empty file", func() error { return os.Truncate(path, 0) }, false, true},
		{"half a word", func() error { return os.Truncate(path, 4) }, false, true},
		{"something else", func() error { return os.WriteFile(path, []byte("released\n1\n"), 0o600) }, false, true},
		{"after all of that", nil, true, true},
	} {
		if step.before != nil {
			if err := step.before(); err != nil {
				t.Fatal(err)
			}
		}
		l, err := Acquire(path)
		if err != nil {
			t.Fatal(err)
		}
		if l.Clean() != step.clean {
			t.Errorf("%s: clean is %v", step.name, l.Clean())
		}
		if err := errors.Join(l.Release(step.end), l.Release(!step.end)); err != nil {
			t.Fatal(err)
		}
	}
}

// What a holder says of itself must not get into the lock of another.
func TestReleaseOfARemovedFileSaysNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	first, err := Acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second, err := Acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	before := read(t, path)
	if err := first.Release(true); err != nil {
		t.Fatal(err)
	}
	if after := read(t, path); after != before {
		t.Errorf("the lock of the second says %q, and said %q", after, before)
	}
	second.Release(false)
}

// A power cut must not find "released" beside what the next holder has begun.
func TestHolderIsOnTheDiskBeforeItsWork(t *testing.T) {
	// Not parallel: there is one fault handler.
	dir := t.TempDir()
	path := filepath.Join(dir, "lock")
	var l *Lock
	seen := points(dir, func() (err error) {
		l, err = Acquire(path)
		return err
	})
	if want := []string{"lock /lock", "open /lock", "write /lock", "fsync /lock"}; !slices.Equal(seen, want) {
		t.Errorf("%q, want %q", seen, want)
	}
	broken := errors.New("the disk is broken")
	fault.Handle(func(p fault.Point, effect func() error) error {
		if p.Where == path {
			return broken
		}
		return effect()
	})
	defer fault.Handle(nil)
	if err := l.Release(true); err != nil {
		t.Errorf("a lock without its last word: %v", err)
	}
	fault.Handle(func(p fault.Point, effect func() error) error {
		if p.Where == path && p.Op == "fsync" {
			return broken
		}
		return effect()
	})
	if _, err := Acquire(path); !errors.Is(err, broken) {
		t.Errorf("acquired although it is not on the disk: %v", err)
	}
	fault.Handle(nil)
	if l, err := Acquire(path); err != nil || l.Clean() {
		t.Errorf("then: %v", err)
	} else {
		l.Release(true)
	}
}

// The test binary becomes the process that is killed while it holds the lock.
const holdEnv = "DURABLE_TEST_HOLD_LOCK"

func TestMain(m *testing.M) {
	if path := os.Getenv(holdEnv); path != "" {
		if _, err := Acquire(path); err != nil {
			os.Stdout.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Stdout.WriteString("held\n")
		select {}
	}
	os.Exit(m.Run())
}

func TestKilledProcessLeavesNoStaleLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(exe)
	child.Env = append(os.Environ(), holdEnv+"="+path)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 5)
	if _, err := out.Read(line); err != nil || string(line) != "held\n" {
		t.Fatalf("the child says %q (%v)", line, err)
	}
	var held *LockedError
	if _, err := Acquire(path); !errors.As(err, &held) || held.PID != child.Process.Pid {
		t.Errorf("while the child lives, Acquire says %v, want PID %d", err, child.Process.Pid)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	child.Wait() // it was killed: an error is what is wanted
	l, err := Acquire(path)
	if err != nil {
		t.Fatalf("after the child was killed: %v", err)
	}
	if l.Clean() {
		t.Error("the child was killed, and is taken for one that ended in good order")
	}
	l.Release(true)
}
