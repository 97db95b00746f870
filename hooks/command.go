package hooks

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"keepkey/internal/fault"
	"keepkey/internal/trusted"
)

// Command is a program that is run for an event. It is a [Hook], and a [Reader] of
// what it prints.
type Command struct {
	Args    []string      // the program and its arguments
	Timeout time.Duration // 0 means a minute
}

func (c Command) ID() string { return identity("command", c.Args...) }

func (c Command) String() string { return fmt.Sprintf("%q", strings.Join(c.Args, " ")) }

const (
	maxOutput = 64 << 10        // bytes of output that are kept
	grace     = 2 * time.Second // between SIGTERM and SIGKILL
)

// inherited are the variables that a hook gets from keepkey's own environment. It is a
// list of what may pass, because nobody can list what may not: DNS providers take their
// credentials from the environment. The LC_ variables pass too, see [inherits].
var inherited = []string{"PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR"}

func inherits(name string) bool {
	return slices.Contains(inherited, name) || strings.HasPrefix(name, "LC_")
}

// Run runs the program. Exit status 0 is success. When the time limit passes, or
// ctx ends, the whole process group is ended.
func (c Command) Run(ctx context.Context, e Event) error {
	fail := func(reason, output string) error { return failed(c, reason, output) }
	input, err := e.encode()
	if err != nil {
		return fail(err.Error(), "")
	}
	env := environment(e)
	var l *leash
	if e.Kind == Publish {
		if l, err = newLeash(ctx, e.WorkDir, cmp.Or(c.Timeout, defaultTimeout), e.Document); err != nil {
			return fail(err.Error(), "")
		}
		defer l.release()
		env = append(env, "KEEPKEY_PINSET_FILE="+l.input())
	}

	var output tailBuffer
	return c.exec(ctx, env, input, &output, &output, l, fail)
}

// Read runs the program and returns what it prints on standard output. The program is
// told of the event like a hook, but there is no file with the document.
func (c Command) Read(ctx context.Context, e Event) ([]byte, error) {
	fail := func(reason, output string) error { return unread(c, reason, output) }
	input, err := e.encode()
	if err != nil {
		return nil, fail(err.Error(), "")
	}
	document := headBuffer{limit: maxDocument + 1}
	var stderr tailBuffer
	if err := c.exec(ctx, environment(e), input, &document, &stderr, nil, fail); err != nil {
		return nil, err
	}
	return bounded(c, document.Bytes())
}

