package keystore

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestOnlyRegularFilesAreRead(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		put  func(path string) error
		want string // part of the error; "" reads
	}{
		"a file":                {func(p string) error { return os.WriteFile(p, []byte("content"), 0o640) }, ""},
		"of the greatest size":  {func(p string) error { return os.WriteFile(p, bytes.Repeat([]byte("x"), 20), 0o640) }, ""},
		"an empty file":         {func(p string) error { return os.WriteFile(p, nil, 0o640) }, ""},
		"a byte too large":      {func(p string) error { return os.WriteFile(p, bytes.Repeat([]byte("x"), 21), 0o640) }, "more than the 20"},
		"nothing":               {func(string) error { return nil }, "no such file"},
		"a directory":           {func(p string) error { return os.Mkdir(p, 0o700) }, "not a regular file"},
		"a symbolic link":       {func(p string) error { return errors.Join(os.WriteFile(p+"x", nil, 0o600), os.Symlink(p+"x", p)) }, "symbolic links"},
		"of somebody else":      {func(p string) error { return errors.Join(os.WriteFile(p, nil, 0o600), os.Chown(p, 1, -1)) }, "belongs to "},
		"a pipe without an end": {func(p string) error { return syscall.Mkfifo(p, 0o600) }, "not a regular file"},
	} {
		if name == "of somebody else" && os.Geteuid() != 0 {
			continue // it takes root to give a file away
		}
		path := filepath.Join(t.TempDir(), "file")
		if err := tt.put(path); err != nil {
			t.Fatal(err)
		}
		data, mode, err := readFile(path, 20)
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("%s: error %v, want one that says %q", name, err, tt.want)
			}
			if (name == "nothing") != errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		want, readErr := os.ReadFile(path)
		if err != nil || readErr != nil || data == nil || !bytes.Equal(data, want) || mode != 0o640 {
			t.Errorf("%s: %q, mode %v, %v", name, data, mode, err)
		}
	}
}
