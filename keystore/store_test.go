package keystore

import (
	"crypto"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"keepkey/internal/durable"
	"keepkey/internal/fault"
	"keepkey/pinset"
)

// The test binary becomes the process that is killed in the middle of its work.
const killedEnv = "KEYSTORE_TEST_KILLED_IN"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killedEnv); dir != "" {
		fmt.Println(workUntilKilled(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// workUntilKilled stops for good when it is about to give a new key its name.
func workUntilKilled(dir string) error {
	s, err := OpenLocked(dir, "")
	if err != nil {
		return err
	}
	l, err := s.Lineage("killed")
	if err != nil {
		return err
	}
	fault.Handle(func(p fault.Point, effect func() error) error {
		if p.Op == "link" && strings.HasSuffix(p.Where, ".pem") {
			fmt.Println("here")
			select {}
		}
		return effect()
	})
	_, err = l.Keys.Create(pinset.EC256)
	return err
}

func openStore(t *testing.T) *Store {
	t.Helper()
	s, err := OpenLocked(filepath.Join(t.TempDir(), "state"), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newLineage(t *testing.T) *Lineage {
	t.Helper()
	l, err := openStore(t).Lineage("api.example.com")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestNamesNeverBecomePathsUnescaped(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	for _, name := range []string{"", ".", "..", "../x", "a/b", "a\x00b", "A", "-x", ".hidden", strings.Repeat("a", 201), "a b", "a\n", "\u00e4", "_a", "a/../b", ".tmp-x"} {
		if _, err := s.Lineage(name); err == nil {
			t.Errorf("%q names a lineage", name)
		}
	}
	for _, name := range []string{"a", "0", "api.example.com", "a_b-c", "a..b", "a.", strings.Repeat("a", 200)} {
		if _, err := s.Lineage(name); err != nil {
			t.Error(err)
		}
	}
}

func TestSecondProcessIsTurnedAway(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	var locked *LockedError
	if _, err := OpenLocked(s.dir, ""); !errors.As(err, &locked) || locked.PID != os.Getpid() {
		t.Errorf("error %v, want a LockedError with PID %d", err, os.Getpid())
	}
}

func TestStateDirectoryThatOthersCanWriteIsRefused(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o770); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLocked(dir, ""); err == nil || !strings.Contains(err.Error(), "chmod go-w") {
		t.Errorf("error %v, want one that says what to do", err)
	}
}

func TestNamesOfAllLineages(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	if names, err := s.Names(); len(names) > 0 || err != nil {
		t.Errorf("at first: %q, %v", names, err)
	}
	for _, name := range []string{"b.example.com", "a.example.com", "c"} {
		l, err := s.Lineage(name)
		if err != nil {
			t.Fatal(err)
		}
		begun(t, l, 0)
	}
	if _, err := s.Lineage("never-begun"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{durable.TempPrefix + "x", "Upper", "lost+found"} {
		if err := os.Mkdir(filepath.Join(s.dir, "lineages", name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(s.dir, "lineages", "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if names, err := s.Names(); err != nil || !slices.Equal(names, []string{"a.example.com", "b.example.com", "c"}) {
		t.Errorf("%q, %v", names, err)
	}
	empty, err := Open(filepath.Join(t.TempDir(), "nothing"), "")
	if err != nil {
		t.Fatal(err)
	}
	if names, err := empty.Names(); len(names) > 0 || err != nil {
		t.Errorf("without a state directory: %q, %v", names, err)
	}
}

func TestReadingNeverWrites(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	l, err := s.Lineage("api")
	if err != nil {
		t.Fatal(err)
	}
	begun(t, l, 1)
	v, want := addVersion(t, l)
	if err := l.Live.Switch(v.N); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, s.dir)
	reader, err := Open(s.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	key, err := GenerateKey(pinset.EC256)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"api", "other"} {
		r, err := reader.Lineage(name)
		if err != nil {
			t.Fatal(err)
		}
		snap := load(t, r)
		_, swapErr := r.Records.Swap(snap, []byte(`{}`), nil)
		_, createErr := r.Keys.Create(pinset.EC256)
		_, adoptErr := r.Keys.Adopt(key)
		_, addErr := r.Live.Add(0, testChain(t, key), key)
		account, err := reader.Account("https://ca.example/"+name, "")
		if err != nil {
			t.Fatal(err)
		}
		_, _, accountErr := account.Key()
		for what, err := range map[string]error{
			"Swap": swapErr, "Create": createErr, "Adopt": adoptErr, "Add": addErr, "Switch": r.Live.Switch(v.N), "Prune": r.Live.Prune(v.N),
			"Tidy": reader.Tidy(), "Account.Key": accountErr, "Account.Save": account.Save("d", "u", ""),
		} {
			if !errors.Is(err, errReadOnly) {
				t.Errorf("%s in %s: %v", what, name, err)
			}
		}
	}
	r, err := reader.Lineage("api")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Keys.Check(want.Pin), r.Live.Verify(v), reader.Close()); err != nil {
		t.Error(err)
	}
	if after := snapshot(t, s.dir); after != before {
		t.Errorf("something was written:\n%s\n%s", before, after)
	}
}

// testChain is a certificate for a key, from a CA that is forgotten at once.
func testChain(t *testing.T, key interface{ Public() crypto.PublicKey }) Chain {
	t.Helper()
	ca := newTestCA(t, "CA")
	return Chain{ca.issue(t, key.Public(), nil), ca.cert}
}

func TestWhatAKilledProcessLeftIsTidied(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	s, _ := reopen(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(exe)
	child.Env = append(os.Environ(), killedEnv+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 5)
	if _, err := out.Read(line); err != nil || string(line) != "here\n" {
		t.Fatalf("the child says %q (%v)", line, err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	child.Wait() // it was killed: an error is what is wanted
	if left := unfinished(t, dir); len(left) != 1 {
		t.Fatalf("the child left %q: this proves nothing", left)
	}
	// A process that looks after another lineage only, and never tidies, does not hide it.
	s, l := reopen(t, dir)
	begun(t, l, 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, _ = reopen(t, dir)
	if err := s.Tidy(); err != nil {
		t.Fatal(err)
	}
	if left := unfinished(t, dir); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// The point of the mark in the lock: after a process that ended in good order nobody
// goes looking through thousands of directories.
func TestTidyLooksForNothingAfterAGoodEnd(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	s, l := reopen(t, dir)
	begun(t, l, 0)
	if err := errors.Join(s.Tidy(), s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	// No process of ours can have left it: whoever does not look does not find it.
	probe := filepath.Join(l.Records.dir, durable.TempPrefix+"probe")
	if err := os.WriteFile(probe, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s, _ = reopen(t, dir)
		if err := errors.Join(s.Tidy(), s.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if left := unfinished(t, dir); len(left) != 1 {
		t.Error("it went looking")
	}
	// Without its mark, it does.
	if err := os.Remove(filepath.Join(dir, "lock")); err != nil {
		t.Fatal(err)
	}
	s, _ = reopen(t, dir)
	if err := s.Tidy(); err != nil {
		t.Fatal(err)
	}
	if left := unfinished(t, dir); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// A process that ends in good order, but could not clean up after a write that failed,
// must not say that all is clean.
func TestFailedWriteIsTidiedByTheNextProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s, l := reopen(t, dir)
	if err := s.Tidy(); err != nil {
		t.Fatal(err)
	}
	begun(t, l, 0)
	broken := errors.New("the disk is broken")
	fault.Handle(func(p fault.Point, effect func() error) error {
		if strings.HasPrefix(p.Where, dir) && (p.Op == "link" || strings.HasPrefix(p.Op, "remove")) {
			return broken
		}
		return effect()
	})
	_, err := l.Keys.Create(pinset.EC256)
	fault.Handle(nil)
	if !errors.Is(err, broken) || len(unfinished(t, dir)) != 1 {
		t.Fatalf("%v, %q: this proves nothing", err, unfinished(t, dir))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, _ = reopen(t, dir)
	if err := s.Tidy(); err != nil {
		t.Fatal(err)
	}
	if left := unfinished(t, dir); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// A directory that a process made just before it died may not be on the disk yet: what
// the next one stores in it would be gone with it.
func TestDirectoryOfAProcessThatDiedIsSynced(t *testing.T) {
	for _, died := range []bool{true, false} {
		dir := filepath.Join(t.TempDir(), "state")
		s, l := reopen(t, dir)
		begun(t, l, 0)
		if err := s.Tidy(); err != nil {
			t.Fatal(err)
		}
		if died {
			s.untidy.Store(true) // it never said that all is clean
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s, l = reopen(t, dir)
		if err := s.Tidy(); err != nil {
			t.Fatal(err)
		}
		seen := points(t, dir, func() error {
			_, err := l.Keys.Create(pinset.EC256)
			return err
		})
		if got := slices.Contains(seen, "fsync /lineages"); got != died {
			t.Errorf("died: %v, the parent was synced: %v (%q)", died, got, seen)
		}
	}
}
