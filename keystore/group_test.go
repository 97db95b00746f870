package keystore

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestGroupReadsWhatIsLiveAndNothingElse tries, as a member of the group, to read
// what there is. It takes root to become somebody else.
func TestGroupReadsWhatIsLiveAndNothingElse(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user; continuous integration runs this as root")
	}
	group, err := user.LookupGroup("nogroup")
	if err != nil {
		t.Skip("there is no group nogroup")
	}
	gid, err := strconv.Atoi(group.Gid)
	if err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir, whose parents are closed to others.
	dir, err := os.MkdirTemp("", "keepkey-group-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "state")
	// The group is configured only after the first run: the way is opened then.
	for _, name := range []string{"", "nogroup"} {
		s, err := OpenLocked(state, name)
		if err != nil {
			t.Fatal(err)
		}
		l, err := s.Lineage("api")
		if err != nil {
			t.Fatal(err)
		}
		if name == "" {
			v, _ := addVersion(t, l)
			if err := l.Live.Switch(v.N); err != nil {
				t.Fatal(err)
			}
			swap(t, l, swap(t, l, Snapshot{}, `{}`, nil), `{}`, intent(1))
		} else {
			if err := l.Live.Readable(1); err == nil || !strings.Contains(err.Error(), "/state/lineages/api has the mode 0700 and the group root instead of 0750 and nogroup") {
				t.Errorf("before it was given to the group: %v", err)
			}
			if err := l.Live.Grant(1); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Live.Readable(1); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// systemd would take all of it away from another group than the service's.
	info, err := os.Stat(state)
	if err != nil {
		t.Fatal(err)
	}
	if got := int(info.Sys().(*syscall.Stat_t).Gid); got != os.Getegid() {
		t.Errorf("the state directory itself was given to the group %d", got)
	}
	asMember := func(name string, args ...string) error {
		cmd := exec.Command(name, args...)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: uint32(gid)}}
		return cmd.Run()
	}
	live := filepath.Join(state, "lineages/api/live")
	for _, name := range []string{"cert.pem", "chain.pem", "fullchain.pem", "privkey.pem", "combined.pem"} {
		if err := asMember("cat", filepath.Join(live, name)); err != nil {
			t.Errorf("a member cannot read %s: %v", name, err)
		}
	}
	keys, err := filepath.Glob(filepath.Join(state, "lineages/api/keys/*.pem"))
	if err != nil || len(keys) == 0 {
		t.Fatalf("%q, %v", keys, err)
	}
	for _, path := range append(keys, filepath.Join(state, "lineages/api/state.json"), filepath.Join(state, "lineages/api/ledger.jsonl"), filepath.Join(state, "lock"), filepath.Join(state, "host")) {
		if err := asMember("cat", path); err == nil {
			t.Errorf("a member can read %s", path)
		}
	}
	for _, dir := range []string{"accounts", "lineages/api/keys"} {
		if err := asMember("ls", filepath.Join(state, dir)); err == nil {
			t.Errorf("a member can list %s", dir)
		}
	}
	if err := asMember("touch", filepath.Join(live, "x")); err == nil {
		t.Error("a member can write")
	}
}

func TestAGroupThatIsNotThereIsNamed(t *testing.T) {
	t.Parallel()
	_, err := OpenLocked(filepath.Join(t.TempDir(), "state"), "no-such-group")
	if err == nil || !strings.Contains(err.Error(), `there is no group "no-such-group", which the configuration names: make it with groupadd --system no-such-group`) {
		t.Error(err)
	}
}
