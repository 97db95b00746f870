package cli_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"keepkey/internal/acmetest"
	"keepkey/keystore"
	"keepkey/pinset"
)

// host is a machine on which keepkey runs as a process of its own.
type host struct {
	t      testing.TB
	dir    string
	ca     *acmetest.Server
	domain string // of its certificate, where that is needed to tell hosts apart
	saved  string // a copy of dir, once it was copied
}

func newHost(t *testing.T, certificates string) *host {
	t.Helper()
	return newHostIn(t, fastDir(t), certificates)
}

func newHostIn(t *testing.T, dir, certificates string) *host {
	t.Helper()
	return newHostOf(t, dir, acmetest.Options{}, certificates)
}

func newHostOf(t *testing.T, dir string, o acmetest.Options, certificates string) *host {
	t.Helper()
	ca, err := acmetest.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ca.Close)
	h := &host{t: t, dir: dir, ca: ca}
	config := strings.NewReplacer("$DIRECTORY", ca.Directory, "$HTTP", ca.HTTPAddr).Replace(baseConfig + certificates)
	for name, data := range map[string][]byte{"ca.pem": ca.CAPEM, "config.yaml": []byte(config)} {
		if err := os.WriteFile(filepath.Join(h.dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func (h *host) command(args ...string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.Command("keepkey", append([]string{"--config", filepath.Join(h.dir, "config.yaml")}, args...)...)
	out := new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out
}

func (h *host) lineage(name string) string {
	return filepath.Join(h.dir, "state", "lineages", name)
}

// livePin returns the pin that a server would present, after proving that what it
// would read is a certificate with its key (I3). It is zero before anything is live.
func (h *host) livePin(name string, domains ...string) pinset.Pin {
	h.t.Helper()
	live := filepath.Join(h.lineage(name), "live")
	if _, err := os.Lstat(live); errors.Is(err, os.ErrNotExist) {
		return pinset.Pin{}
	}
	chain, err := os.ReadFile(filepath.Join(live, "fullchain.pem"))
	if err != nil {
		h.t.Fatal(err)
	}
	keyPEM, err := os.ReadFile(filepath.Join(live, "privkey.pem"))
	if err != nil {
		h.t.Fatal(err)
	}
	combined, err := os.ReadFile(filepath.Join(live, "combined.pem"))
	if err != nil || !bytes.Equal(combined, append(keyPEM, chain...)) {
		h.t.Fatalf("combined.pem is not the key and the chain (%v)", err)
	}
	key, err := keystore.ParseKey(keyPEM)
	if err != nil {
		h.t.Fatal(err)
	}
	pin, err := pinset.Of(key.Public())
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := keystore.CheckChain(chain, keystore.Want{Pin: pin, Domains: domains, Now: time.Now()}); err != nil {
		h.t.Fatal(err)
	}
	return pin
}

// activePin returns the active key's pin in the state, zero when there is none yet,
// after proving that the state and the ledger go together.
func (h *host) activePin(name string) pinset.Pin {
	h.t.Helper()
	data, err := os.ReadFile(filepath.Join(h.lineage(name), "state.json"))
	if errors.Is(err, os.ErrNotExist) {
		return pinset.Pin{}
	}
	if err != nil {
		h.t.Fatal(err)
	}
	var records struct {
		Ledger pinset.Head
		State  struct {
			Keys []struct {
				Pin  pinset.Pin
				Role string
			}
		}
	}
	if err := json.Unmarshal(data, &records); err != nil {
		h.t.Fatal(err)
	}
	lines, err := os.ReadFile(filepath.Join(h.lineage(name), "ledger.jsonl"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		h.t.Fatal(err)
	}
	if _, _, err := pinset.ParseLedger(lines, records.Ledger); err != nil {
		h.t.Fatalf("%v\n%s\n%s", err, lines, data)
	}
	for _, k := range records.State.Keys {
		if k.Role == "active" {
			return k.Pin
		}
	}
	return pinset.Pin{}
}

// runFor runs a command and kills it when that long has passed; else it says how it
// ended.
func (h *host) runFor(cmd *exec.Cmd, limit time.Duration) (killed bool, err error) {
	h.t.Helper()
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case <-time.After(limit):
		cmd.Process.Signal(syscall.SIGKILL)
		<-done
		return true, nil
	case err := <-done:
		return false, err
	}
}

// raceDetector says whether this test binary, which is also the keepkey that it
// runs, was built with it.
var raceDetector bool

// TestKilledAtRandomMoments kills a run again and again. Whenever it happens, what
// is live must be a certificate with its key, the active key must be the one it
// always was, no key file may change or go, the ledger must be whole, and one more
// run must succeed.
func TestKilledAtRandomMoments(t *testing.T) {
	t.Parallel()
	kills := 240
	switch {
	case testing.Short():
		kills = 20
	case raceDetector:
		kills = 40 // the detector sees nothing of other processes, and makes each slow
	}
	const certificates = `certificates:
  - name: api
    domains: [api.example.com]
    channels:
      - {name: app, format: json, lifetime: 30d, publish: [{file: pins.json}, {command: ["true"]}]}
    deploy: [{command: ["true"]}]
`
	h := newHost(t, certificates)
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)

	// How long a whole run takes here, and then anywhere within.
	other := newHost(t, certificates)
	start := time.Now()
	cmd, out := other.command("renew")
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	whole := time.Since(start)

	var active pinset.Pin
	keys := make(map[string]string)
	killed, finished, first := 0, 0, kills/4
	for killed < kills {
		if killed == first {
			// From time to time the very first run is among those that are killed.
			first += kills / 4
			h = newHost(t, certificates)
			active, keys = pinset.Pin{}, make(map[string]string)
		}
		cmd, out := h.command("renew", "--force")
		switch dead, err := h.runFor(cmd, time.Duration(rng.Int64N(int64(whole)))); {
		case dead:
			killed++
		case err != nil:
			t.Fatalf("a run after %d kills: %v\n%s", killed, err, out)
		default:
			finished++
		}

		pin := h.activePin("api")
		switch {
		case active.IsZero():
			active = pin
		case pin != active:
			t.Fatalf("after %d kills the active key is another: %s, was %s", killed, pin, active)
		}
		if live := h.livePin("api", "api.example.com"); !live.IsZero() && live != active {
			t.Fatalf("after %d kills the live key is not the active one: %s, want %s", killed, live, active)
		}
		h.sameKeys(keys)
	}
	t.Logf("%d runs killed within %s, %d finished", killed, whole, finished)

	cmd, out = h.command("renew", "--force")
	if err := cmd.Run(); err != nil {
		t.Fatalf("the run after all: %v\n%s", err, out)
	}
	if live := h.livePin("api", "api.example.com"); live != active {
		t.Errorf("the run after all made %s live, want %s", live, active)
	}
	for _, dir := range []string{"", "keys", "certs"} {
		entries, err := os.ReadDir(filepath.Join(h.lineage("api"), dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".tmp-") {
				t.Errorf("%s was left behind", e.Name())
			}
		}
	}
}

// TestKilledDuringRollovers kills rollovers and their undoing. Whenever it happens,
// the live key must be in the pin set that clients find, and so must be another.
func TestKilledDuringRollovers(t *testing.T) {
	t.Parallel()
	kills := 80
	if testing.Short() || raceDetector {
		kills = 15
	}
	h := newHost(t, `certificates:
  - name: api
    domains: [api.example.com]
    rollover: {keep_old_pin: 0s}
    channels: [{name: app, format: json, lifetime: 1s, publish: [{file: pins.json}]}]
    deploy: [{command: ["true"]}]
`)
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	cmd, out := h.command("renew")
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd, out = h.command("rotate", "--name", "api")
	start := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	whole := time.Since(start)
	keys := make(map[string]string)
	served := make(map[pinset.Pin]bool)
	const enough = 3 // different keys, for this to prove anything
	for killed, runs := 0, 0; killed < kills || (len(served) < enough && runs < 20*kills); runs++ {
		args := []string{"rotate", "--name", "api", "--when-open"}
		switch rng.IntN(4) {
		case 0:
			args = []string{"renew"}
		case 1:
			args = []string{"rotate", "--name", "api", "--undo"}
		}
		cmd, _ := h.command(args...)
		// An undo may be refused, there being nothing to undo.
		if dead, _ := h.runFor(cmd, time.Duration(rng.Int64N(int64(whole)))); dead {
			killed++
		}
		live := h.livePin("api", "api.example.com")
		h.activePin("api") // for the state and the ledger
		h.sameKeys(keys)
		served[live] = true
		if pins := h.publishedPins(); !slices.Contains(pins, live) || len(pins) < 2 {
			t.Fatalf("after %d kills (%v) clients find %v, and %s is live", killed, args, pins, live)
		}
	}
	t.Logf("%d different keys were live", len(served))
	if len(served) < enough {
		t.Error("too few rollovers got through for this to prove anything")
	}
	for range 2 { // I9: at most two further runs
		cmd, out = h.command("renew")
		if err := cmd.Run(); err != nil {
			t.Fatalf("the runs after all: %v\n%s", err, out)
		}
	}
	if live, active := h.livePin("api", "api.example.com"), h.activePin("api"); live != active {
		t.Errorf("%s is live, and %s is the active key", live, active)
	}
}

// publishedPins returns what a client that downloads the pin set gets.
func (h *host) publishedPins() []pinset.Pin {
	h.t.Helper()
	data, err := os.ReadFile(filepath.Join(h.dir, "pins.json"))
	if err != nil {
		h.t.Fatal(err)
	}
	var doc struct {
		Pins []struct{ Value pinset.Pin }
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		h.t.Fatal(err)
	}
	var pins []pinset.Pin
	for _, p := range doc.Pins {
		pins = append(pins, p.Value)
	}
	return pins
}

// sameKeys checks that every key file seen before is there with the same bytes,
// and adds the new ones (I1, I2).
func (h *host) sameKeys(seen map[string]string) {
	h.t.Helper()
	files, err := filepath.Glob(filepath.Join(h.lineage("api"), "keys", "*.pem"))
	if err != nil {
		h.t.Fatal(err)
	}
	now := make(map[string]string)
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			h.t.Fatal(err)
		}
		now[f] = string(data)
	}
	for f, data := range seen {
		if now[f] != data {
			h.t.Fatalf("%s was changed or removed", f)
		}
	}
	for f, data := range now {
		seen[f] = data
	}
}

