package durable

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

// onlyNames fails if a directory holds anything else, such as a temporary file.
func onlyNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%s holds %q, want %q", dir, got, want)
	}
}

func TestCreateNeverOverwrites(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	if err := Create(path, []byte("first"), Access{Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	if err := Create(path, []byte("second"), Access{Mode: 0o600}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("the second Create says %v, want fs.ErrExist", err)
	}
	if got := read(t, path); got != "first" {
		t.Errorf("the file holds %q", got)
	}
	onlyNames(t, dir, "key")
}

func TestReplaceDoesNotKeepAnOldMode(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Replace(path, []byte("new"), Access{Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path); got != "new" {
		t.Errorf("the file holds %q", got)
	}
	if m := mode(t, path); m != 0o600 {
		t.Errorf("mode %04o, want 0600", m)
	}
	onlyNames(t, dir, "state")
}

func TestModesAreExactWhateverTheUmask(t *testing.T) {
	// Not parallel: the umask is the process's.
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	dir := t.TempDir()
	if err := CreateDir(filepath.Join(dir, "v"), Access{Mode: 0o750}, []File{{Name: "a", Data: []byte("x"), Access: Access{Mode: 0o644}}}); err != nil {
		t.Fatal(err)
	}
	if m := mode(t, filepath.Join(dir, "v")); m != 0o750 {
		t.Errorf("directory mode %04o, want 0750", m)
	}
	if m := mode(t, filepath.Join(dir, "v", "a")); m != 0o644 {
		t.Errorf("file mode %04o, want 0644", m)
	}
}

func TestCreateDirNeverReplaces(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "1")
	files := func(s string) []File {
		return []File{{Name: "cert", Data: []byte(s), Access: Access{Mode: 0o600}}}
	}
	if err := CreateDir(path, Access{Mode: 0o700}, files("first")); err != nil {
		t.Fatal(err)
	}
	if err := CreateDir(path, Access{Mode: 0o700}, files("second")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("the second CreateDir says %v, want fs.ErrExist", err)
	}
	if got := read(t, filepath.Join(path, "cert")); got != "first" {
		t.Errorf("the file holds %q", got)
	}
	onlyNames(t, dir, "1")
}

func TestCreateDirLeavesNothingBehindWhenItFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	err := CreateDir(filepath.Join(dir, "1"), Access{Mode: 0o700}, []File{
		{Name: "a", Access: Access{Mode: 0o600}},
		{Name: "no/such/dir", Access: Access{Mode: 0o600}},
	})
	if err == nil {
		t.Error("a file that can't be made went unnoticed")
	}
	onlyNames(t, dir)
}

func TestAppendCutsOffWhatACrashLeft(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "ledger")
	for _, step := range []struct {
		size int64
		data string
		want string
	}{
		{0, "one\n", "one\n"},
		{4, "two\n", "one\ntwo\n"},
		{4, "2\n", "one\n2\n"}, // "two" was never reported done
	} {
		if err := Append(path, step.size, []byte(step.data), Access{Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		if got := read(t, path); got != step.want {
			t.Errorf("the file holds %q, want %q", got, step.want)
		}
	}
	if err := Append(path, 100, []byte("three\n"), Access{Mode: 0o600}); err == nil {
		t.Error("a file that was cut short went unnoticed")
	}
	if got := read(t, path); got != "one\n2\n" {
		t.Errorf("the file was changed all the same: %q", got)
	}
	if m := mode(t, path); m != 0o600 {
		t.Errorf("mode %04o, want 0600", m)
	}
}

func TestSymlinkSwitchesAnExistingLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link := filepath.Join(dir, "live")
	for _, target := range []string{"certs/1", "certs/2"} {
		if err := Symlink(link, target); err != nil {
			t.Fatal(err)
		}
		if got, err := os.Readlink(link); err != nil || got != target {
			t.Errorf("the link points to %q (%v), want %q", got, err, target)
		}
	}
	onlyNames(t, dir, "live")
}

func TestRemoveTempTakesOnlyUnfinishedWork(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"key.pem", TempPrefix + "file"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, TempPrefix+"dir", "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := RemoveTemp(dir); err != nil {
		t.Fatal(err)
	}
	onlyNames(t, dir, "key.pem")
}

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
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	again, err := Acquire(path)
	if err != nil {
		t.Fatalf("after Release: %v", err)
	}
	again.Release()
}

func TestLockOnARemovedFileIsNotEnough(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	first, err := Acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Release()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	// The next process locks a new file; and the one after it must see that.
	second, err := Acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Release()
	var held *LockedError
	if _, err := Acquire(path); !errors.As(err, &held) {
		t.Errorf("a third Acquire says %v, want a LockedError", err)
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
	l.Release()
}

func TestWhatACrashLeftIsGoneWithTheNextAttempt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, put := range map[string]func(path string) error{
		"a file":           func(path string) error { return os.WriteFile(path, []byte("half"), 0o644) },
		"a link elsewhere": func(path string) error { return os.Symlink(filepath.Join(dir, "victim"), path) },
	} {
		if err := put(filepath.Join(dir, TempPrefix+"pins.part")); err != nil {
			t.Fatal(err)
		}
		if err := Replace(filepath.Join(dir, "pins"), []byte("whole"), Access{Mode: 0o600}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := read(t, filepath.Join(dir, "pins")); got != "whole" {
			t.Errorf("%s: the file holds %q", name, got)
		}
		onlyNames(t, dir, "pins")
	}
}
