package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"keepkey/internal/fault"
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

// points records the effects of a function below a directory, in order.
func points(dir string, f func() error) (seen []string) {
	fault.Handle(func(p fault.Point, effect func() error) error {
		if strings.HasPrefix(p.Where, dir) {
			where := strings.TrimPrefix(p.Where, dir)
			if i := strings.Index(where, TempPrefix); i >= 0 {
				where = where[:i] + "TEMP"
			}
			seen = append(seen, p.Op+" "+where)
		}
		return effect()
	})
	defer fault.Handle(nil)
	if err := f(); err != nil {
		seen = append(seen, err.Error())
	}
	return seen
}

// The order of the system calls is what a power cut's outcome hangs on.
func TestSystemCallsAreInOrder(t *testing.T) {
	// Not parallel: there is one fault handler.
	for _, tt := range []struct {
		name string
		do   func(dir string) error
		want []string
	}{
		{"Create", func(dir string) error { return Create(dir+"/a", []byte("x"), Access{Mode: 0o600}) },
			[]string{"open /TEMP", "chmod /TEMP", "write /TEMP", "fsync /TEMP", "link /a", "remove /TEMP", "fsync "}},
		{"Replace", func(dir string) error { return Replace(dir+"/file", []byte("x"), Access{Mode: 0o600}) },
			[]string{"open /TEMP", "chmod /TEMP", "write /TEMP", "fsync /TEMP", "rename /file", "fsync "}},
		{"Append", func(dir string) error { return Append(dir+"/file", 3, []byte("x"), Access{Mode: 0o600}) },
			[]string{"open /file", "truncate /file", "write /file", "fsync /file"}},
		{"Append to a new file", func(dir string) error { return Append(dir+"/a", 0, []byte("x"), Access{Mode: 0o600}) },
			[]string{"open /a", "write /a", "fsync /a", "fsync "}},
		{"Rewrite", func(dir string) error { return Rewrite(dir+"/file", 3, []byte("x")) },
			[]string{"open /file", "write /file", "fsync /file"}},
		{"Rewrite of all", func(dir string) error { return Rewrite(dir+"/file", 0, []byte("x")) },
			[]string{"open /file", "write /file", "fsync /file", "fsync "}},
		{"Link", func(dir string) error { return Link(dir+"/file", dir+"/a") },
			[]string{"link /a", "fsync "}},
		{"Symlink", func(dir string) error { return Symlink(dir+"/a", "file") },
			[]string{"symlink /TEMP", "rename /a", "fsync "}},
		{"Mkdir", func(dir string) error { return Mkdir(dir+"/a", Access{Mode: 0o700}) },
			[]string{"mkdir /a", "chmod /a", "fsync "}},
		{"CreateDir", func(dir string) error {
			return CreateDir(dir+"/a", Access{Mode: 0o700}, []File{{Name: "f", Access: Access{Mode: 0o600}}})
		}, []string{"mkdir /TEMP", "open /TEMP", "chmod /TEMP", "write /TEMP", "fsync /TEMP", "chmod /TEMP", "fsync /TEMP", "rename /a", "fsync "}},
		{"RemoveFile", func(dir string) error { return RemoveFile(dir + "/file") }, []string{"remove /file", "fsync "}},
		{"RemoveDir", func(dir string) error { return RemoveDir(dir + "/dir") },
			[]string{"rename /TEMP", "fsync ", "remove all /TEMP", "fsync "}},
		{"RemoveTemp of nothing", RemoveTemp, nil},
		{"RemoveTemp", func(dir string) error {
			return errors.Join(os.WriteFile(dir+"/"+TempPrefix+"x", nil, 0o600), RemoveTemp(dir))
		}, []string{"remove all /TEMP", "fsync "}},
	} {
		dir := t.TempDir()
		if err := errors.Join(os.WriteFile(dir+"/file", []byte("content"), 0o600), os.Mkdir(dir+"/dir", 0o700)); err != nil {
			t.Fatal(err)
		}
		if seen := points(dir, func() error { return tt.do(dir) }); !slices.Equal(seen, tt.want) {
			t.Errorf("%s:\n%q, want\n%q", tt.name, seen, tt.want)
		}
	}
}

func TestRewriteChangesNothingElse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "ledger")
	if err := Rewrite(path, 0, []byte("one\n")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	onlyNames(t, dir)
	if err := os.WriteFile(path, []byte("one\ntwo\nthr"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Rewrite(path, 4, []byte("two\n")); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path); got != "one\ntwo\nthr" {
		t.Errorf("the file holds %q", got)
	}
}

func TestLinkNeverOverwrites(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a, b, c := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "c")
	if err := Link(a, b); !errors.Is(err, fs.ErrExist) || read(t, b) != "b" {
		t.Errorf("over another file: %v", err)
	}
	if err := Link(a, c); err != nil || read(t, c) != "a" {
		t.Error(err)
	}
	if err := Link(filepath.Join(dir, "none"), filepath.Join(dir, "d")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of no file: %v", err)
	}
	onlyNames(t, dir, "a", "b", "c")
}

func TestRemoveDirTakesAllOfOneDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"1", "2"} {
		if err := CreateDir(filepath.Join(dir, name), Access{Mode: 0o700}, []File{{Name: "cert", Access: Access{Mode: 0o600}}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := RemoveDir(filepath.Join(dir, "1")); err != nil {
		t.Fatal(err)
	}
	if err := RemoveDir(filepath.Join(dir, "1")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the second time: %v", err)
	}
	onlyNames(t, dir, "2")
	onlyNames(t, filepath.Join(dir, "2"), "cert")
}

func TestWhatACrashLeftIsGoneWithTheNextAttempt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, put := range map[string]func(path string) error{
		"a file":           func(path string) error { return os.WriteFile(path, []byte("half"), 0o644) },
		"a link elsewhere": func(path string) error { return os.Symlink(filepath.Join(dir, "victim"), path) },
	} {
		if err := put(tempOf(t, filepath.Join(dir, "pins"))); err != nil {
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

// TestNobodyCanStopAReplacementByItsTemporaryName has somebody put what can't be removed
// where the new content is written first. (A directory that is not empty stands for what
// belongs to another user in a directory like /tmp.)
func TestNobodyCanStopAReplacementByItsTemporaryName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pins := filepath.Join(dir, "pins")
	obstacle := tempOf(t, pins)
	if err := os.MkdirAll(filepath.Join(obstacle, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Replace(pins, []byte("whole"), Access{Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, pins); got != "whole" {
		t.Errorf("the file holds %q", got)
	}
	onlyNames(t, dir, filepath.Base(obstacle), "pins")
}

func TestTheLongestNameCanBeReplaced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := strings.Repeat("x", 255)
	if err := Replace(filepath.Join(dir, name), []byte("whole"), Access{Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	onlyNames(t, dir, name)
}

// tempOf returns the name under which a file's new content is written first.
func tempOf(t *testing.T, path string) string {
	t.Helper()
	tmp, err := writeTemp(path, nil, Access{Mode: 0o600})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(tmp); err != nil {
		t.Fatal(err)
	}
	return tmp
}