// TestInterruptedRunEndsCleanly sends the signals that systemd and a person send,
// while the CA does not answer.
func TestInterruptedRunEndsCleanly(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(fmt.Sprint(sig), func(t *testing.T) {
			t.Parallel()
			h := newHost(t, "certificates: [{name: api, domains: [api.example.com]}]\n")
			cmd, out := h.command("renew")
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			before := h.livePin("api", "api.example.com")
			h.ca.Requests()
			h.ca.Misbehave(acmetest.Stall(acmetest.Finalize))
			cmd, out = h.command("renew", "--force")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			h.until(func(path string) bool { return strings.Contains(path, string(acmetest.Finalize)) })
			start := time.Now()
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			err := cmd.Wait()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(out.String(), "interrupted") {
				t.Errorf("%v, want exit status 1 and a word of the interruption\n%s", err, out)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("it took %s to end", took)
			}
			h.ca.Misbehave(nil)
			cmd, out = h.command("renew", "--force")
			if err := cmd.Run(); err != nil {
				t.Fatalf("the next run: %v\n%s", err, out)
			}
			if after := h.livePin("api", "api.example.com"); after != before {
				t.Error("the pin changed")
			}
		})
	}
}

// until waits for a request to the CA.
func (h *host) until(is func(path string) bool) {
	h.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		for _, r := range h.ca.Requests() {
			if is(r) {
				return
			}
		}
	}
	h.t.Fatal("the CA was not asked in time")
}

// TestOneOfManyProcessesWorks starts many at once: none does harm, those that find
// the lock taken say so and end with status 4.
func TestOneOfManyProcessesWorks(t *testing.T) {
	t.Parallel()
	h := newHost(t, "certificates: [{name: api, domains: [api.example.com]}]\n")
	type run struct {
		cmd *exec.Cmd
		out *bytes.Buffer
	}
	var runs []run
	for range 20 {
		cmd, out := h.command("renew")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		runs = append(runs, run{cmd, out})
	}
	worked := 0
	for _, r := range runs {
		r.cmd.Wait() // its status is looked at below
		switch status := r.cmd.ProcessState.ExitCode(); status {
		case 0:
			worked++
		case 4:
			if !strings.Contains(r.out.String(), "another keepkey") {
				t.Errorf("status 4 without a word: %s", r.out)
			}
		default:
			t.Errorf("status %d: %s", status, r.out)
		}
	}
	if worked == 0 {
		t.Error("none of them did the work")
	}
	if h.livePin("api", "api.example.com") != h.activePin("api") {
		t.Error("what is live is not the active key's")
	}
}
