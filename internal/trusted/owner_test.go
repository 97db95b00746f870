package trusted

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Users that nobody is.
const (
	service = 65531
	other   = 65532
)

// Who is going to act as the owner of a directory must not be led to one of another user's
// choosing.
func TestNobodyElseDecidesWhoseADirectoryIs(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give directories away")
	}
	dir := func(path string, uid int, mode fs.FileMode) error {
		return errors.Join(os.MkdirAll(path, 0o755), os.Chmod(path, mode), os.Lchown(path, uid, uid))
	}
	link := func(path, target string, uid int) error {
		return errors.Join(os.Symlink(target, path), os.Lchown(path, uid, uid))
	}
	for name, tt := range map[string]struct {
		make func(at string) error // state is the directory
		want string                // part of the error; "" is the service's
	}{
		"in root's directory": {func(at string) error { return dir(at+"/state", service, 0o700) }, ""},
		"for all to see":      {func(at string) error { return dir(at+"/state", service, 0o755) }, ""},
		"in its own directory": {func(at string) error {
			return errors.Join(dir(at, service, 0o755), dir(at+"/state", service, 0o700))
		}, ""},
		"behind root's link, as with DynamicUser=": {func(at string) error {
			return errors.Join(dir(at+"/private", 0, 0o700), dir(at+"/private/state", service, 0o700), link(at+"/state", "private/state", 0))
		}, ""},
		"behind its own link to another place": {func(at string) error {
			return errors.Join(dir(at, service, 0o755), dir(at+"/there/state", service, 0o700), dir(at+"/there", 0, 0o755), link(at+"/state", at+"/there/../there/state", service))
		}, ""},
		"in a directory of root's in one for everybody": {func(at string) error {
			return errors.Join(dir(at, 0, 0o777|fs.ModeSticky), dir(at+"/roots", 0, 0o755), dir(at+"/roots/state", service, 0o700), link(at+"/state", "roots/state", 0))
		}, ""},
		"root's group may write": {func(at string) error {
			return errors.Join(dir(at, 0, 0o775), dir(at+"/state", service, 0o700))
		}, ""},
		"in a directory for everybody": {func(at string) error {
			return errors.Join(dir(at, 0, 0o777|fs.ModeSticky), dir(at+"/state", service, 0o700))
		}, "/at can be written by others (mode 0777), who could have put it there"},
		"a group may write": {func(at string) error {
			return errors.Join(os.Mkdir(at, 0o700), os.Chown(at, 0, other), os.Chmod(at, 0o775), dir(at+"/state", service, 0o700))
		}, "/at can be written by others (mode 0775)"},
		"in another's directory": {func(at string) error {
			return errors.Join(dir(at, other, 0o755), dir(at+"/state", service, 0o700))
		}, "/at belongs to uid 65532, who could lead to another directory"},
		"below another's directory": {func(at string) error {
			return errors.Join(dir(at+"/theirs", other, 0o755), dir(at+"/theirs/deep", 0, 0o755), dir(at+"/theirs/deep/state", service, 0o700), link(at+"/state", "theirs/deep/state", 0))
		}, "/at/theirs belongs to uid 65532"},
		"behind another's link": {func(at string) error {
			return errors.Join(dir(at+"/there", service, 0o700), link(at+"/state", "there", other))
		}, "/at/state belongs to uid 65532, who could lead to another directory"},
		"a link to itself": {func(at string) error { return errors.Join(os.MkdirAll(at, 0o755), os.Symlink("state", at+"/state")) }, "too many levels of symbolic links"},
		"a file": {func(at string) error {
			return errors.Join(os.MkdirAll(at, 0o755), os.WriteFile(at+"/state", nil, 0o600))
		}, "is not a directory"},
		"nothing": {func(string) error { return nil }, "no such file or directory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base, err := os.MkdirTemp("", "keepkey-owner-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(base) })
			at := filepath.Join(base, "at")
			if err := tt.make(at); err != nil {
				t.Fatal(err)
			}
			uid, err := Owner(at + "/state")
			if tt.want == "" && (uid != service || err != nil) {
				t.Errorf("%d, %v", uid, err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%d, %v, want %q", uid, err, tt.want)
			}
		})
	}
}

func TestAnAccountHasItsGroups(t *testing.T) {
	t.Parallel()
	got, err := AccountOf(service)
	if want := (Account{UID: service, GID: service, Home: "/"}); err != nil || got.UID != want.UID || got.GID != want.GID || got.Home != want.Home || got.Name != "" || !slices.Equal(got.Groups, []int{service}) {
		t.Errorf("without an entry: %+v, %v", got, err)
	}
	data, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 7 {
			continue
		}
		uid, err := strconv.Atoi(f[2])
		if err != nil {
			t.Fatal(err)
		}
		a, err := AccountOf(uid)
		if err != nil || a.Name != f[0] || a.Home != f[5] || strconv.Itoa(a.GID) != f[3] {
			t.Errorf("%s: %+v, %v", f[0], a, err)
		}
		out, err := exec.Command("id", "-G", f[0]).Output()
		if err != nil {
			t.Skip(err)
		}
		var groups []string
		for _, gid := range a.Groups {
			groups = append(groups, strconv.Itoa(gid))
		}
		want := strings.Fields(string(out))
		slices.Sort(groups)
		slices.Sort(want)
		if !slices.Equal(groups, want) {
			t.Errorf("%s is in the groups %q, and id says %q", f[0], groups, want)
		}
	}
}
