package cli_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"keepkey/pinset/format"
)

// orphanHook publishes by a copy. For version 2 it takes its time, in a process of its own
// that does not listen to signals, and would publish in the end all the same.
const orphanHook = `#!/bin/sh
cd "${0%/*}"
cp "$KEEPKEY_PINSET_FILE" "mine.$KEEPKEY_PINSET_VERSION"
if [ "$KEEPKEY_PINSET_VERSION" = 2 ]; then
	sh -c 'trap "" TERM HUP; echo $$ >orphan.new; mv orphan.new orphan; while [ ! -e published ]; do sleep 0.05; done; cp mine.2 pins.json' &
	wait
fi
cp "mine.$KEEPKEY_PINSET_VERSION" pins.json
`

// TestAHookThatOutlivesItsKeepkeyPublishesNothingOld: keepkey is killed while a hook runs,
// which goes on. A later run ends it before it publishes a newer pin set, so that nothing
// old is put over that.
func TestAHookThatOutlivesItsKeepkeyPublishesNothingOld(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("who holds a file can't be found out here")
	}
	config := `certificates:
  - name: api
    domains: [api.example.com]
    backups: 1
    channels: [{name: app, format: json, lifetime: 1h, publish: [{command: [./hook], timeout: 1s}]}]
`
	h := newHost(t, config)
	if err := os.WriteFile(filepath.Join(h.dir, "hook"), []byte(orphanHook), 0o700); err != nil {
		t.Fatal(err)
	}
	run := func(backups string) {
		t.Helper()
		h.edit("config.yaml", "backups: ", backups)
	}
	renew := func() {
		t.Helper()
		cmd, out := h.command("renew")
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	renew()

	run("2")
	cmd, out := h.command("renew")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	for deadline := time.Now().Add(time.Minute); pid == 0; time.Sleep(10 * time.Millisecond) {
		pid, _ = strconv.Atoi(strings.TrimSpace(h.read("orphan")))
		if time.Now().After(deadline) {
			t.Fatalf("the hook did not begin\n%s", out)
		}
	}
	t.Cleanup(func() { syscall.Kill(pid, syscall.SIGKILL) })
	cmd.Process.Signal(syscall.SIGKILL)
	cmd.Wait()
	if syscall.Kill(pid, 0) != nil {
		t.Fatal("the hook did not outlive keepkey, so that this shows nothing")
	}

	run("3")
	renew()
	if err := os.WriteFile(filepath.Join(h.dir, "published"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); syscall.Kill(pid, 0) == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the orphan still runs")
		}
	}
	if found, err := format.JSON.Decode([]byte(h.read("pins.json"))); err != nil || found.Version != 3 {
		t.Errorf("clients get version %d (%v), want 3", found.Version, err)
	}
	if left, _ := filepath.Glob(filepath.Join(h.lineage("api"), "hooks", "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// edit replaces the value behind a key in a file, up to the end of the line.
func (h *host) edit(name, key, value string) {
	h.t.Helper()
	before, after, ok := strings.Cut(h.read(name), key)
	_, rest, ok2 := strings.Cut(after, "\n")
	if !ok || !ok2 {
		h.t.Fatalf("%s has no %q", name, key)
	}
	if err := os.WriteFile(filepath.Join(h.dir, name), []byte(before+key+value+"\n"+rest), 0o600); err != nil {
		h.t.Fatal(err)
	}
}
