package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/invariant"
	"keepkey/keystore"
)

// A disk that is full, or takes no writes at all, costs nothing that was there: the
// run fails and says so, what is served stays as it is, and once there is room again
// the next run does what was due.
func TestADiskThatTakesNothingCostsNothing(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, options string
		fill          func(t *testing.T, dir string) (relieve func())
	}{
		{"full", "size=256k", func(t *testing.T, dir string) func() {
			ballast := filepath.Join(dir, "ballast")
			if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err == nil {
				t.Fatal("the disk is larger than it should be")
			}
			return func() { os.Remove(ballast) }
		}},
		{"out of inodes", "nr_inodes=60", func(t *testing.T, dir string) func() {
			many := filepath.Join(dir, "many")
			if err := os.Mkdir(many, 0o700); err != nil {
				t.Fatal(err)
			}
			for i := 0; ; i++ {
				f, err := os.Create(filepath.Join(many, strings.Repeat("x", i+1)))
				if err != nil {
					break
				}
				f.Close()
			}
			return func() { os.RemoveAll(many) }
		}},
		{"read-only", "", func(t *testing.T, dir string) func() {
			remount := func(flags uintptr) {
				if err := syscall.Mount("none", dir, "tmpfs", syscall.MS_REMOUNT|flags, ""); err != nil {
					t.Fatal(err)
				}
			}
			remount(syscall.MS_RDONLY)
			return func() { remount(0) }
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := syscall.Mount("none", dir, "tmpfs", 0, tt.options); err != nil {
				t.Skipf("no file system can be mounted here (%v), so there is none to fill", err)
			}
			t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
			h := newHostIn(t, dir, "certificates:\n  - name: api\n    domains: [api.example.com]\n    channels: [{name: app, format: json, lifetime: 30d, publish: [{file: pins.json}]}]\n")
			cmd, out := h.command("renew")
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			before := h.look()
			relieve := tt.fill(t, dir)
			for range 3 {
				cmd, out = h.command("renew", "--force")
				if err := cmd.Run(); err == nil {
					t.Errorf("it ended well\n%s", out)
				}
				after := h.look()
				for _, v := range after.Check(invariant.Outside{Before: &before, Run: &invariant.Run{Status: 1, Output: out.Bytes()}}) {
					t.Error(v)
				}
				if after.Live != before.Live || after.Versions[before.Live] != before.Versions[before.Live] {
					t.Error("what is live changed")
				}
			}
			relieve()
			cmd, out = h.command("renew", "--force")
			if err := cmd.Run(); err != nil {
				t.Errorf("with room again: %v\n%s", err, out)
			}
			if after := h.look(); after.Live <= before.Live || after.LivePin != before.LivePin || len(after.Unfinished) > 0 {
				t.Errorf("live is version %d, was %d; left behind: %q", after.Live, before.Live, after.Unfinished)
			}
		})
	}
}

// look reads the host's lineage.
func (h *host) look() invariant.Found {
	h.t.Helper()
	cfg, err := config.Load(filepath.Join(h.dir, "config.yaml"), nil)
	if err != nil {
		h.t.Fatal(err)
	}
	store, err := keystore.Open(cfg.State, cfg.Group)
	if err != nil {
		h.t.Fatal(err)
	}
	found, err := invariant.Look(store, apply.Goal(cfg.Certificates[0]))
	if err != nil {
		h.t.Fatal(err)
	}
	return found
}
