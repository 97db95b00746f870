package hooks

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// orphan is a hook whose keepkey was killed: it holds its leash.
func orphan(t *testing.T, dir, role string) *exec.Cmd {
	t.Helper()
	l, err := newLeash(t.Context(), dir, time.Minute, "old")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], childFlag+role)
	cmd.ExtraFiles = []*os.File{l.lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no group of ours
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l.lock.Close()
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd
}

func TestAHookWaitsForTheOneThatAKilledKeepkeyLeft(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "app")
	left := orphan(t, dir, "hang")
	ended := make(chan error, 1)
	go func() {
		l, err := newLeash(t.Context(), dir, time.Minute, "new")
		if err == nil {
			err = l.release()
		}
		ended <- err
	}()
	select {
	case err := <-ended:
		t.Fatalf("it did not wait (%v)", err)
	case <-time.After(200 * time.Millisecond):
	}
	left.Process.Kill()
	left.Wait()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something is left behind: %v", err)
	}
}

func TestAHookThatIsOutOfTimeIsEnded(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("who holds a file can't be found out here")
	}
	for _, role := range []string{"hang", "deaf"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "app")
			left := orphan(t, dir, role)
			longAgo := time.Now().Add(-time.Hour)
			if err := os.Chtimes(filepath.Join(dir, lockName), longAgo, longAgo); err != nil {
				t.Fatal(err)
			}
			l, err := newLeash(t.Context(), dir, time.Minute, "new")
			if err != nil {
				t.Fatal(err)
			}
			if data, err := os.ReadFile(l.input()); string(data) != "new" {
				t.Errorf("the hook is given %q (%v)", data, err)
			}
			ended := make(chan error, 1)
			go func() { ended <- left.Wait() }()
			select {
			case err := <-ended:
				if err == nil || !strings.Contains(err.Error(), "signal") {
					t.Errorf("the orphan ended with %v", err)
				}
			case <-time.After(30 * time.Second):
				t.Error("the orphan goes on")
			}
			if err := l.release(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWaitingForAnOrphanCanBeInterrupted(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "app")
	orphan(t, dir, "hang")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := newLeash(ctx, dir, time.Minute, "new"); err == nil {
		t.Error("it went on while the orphan holds the leash")
	}
}

// What a killed keepkey left without anybody holding it is tidied.
func TestALeashThatNobodyHoldsIsTaken(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "app")
	left, err := newLeash(t.Context(), dir, time.Minute, "old")
	if err != nil {
		t.Fatal(err)
	}
	left.lock.Close()
	l, err := newLeash(t.Context(), dir, time.Minute, "new")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.release(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something is left behind: %v", err)
	}
}
