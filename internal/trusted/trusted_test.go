package trusted

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// file is one that need not be there.
type file struct {
	fs.FileInfo
	mode     fs.FileMode
	uid, gid uint32
}

func (f file) Mode() fs.FileMode { return f.mode }
func (f file) Sys() any          { return &syscall.Stat_t{Uid: f.uid, Gid: f.gid} }

func TestOnlyOursOrRootsFilesAreTrusted(t *testing.T) {
	t.Parallel()
	root := identity{uid: 0, gid: 0, groups: []int{0}}
	service := identity{uid: 999, gid: 998, groups: []int{998, 33}}
	for _, tt := range []struct {
		name   string
		id     identity
		file   file
		secret bool
		want   string // part of the error; "" is trusted
	}{
		{"our own", service, file{mode: 0o600, uid: 999, gid: 998}, true, ""},
		{"root's", service, file{mode: 0o644}, false, ""},
		{"root's, that our group may read", service, file{mode: 0o640, gid: 998}, true, ""},
		{"root's, that a group that we are in may read", service, file{mode: 0o640, gid: 33}, true, ""},
		{"our own group may write, as it is with private groups", service, file{mode: 0o664, uid: 999, gid: 998}, false, ""},
		{"another user's", service, file{mode: 0o600, uid: 1000, gid: 998}, false, "/f belongs to "},
		{"another user's, for root", root, file{mode: 0o600, uid: 1000}, false, "run chown 0 on it"},
		{"everybody may write", service, file{mode: 0o602, uid: 999}, false, "everybody can write to /f (mode 0602)"},
		{"a group that we are in may write", service, file{mode: 0o620, uid: 999, gid: 33}, false, "the group with ID 33 can write to /f"},
		{"another group may write", root, file{mode: 0o664, gid: 4}, false, "the group with ID 4 can write"},
		{"everybody may read what is no secret", root, file{mode: 0o644, gid: 4}, false, ""},
		{"everybody may read a secret", root, file{mode: 0o604}, true, "everybody can read /f (mode 0604), which holds a secret"},
		{"another group may read a secret", root, file{mode: 0o640, gid: 4}, true, "the group with ID 4 can read /f"},
		{"a pipe", root, file{mode: 0o600 | fs.ModeNamedPipe}, false, "not a regular file"},
		{"a device", root, file{mode: 0o600 | fs.ModeDevice | fs.ModeCharDevice}, false, "not a regular file"},
		{"a directory", root, file{mode: 0o700 | fs.ModeDir}, false, "not a regular file"},
	} {
		err := tt.id.refuse("/f", tt.file, tt.secret)
		if (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestFilesAreReadWithinBounds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "secret")
	write := func(mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(path, []byte("12345"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	write(0o600)
	if data, err := ReadSecret(path); string(data) != "12345" || err != nil {
		t.Errorf("%q, %v", data, err)
	}
	if _, err := Read(path, 4); err == nil || !strings.Contains(err.Error(), "longer than 4 bytes") {
		t.Error(err)
	}
	if err := os.WriteFile(path, make([]byte, maxSecret+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSecret(path); err == nil || !strings.Contains(err.Error(), "longer than 65536 bytes") {
		t.Error(err)
	}
	write(0o644)
	if _, err := Read(path, 5); err != nil {
		t.Error(err)
	}
	if _, err := ReadSecret(path); err == nil {
		t.Error("a secret that everybody can read is taken")
	}
	if err := Program(path); err != nil {
		t.Error(err)
	}
	write(0o777)
	if err := Program(path); err == nil {
		t.Error("a program that everybody can change is run")
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(time.Minute, func() { panic("it waits for a writer") })
	defer stuck.Stop()
	for _, path := range []string{pipe, dir, "/dev/zero"} {
		if _, err := Read(path, 5); err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := Read(filepath.Join(dir, "none"), 5); !os.IsNotExist(err) {
		t.Error(err)
	}
}
