package apply_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/internal/acmetest"
	"keepkey/pinset"
	"keepkey/plan"
)

// opens counts how often each key file of a lineage is opened while something is done,
// as the kernel tells (inotify(7)).
func (w *world) opens(cert config.Certificate, do func()) map[pinset.Pin]int {
	w.t.Helper()
	fd, err := syscall.InotifyInit1(syscall.IN_NONBLOCK | syscall.IN_CLOEXEC)
	if err != nil {
		w.t.Skip("no inotify: ", err)
	}
	defer syscall.Close(fd)
	dir := filepath.Join(w.dir, "state", "lineages", cert.Name, "keys")
	if _, err := syscall.InotifyAddWatch(fd, dir, syscall.IN_OPEN); err != nil {
		w.t.Fatal(err)
	}
	do()
	counts := make(map[pinset.Pin]int)
	buf := make([]byte, 1<<16)
	for {
		n, err := syscall.Read(fd, buf)
		if errors.Is(err, syscall.EAGAIN) {
			return counts
		}
		if err != nil {
			w.t.Fatal(err)
		}
		for event := buf[:n]; len(event) > 0; {
			size := binary.NativeEndian.Uint32(event[12:])
			name := string(bytes.TrimRight(event[syscall.SizeofInotifyEvent:][:size], "\x00"))
			event = event[syscall.SizeofInotifyEvent+size:]
			if stem, isKey := strings.CutSuffix(name, ".pem"); isKey {
				pin, err := pinset.ParseHex(stem)
				if err != nil {
					w.t.Fatal(err)
				}
				counts[pin]++
			}
		}
	}
}

// A run opens a key to see that it can be used, once, and once more when it signs with
// it. The keys that are done with are left alone, whatever became of their files.
func TestARunOpensNoKeyWithoutNeed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{Profiles: map[string]time.Duration{"default": 400 * day}})
	cert := w.pinned("api")
	cert.KeepOldPin = 0
	w.mustRenew(cert, apply.Options{})
	rotate := func(o apply.RotateOptions) {
		t.Helper()
		r := w.runner()
		if err := r.Rotate(t.Context(), cert, o); err != nil {
			t.Fatal(err)
		}
		if rep := r.Renew(t.Context(), cert, apply.Options{}); len(rep.Problems) > 0 {
			t.Fatal(problems(rep))
		}
	}
	rotate(apply.RotateOptions{})
	w.offset = 31 * day // clients have the newest pin set then
	rotate(apply.RotateOptions{Compromised: true})
	var active, backup pinset.Pin
	var doneWith []pinset.Pin
	for _, k := range w.state(cert).Keys {
		switch k.Role {
		case plan.Active:
			active = k.Pin
		case plan.Backup:
			backup = k.Pin
		default:
			doneWith = append(doneWith, k.Pin)
		}
	}
	if len(doneWith) != 2 {
		t.Fatalf("keys %+v, want a retired and a compromised one", w.state(cert).Keys)
	}
	for _, pin := range doneWith {
		if err := os.WriteFile(w.keyFile(cert, pin), []byte("no key any more"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name   string
		o      apply.Options
		active int
	}{{"nothing is due", apply.Options{}, 1}, {"a renewal", force, 2}} {
		got := w.opens(cert, func() { w.mustRenew(cert, tt.o) })
		for pin, n := range got {
			if slices.Contains(doneWith, pin) {
				t.Errorf("%s: a key that is done with was opened %d times", tt.name, n)
			}
		}
		if got[active] != tt.active || got[backup] != 1 {
			t.Errorf("%s: the active key was opened %d times, want %d, and the backup key %d times, want once", tt.name, got[active], tt.active, got[backup])
		}
	}
}
