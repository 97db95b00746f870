package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// limit bounds go vet and each test command.
const limit = 5 * time.Minute

// workspace is a copy of the repository in which faults are tried.
type workspace struct{ dir string }

// newWorkspace copies what git tracks or would track, as it stands in the work
// tree. The caller removes the directory.
func newWorkspace(ctx context.Context) (workspace, error) {
	list, err := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return workspace{}, fmt.Errorf("git ls-files: %w", err)
	}
	dir, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return workspace{}, err
	}
	w := workspace{dir}
	for file := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		if err := w.copy(file); err != nil {
			os.RemoveAll(dir)
			return workspace{}, err
		}
	}
	return w, nil
}

func (w workspace) copy(file string) error {
	info, err := os.Lstat(file)
	if os.IsNotExist(err) {
		return nil // tracked, and deleted in the work tree
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return w.link(file)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", file)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return w.write(file, data, info.Mode().Perm())
}

func (w workspace) link(file string) error {
	target, err := os.Readlink(file)
	if err != nil {
		return err
	}
	path := filepath.Join(w.dir, filepath.FromSlash(file))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.Symlink(target, path)
}

func (w workspace) write(file string, data []byte, mode fs.FileMode) error {
	path := filepath.Join(w.dir, filepath.FromSlash(file))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, mode)
}

func (w workspace) read(file string) ([]byte, error) {
	return os.ReadFile(filepath.Join(w.dir, filepath.FromSlash(file)))
}

// holds makes sure that a test passes without any fault: one that fails anyway
// would notice everything.
func (w workspace) holds(ctx context.Context, test string) error {
	out, err := w.run(ctx, test)
	if err != nil {
		return fmt.Errorf("%s fails without any fault:\n%s", test, indent(tail(out)))
	}
	if bytes.Contains(out, []byte("[no tests to run]")) {
		return fmt.Errorf("%s runs no test", test)
	}
	return nil
}

// try puts a fault in, runs the tests that must notice it, and takes it out again.
// It returns the test that noticed, for each command, or "" for one that did not.
func (w workspace) try(ctx context.Context, m mutant) (noticed []string, err error) {
	changed, err := m.apply(w.read)
	if err != nil {
		return nil, err
	}
	for file, data := range changed {
		original, problem := w.read(file)
		if problem != nil {
			return nil, problem
		}
		defer func() { err = errors.Join(err, w.write(file, original, 0o644)) }()
		if problem := w.write(file, data, 0o644); problem != nil {
			return nil, problem
		}
	}
	if out, err := w.run(ctx, "go vet ./..."); err != nil {
		return nil, fmt.Errorf("it does not pass go vet: %w\n%s", err, indent(tail(out)))
	}
	for _, test := range m.Tests {
		out, err := w.run(ctx, test)
		name, err := verdict(out, err)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", test, err)
		}
		noticed = append(noticed, name)
	}
	return noticed, nil
}

var failed = regexp.MustCompile(`(?m)^\s*(--- FAIL: \S+|panic: .*)`)

// verdict says which test noticed the fault, or "" when none did. That a test was
// not built or not finished is an error: it proves nothing.
func verdict(out []byte, err error) (noticed string, _ error) {
	if err == nil {
		return "", nil
	}
	if found := failed.FindSubmatch(out); found != nil {
		return string(found[1]), nil
	}
	return "", fmt.Errorf("no test failed, but: %w\n%s", err, indent(tail(out)))
}

// run runs a shell command in the workspace, and ends it with all its children at
// the limit.
func (w workspace) run(ctx context.Context, command string) (output []byte, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not finished after %v", limit))
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Env = append(os.Environ(), "KEEPKEY_TEST_SWEEP_ALL=1") // a fault may show at one effect alone
	cmd.Dir = w.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return out, err
}

// tail returns the last lines of an output.
func tail(out []byte) string {
	const shown = 30
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-shown):], "\n")
}
