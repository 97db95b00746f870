package keystore

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestHostKeepsItsID(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	if s, err := Open(dir, ""); err != nil || s.Host() != "" {
		t.Errorf("before the first run: %q, %v", s.Host(), err)
	}
	s, l := reopen(t, dir)
	begun(t, l, 0)
	id := s.Host()
	if !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(id) {
		t.Errorf("the id is %q", id)
	}
	if info, err := os.Stat(filepath.Join(dir, "host")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info.Mode(), err)
	}
	if s, err := Open(dir, ""); err != nil || s.Host() != id {
		t.Errorf("read beside it: %q, %v", s.Host(), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, _ := reopen(t, dir); s.Host() != id {
		t.Errorf("then %q, before %q", s.Host(), id)
	}
	if other := openStore(t); other.Host() == id {
		t.Error("two hosts have one id")
	}
}

func TestStateDirectoryWithoutAHostIsReadWithoutOne(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	if err := os.Remove(s.hostPath()); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(s.dir, ""); err != nil || s.Host() != "" {
		t.Errorf("%q, %v", s.Host(), err)
	}
}

func TestDamagedHostIDIsAnError(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(path string) error{
		"empty":       func(p string) error { return os.Truncate(p, 0) },
		"cut short":   func(p string) error { return os.Truncate(p, 10) },
		"no line end": func(p string) error { return os.Truncate(p, 16) },
		"upper case":  func(p string) error { return os.WriteFile(p, []byte("0123456789ABCDEF\n"), 0o600) },
		"garbage":     func(p string) error { return os.WriteFile(p, []byte("0123456789abcdeg\n"), 0o600) },
		"two lines":   func(p string) error { return appendTo(p, []byte("0123456789abcdef\n")) },
		"a link":      func(p string) error { return os.Rename(p, p+".real") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openStore(t)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := damage(s.hostPath()); err != nil {
				t.Fatal(err)
			}
			if name == "a link" {
				if err := os.Symlink("host.real", s.hostPath()); err != nil {
					t.Fatal(err)
				}
			}
			before, err := os.ReadFile(s.hostPath())
			if err != nil {
				t.Fatal(err)
			}
			for how, open := range map[string]func() (*Store, error){
				"for reading": func() (*Store, error) { return Open(s.dir, "") },
				"for writing": func() (*Store, error) { return OpenLocked(s.dir, "") },
			} {
				if _, err := open(); err == nil || !strings.Contains(err.Error(), s.hostPath()) {
					t.Errorf("opened %s: %v", how, err)
				}
			}
			if after, err := os.ReadFile(s.hostPath()); err != nil || string(after) != string(before) {
				t.Errorf("it was replaced: %q, %v", after, err)
			}
		})
	}
}
