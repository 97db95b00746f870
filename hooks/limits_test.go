package hooks

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func shell(script string, limit time.Duration) Command {
	return Command{Args: []string{"/bin/sh", "-c", script}, Timeout: limit}
}

// A hook that is reported as failed is called again, so success has to count even if
// the output ends after the limit.
func TestHookThatSucceededInTimeIsNotTooLate(t *testing.T) {
	t.Parallel()
	if err := shell("sleep 60 & exit 0", time.Second).Run(context.Background(), publication(t)); err != nil {
		t.Error(err)
	}
}

func TestHookThatFailedInTimeKeepsItsStatus(t *testing.T) {
	t.Parallel()
	err := shell("sleep 60 & exit 9", time.Second).Run(context.Background(), publication(t))
	if err == nil || !strings.Contains(err.Error(), "exit status 9") {
		t.Errorf("error %v, want one that says exit status 9", err)
	}
}

// The shell ends at once when it is told to; its child needs a moment to tidy up.
func TestWholeGroupHasTheGrace(t *testing.T) {
	t.Parallel()
	tidied := filepath.Join(t.TempDir(), "tidied")
	child := `(trap 'sleep 0.2; echo >` + tidied + `; exit' TERM; echo >` + tidied + `.ready; while :; do sleep 0.05; done)`
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		for { // until the child is ready to be told
			if _, err := os.Stat(tidied + ".ready"); err == nil {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	err := shell(child+" >/dev/null 2>&1 & wait", time.Minute).Run(ctx, publication(t))
	if err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("error %v, want one that says interrupted", err)
	}
	if _, err := os.Stat(tidied); err != nil {
		t.Errorf("the child was killed before it had tidied up: %v", err)
	}
}

func TestDaemonInItsOwnSessionIsLeftAlone(t *testing.T) {
	t.Parallel()
	pidFile := filepath.Join(t.TempDir(), "pid")
	if err := hookThat("detach:"+pidFile).Run(context.Background(), publication(t)); err != nil {
		t.Error(err)
	}
	pid := pidIn(t, pidFile)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("the daemon is gone: %v", err)
	}
}

func TestEndedRunStartsNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	ran := filepath.Join(t.TempDir(), "ran")
	for _, h := range []Hook{shell("echo >"+ran, time.Minute), Webhook{URL: "http://127.0.0.1:1/"}} {
		if err := h.Run(ctx, publication(t)); err == nil || !strings.Contains(err.Error(), "interrupted") {
			t.Errorf("%s: error %v, want one that says interrupted", h, err)
		}
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("the command ran")
	}
}
