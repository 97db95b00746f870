package acme

import (
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Anybody can connect to the listener for challenges.
func TestVisitorsOfAListenerAreCounted(t *testing.T) {
	t.Parallel()
	for name, answers := range map[string]bool{"room for one more": true, "full": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			addr := ln.Addr().String()
			ln.Close()
			l := NewHTTP01(addr).provider
			if err := l.Present("api.example.com", "token", "key"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.CleanUp("api.example.com", "token", "key") })
			idle := maxVisits
			if answers {
				idle--
			}
			for range idle {
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { conn.Close() })
			}
			client := http.Client{Timeout: visitTime / 5}
			resp, err := client.Get("http://" + addr + "/" + http01Path + "/token")
			if err == nil {
				resp.Body.Close()
			}
			if (err == nil) != answers {
				t.Errorf("answered: %v, %v", err == nil, err)
			}
		})
	}
}

// A CA may give one token to two names. Each of them is presented and taken away, and then
// nothing listens any more.
func TestATokenOfTwoNamesLeavesNoPortOpen(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]*Solver{"http-01": NewHTTP01("127.0.0.1:0"), "tls-alpn-01": NewTLSALPN01("127.0.0.1:0")} {
		open := func() bool {
			if l, ok := s.provider.(*http01Listener); ok {
				return l.ln != nil
			}
			return s.provider.(*tlsALPN01Listener).ln != nil
		}
		present := func() {
			if err := s.provider.Present("api.example.com", "token", "key"); err != nil {
				t.Fatal(err)
			}
		}
		cleanUp := func(want bool) {
			t.Helper()
			if err := s.provider.CleanUp("api.example.com", "token", "key"); err != nil {
				t.Fatal(err)
			}
			if open() != want {
				t.Errorf("%s: it listens: %v, want %v", name, open(), want)
			}
		}
		present()
		present()
		cleanUp(true)
		cleanUp(false)
		cleanUp(false) // once too often
		present()
		cleanUp(false)
	}
}

// webrootEnv has the test below, run once more, write a token there.
const webrootEnv = "KEEPKEY_TEST_WEBROOT"

func TestTokensCanBeReadWhateverTheUmask(t *testing.T) {
	t.Parallel()
	if dir := os.Getenv(webrootEnv); dir != "" {
		if err := (webroot{dir}).Present("", "token", "key"); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, umask := range []string{"000", "077", "777"} {
		dir := t.TempDir()
		cmd := exec.Command("/bin/sh", "-c", "umask "+umask+`; exec "$0" -test.run '^TestTokensCanBeReadWhateverTheUmask$'`, os.Args[0])
		cmd.Env = append(os.Environ(), webrootEnv+"="+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("umask %s: %v\n%s", umask, err, out)
		}
		for name, want := range map[string]os.FileMode{".well-known": 0o755, http01Path: 0o755, http01Path + "/token": 0o644} {
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil || info.Mode().Perm() != want {
				t.Errorf("umask %s: %s has mode %v, want %v (%v)", umask, name, info.Mode().Perm(), want, err)
			}
		}
	}
}

// A token is known before its file is written, so somebody else may have been there first.
func TestAFileInTheWayOfATokenIsReplaced(t *testing.T) {
	t.Parallel()
	for name, placed := range map[string]func(path, other string) error{
		"a pipe":          func(path, _ string) error { return syscall.Mkfifo(path, 0o666) },
		"a hard link":     func(path, other string) error { return os.Link(other, path) },
		"a symbolic link": func(path, other string) error { return os.Symlink(other, path) },
		"another token":   func(path, _ string) error { return os.WriteFile(path, []byte("old, and longer"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, other := t.TempDir(), filepath.Join(t.TempDir(), "other")
			path := filepath.Join(dir, http01Path, "token")
			err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(other, []byte("mine"), 0o644), placed(path, other))
			if err != nil {
				t.Fatal(err)
			}
			done := time.AfterFunc(time.Minute, func() { panic("it hangs") })
			defer done.Stop()
			if err := (webroot{dir}).Present("", "token", "key"); err != nil {
				t.Fatal(err)
			}
			if data, err := os.ReadFile(path); string(data) != "key" {
				t.Errorf("the token's file has %q (%v)", data, err)
			}
			if data, err := os.ReadFile(other); string(data) != "mine" {
				t.Errorf("another file was written to: %q (%v)", data, err)
			}
		})
	}
}
