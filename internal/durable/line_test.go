package durable

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestLinesAreAddedAndTheFileIsBounded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal")
	add := func(line string) {
		t.Helper()
		if err := AppendLine(path, []byte(line), 10, Access{Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
	}
	add("one")
	add("two")
	if got := read(t, path); got != "one\ntwo\n" || mode(t, path) != 0o600 {
		t.Errorf("%q, mode %o", got, mode(t, path))
	}
	add("three")
	add("four five six") // longer than the limit by itself
	add("seven")
	if got, older := read(t, path), read(t, Older(path)); got != "seven\n" || older != "four five six\n" {
		t.Errorf("%q after %q", got, older)
	}
}

// A process that was killed, or a full disk, leaves the beginning of a line.
func TestWhatACrashLeftOfALineEndsThere(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal")
	if err := os.WriteFile(path, []byte("one\ntw"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := AppendLine(path, []byte("three"), 1000, Access{Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path); got != "one\ntw\nthree\n" {
		t.Errorf("%q", got)
	}
}

func TestALineGoesToNothingButAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe, link := filepath.Join(dir, "pipe"), filepath.Join(dir, "link")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, link, filepath.Join(dir, "none", "journal")} {
		if err := AppendLine(path, []byte("line"), 1000, Access{Mode: 0o600}); err == nil {
			t.Errorf("%s takes a line", path)
		}
	}
	onlyNames(t, dir, "link", "pipe")
}
