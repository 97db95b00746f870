package hooks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestFileKeepsItsOwner(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	path := filepath.Join(t.TempDir(), "pins.json")
	if err := os.WriteFile(path, []byte("old"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 12345, 23456); err != nil {
		t.Fatal(err)
	}
	if err := (File{Path: path}).Run(context.Background(), publication(t)); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	if owner.Uid != 12345 || owner.Gid != 23456 || info.Mode() != 0o640 {
		t.Errorf("the file is %d:%d, %v; want 12345:23456 and -rw-r-----", owner.Uid, owner.Gid, info.Mode())
	}
	if got, _ := os.ReadFile(path); string(got) != publication(t).Document {
		t.Errorf("the file holds %q", got)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("%d files, want one", len(entries))
	}
}

func TestFileThatHoldsTheDocumentIsNotTouched(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pins.json")
	if err := os.WriteFile(path, []byte(publication(t).Document), 0o644); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := (File{Path: path}).Run(context.Background(), publication(t)); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		t.Error("the file was replaced")
	}
}

func TestFileThatCannotBeWrittenSaysWhy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "no", "pins.json"): "the directory " + filepath.Join(dir, "no") + " does not exist",
		dir:                                   "not a regular file",
		fifo:                                  "not a regular file", // and does not wait for somebody to read it
	} {
		err := File{Path: path}.Run(context.Background(), publication(t))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that says %q", err, want)
		}
	}
	if _, err := (File{Path: fifo}).Read(context.Background(), publication(t)); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("reading back from a pipe: error %v", err)
	}
}

// Whoever reads a file by a link reads what the link leads to.
func TestLinksAreFollowed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	target, link, chained := filepath.Join(dir, "served", "pins.json"), filepath.Join(dir, "pins.json"), filepath.Join(dir, "again.json")
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "served"), 0o700), os.WriteFile(target, []byte("old"), 0o640), os.Symlink("served/pins.json", link), os.Symlink(link, chained)); err != nil {
		t.Fatal(err)
	}
	for i, path := range []string{link, chained} {
		document := fmt.Sprintf("new %d", i)
		if err := (File{path}).Run(t.Context(), Event{Document: document}); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(target)
		info, err2 := os.Stat(target)
		if err != nil || err2 != nil || string(data) != document || info.Mode().Perm() != 0o640 {
			t.Errorf("the target holds %q (%v)", data, errors.Join(err, err2))
		}
		if to, err := os.Readlink(path); err != nil {
			t.Errorf("%s is no link any more (%v), to %q", path, err, to)
		}
	}
}

func TestLinksThatCantBeFollowedAreRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		make func(path, other string) error
		want string
	}{
		{"to nowhere", func(path, _ string) error { return os.Symlink("nowhere", path) }, "it is a symbolic link that leads nowhere"},
		{"to itself", func(path, _ string) error { return os.Symlink(path, path) }, "it is a symbolic link that leads nowhere"},
		{"a hard link", func(path, other string) error { return os.Link(other, path) }, "has 2 names (hard links)"},
		{"to a directory", func(path, other string) error { return os.Symlink(filepath.Dir(other), path) }, "is not a regular file"},
		{"that another user made", func(path, other string) error {
			if os.Geteuid() != 0 {
				return errSkip
			}
			return errors.Join(os.Symlink(other, path), os.Lchown(path, 12345, 12345))
		}, "that another user made (uid 12345)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path, other := filepath.Join(dir, "pins.json"), filepath.Join(dir, "other")
			if err := os.WriteFile(other, []byte("other"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := tt.make(path, other); errors.Is(err, errSkip) {
				t.Skip("only root can make such a link")
			} else if err != nil {
				t.Fatal(err)
			}
			err := (File{path}).Run(t.Context(), Event{Document: "new"})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if data, err := os.ReadFile(other); string(data) != "other" {
				t.Errorf("the other file holds %q (%v)", data, err)
			}
		})
	}
}

var errSkip = errors.New("skip")