// exec runs the program, on a leash if it gets one. Its errors are made by fail, from the
// reason and the end of the output.
func (c Command) exec(ctx context.Context, env []string, input []byte, stdout io.Writer, output *tailBuffer, l *leash, fail func(reason, output string) error) error {
	if len(c.Args) == 0 {
		return fail("it names no program", "")
	}
	limit := cmp.Or(c.Timeout, defaultTimeout)
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(limited, c.Args[0], c.Args[1:]...)
	if cmd.Err == nil {
		if err := trusted.Program(cmd.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fail(err.Error(), "")
		}
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), stdout, output
	cmd.Env = env
	// A session has a process group of its own, and no terminal: what somebody runs by hand as
	// root must not get a program of keepkey's user to where it could type.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	dieWithParent(cmd.SysProcAttr)
	if l != nil {
		cmd.ExtraFiles = []*os.File{l.lock}
	}
	// When the program was told to stop, in nanoseconds; 0 if it ended by itself.
	// The context alone can't tell: the limit may also pass after the program has
	// succeeded and before its output ends, and a hook that succeeded must not be
	// called again.
	var stopped atomic.Int64
	cmd.Cancel = func() error {
		// The whole group, or grandchildren would survive. SIGKILL follows after the grace.
		if errors.Is(syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM), syscall.ESRCH) {
			return os.ErrProcessDone
		}
		stopped.Store(time.Now().UnixNano())
		return nil
	}
	cmd.WaitDelay = grace
	// To the kernel the parent is the thread that started the program.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := fault.Do("run hook", c.String(), func() error {
		if err := cmd.Start(); err != nil {
			return err
		}
		err := cmd.Wait()
		if at := stopped.Load(); at != 0 {
			// The program is gone, but what it started may still be tidying up.
			gone := func() bool { return syscall.Kill(-cmd.Process.Pid, 0) != nil }
			await(context.Background(), time.Unix(0, at).Add(grace), gone)
		}
		// Whatever the program left behind in its group is ended too: it would hold
		// locks and ports of a run that is over.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		return err
	})
	var exit *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		// ErrWaitDelay: it succeeded, but one of its children kept the output open.
		return nil
	case stopped.Load() != 0, cmd.Process == nil && limited.Err() != nil:
		if ctx.Err() != nil {
			return fail("it was interrupted", output.String())
		}
		return fail(fmt.Sprintf("it did not end within %s and was stopped", limit), output.String())
	case errors.As(err, &exit):
		if status := exit.Sys().(syscall.WaitStatus); status.Signaled() {
			return fail(fmt.Sprintf("it was ended by a signal (%s)", status.Signal()), output.String())
		}
		return fail(fmt.Sprintf("it ended with exit status %d", exit.ExitCode()), output.String())
	case errors.Is(err, exec.ErrNotFound):
		return fail("there is no such program on PATH", "")
	case errors.Is(err, fs.ErrNotExist):
		// The kernel reports a script whose interpreter is missing in the same way.
		if _, err := os.Stat(cmd.Path); err == nil {
			return fail("its interpreter does not exist; check the script's first line", "")
		}
		return fail("there is no such program", "")
	case errors.Is(err, syscall.ENOEXEC):
		return fail("it is not a program; a script must begin with a line like #!/bin/sh", "")
	case errors.Is(err, fs.ErrPermission):
		return fail("keepkey's user may not execute it: run chmod +x on it, and see that its directories can be entered", "")
	}
	return fail(err.Error(), output.String())
}

func environment(e Event) []string {
	var env []string
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); inherits(name) {
			env = append(env, variable)
		}
	}
	domains := strings.Join(e.Domains, " ")
	env = append(env,
		"KEEPKEY_EVENT="+e.Kind,
		"KEEPKEY_EVENT_ID="+e.ID,
		"KEEPKEY_NAME="+e.Name,
		"KEEPKEY_DOMAINS="+domains,
		"KEEPKEY_LIVE_DIR="+e.LiveDir,
	)
	switch e.Kind {
	case Publish:
		env = append(env,
			"KEEPKEY_CHANNEL="+e.Channel,
			"KEEPKEY_PINSET_VERSION="+strconv.Itoa(e.PinSetVersion),
			"KEEPKEY_PINS="+strings.Join(e.Pins, " "),
		)
	case Deploy:
		// certbot's names, so that its deploy hooks work unchanged.
		env = append(env, "RENEWED_LINEAGE="+e.LiveDir, "RENEWED_DOMAINS="+domains)
	case Notify:
		env = append(env,
			"KEEPKEY_HOST="+e.Host,
			"KEEPKEY_CERTIFICATES="+strings.Join(e.Certificates, " "),
			"KEEPKEY_STATE="+e.State,
			"KEEPKEY_CODE="+e.Problem.Code,
			"KEEPKEY_SEVERITY="+e.Problem.Severity,
			"KEEPKEY_SUMMARY="+e.Summary,
			"KEEPKEY_TEXT="+e.Text,
		)
	}
	return env
}

// tailBuffer accepts any amount of output and keeps the end.
type tailBuffer struct{ data []byte }

func (b *tailBuffer) Write(p []byte) (int, error) {
	n := len(p)
	if n >= maxOutput {
		b.data = slices.Clone(p[n-maxOutput:])
		return n, nil
	}
	if over := len(b.data) + n - maxOutput; over > 0 {
		b.data = slices.Delete(b.data, 0, over)
	}
	b.data = append(b.data, p...)
	return n, nil
}

func (b *tailBuffer) String() string { return string(b.data) }

// headBuffer accepts any amount of output and keeps the beginning.
type headBuffer struct {
	bytes.Buffer
	limit int
}

func (b *headBuffer) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), b.limit-b.Len())])
	return len(p), nil
}
