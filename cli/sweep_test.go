package cli_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"keepkey/apply"
	"keepkey/cli"
	"keepkey/config"
	"keepkey/internal/fault"
	"keepkey/invariant"
	"keepkey/keystore"
	"keepkey/pinset"
	"keepkey/pinset/format"
	"keepkey/plan"
)

// Everything that keepkey does to the disk, to a CA or to a hook passes a fault
// point. Here each of them, one after the other, is where the process is killed, or
// what fails without having had an effect, or what says that it failed although it
// had one; and what is left is killed once more while it recovers. The invariants
// hold at every moment, and two further runs come to the goal.

const sweptConfig = `certificates:
  - name: api
    domains: [api.example.com]
    channels:
      - name: app
        format: json
        lifetime: 30d
        publish: [{file: pins.json}, {command: [./hook]}]
      - name: web
        format: json
        lifetime: 2d
        publish: [{file: web.json}]
        read_back: {file: web.json}
    deploy: [{command: [./hook]}]
`

// hookScript notes what it was told, without starting further programs where the
// shell can do without. Like a server's reload, a deployment takes over what is live
// at that moment.
const hookScript = `#!/bin/sh
cd "${0%/*}"
read -r line
printf '%s\n' "$line" >>output
export -p >>output
printf '%s %s %s %s\n' "$KEEPKEY_EVENT_ID" "$KEEPKEY_EVENT.$KEEPKEY_CHANNEL" "${KEEPKEY_PINSET_VERSION:-0}" "$line" >>events
if [ "$KEEPKEY_EVENT" = deploy ]; then cp "$KEEPKEY_LIVE_DIR/cert.pem" deployed.pem.new && mv deployed.pem.new deployed.pem; fi
`

// noticeScript notes what people are told.
const noticeScript = `#!/bin/sh
printf '%s %s %s\n' "$KEEPKEY_STATE" "$KEEPKEY_NAME/$KEEPKEY_CODE" "$KEEPKEY_EVENT_ID" >>"${0%/*}/notices"
`

// sweep is a command at a lineage in a certain condition.
type sweep struct {
	name  string
	setup []step
	step
	asked  bool // the command asks for another key
	notify bool // people are told what is wrong
}

// step is a command at a time.
type step struct {
	args  string
	after time.Duration
	wrong time.Duration // how far this machine's clock is ahead then
	fails bool          // the hook does, and so the command
}

var sweeps = []sweep{
	{name: "first run", step: step{args: "renew"}},
	{name: "renewal", setup: []step{{args: "renew"}}, step: step{args: "renew --force"}},
	{name: "rollover", setup: []step{{args: "renew"}}, step: step{args: "rotate --name api"}, asked: true},
	{name: "end of a rollover", setup: []step{{args: "renew"}, {args: "rotate --name api"}},
		step: step{args: "renew", after: 8 * 24 * time.Hour}},
	{name: "undo", setup: []step{{args: "renew"}, {args: "rotate --name api"}},
		step: step{args: "rotate --name api --undo", after: time.Hour}, asked: true},
	{name: "compromised", setup: []step{{args: "renew"}}, step: step{args: "rotate --name api --compromised"}, asked: true},
	{name: "another key is compromised", setup: []step{{args: "renew"}, {args: "rotate --name api"}},
		step: step{args: "rotate --name api --compromised --key retired", after: time.Hour}, asked: true},
	{name: "compromised at a price", setup: []step{{args: "renew"}, {args: "rotate --name api"}},
		step: step{args: "rotate --name api --compromised --key active --accept-breakage", after: time.Hour}, asked: true},
	{name: "people are told what is wrong", setup: []step{{args: "renew"}}, step: step{args: "renew --force", fails: true}, notify: true},
	{name: "people are told that it is over", setup: []step{{args: "renew"}, {args: "renew --force", fails: true}}, step: step{args: "renew"}, notify: true},
}

func TestEveryFaultPointIsSurvived(t *testing.T) {
	t.Parallel()
	for i, s := range sweeps {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			// Mostly it waits, for a CA or a hook: so several hosts share the work.
			hosts := 4
			if testing.Short() {
				hosts = 1
			}
			var wg sync.WaitGroup
			for k := range hosts {
				wg.Go(func() {
					t.Run(fmt.Sprintf("host %d", k), func(t *testing.T) {
						s.run(t, fmt.Sprintf("sweep%d-%d.example.com", i, k), k, hosts)
					})
				})
			}
			wg.Wait()
		})
	}
}

// sweepAll has every effect disturbed in one go, which takes minutes; else it is every
// second one, at random the even or the odd ones.
const sweepAll = "KEEPKEY_TEST_SWEEP_ALL"

// run disturbs the command at each hosts-th effect, beginning with the k-th.
func (s sweep) run(t *testing.T, domain string, k, hosts int) {
	config := strings.ReplaceAll(sweptConfig, "api.example.com", domain)
	if s.notify {
		config += "notify: [{command: [./notice]}]\n"
	}
	h := newHostIn(t, fastDir(t), config)
	h.domain = domain
	for name, script := range map[string]string{"hook": fallibleHook, "notice": noticeScript} {
		if err := os.WriteFile(filepath.Join(h.dir, name), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, before := range s.setup {
		h.must(before, nil)
	}
	points := s.count(h)
	stride := hosts
	switch {
	case testing.Short():
		stride = 61
		k = rand.IntN(stride) // so that each has its turn
	case raceDetector:
		stride = 29 * hosts // the detector sees nothing of other processes, and makes each slow
	case os.Getenv(sweepAll) == "":
		stride = 2 * hosts
		k += hosts * rand.IntN(2) // so that each has its turn
	}
	tried := 0
	for n := 1 + k; n <= len(points) && !t.Failed(); n += stride {
		m := 1 + (n*31)%len(points) // of the recovery
		disturbances := []disturbance{{"killed", n, 0}, {"failing", n, 0}, {"failing, though it had its effect", n, 0}}
		if n%3 == 0 {
			disturbances = append(disturbances, disturbance{"killed", n, m})
		}
		for _, d := range disturbances {
			s.try(t, h, d, points[n-1])
			tried++
		}
	}
	t.Logf("%d fault points, %d disturbed runs here", len(points), tried)
}

// count returns the effects that the command has when nothing disturbs it.
func (s sweep) count(h *host) []string {
	h.t.Helper()
	c := h.copy()
	var points []string
	var mu sync.Mutex
	c.must(s.step, func(p fault.Point, effect func() error) error {
		mu.Lock()
		points = append(points, p.Op+" "+strings.ReplaceAll(p.Where, c.dir+"/", ""))
		mu.Unlock()
		return effect()
	})
	return points
}

// must runs a step that has to come to the end that is expected of it.
func (h *host) must(s step, handler fault.Handler) {
	h.t.Helper()
	if status := h.do(s, handler); (status == 1) != s.fails || status > 1 {
		h.t.Fatalf("%s: status %d\n%s", s.args, status, h.read("output"))
	}
}

// disturbance is what goes wrong at the n-th effect of a command; and when m is not
// 0, the run after it is killed at its m-th.
type disturbance struct {
	how  string
	n, m int
}

// handler returns what lets the n-th effect go wrong.
func (d disturbance) handler() fault.Handler {
	var count atomic.Int64
	return func(p fault.Point, effect func() error) error {
		switch n := count.Add(1); {
		case n == int64(d.n) && d.how == "failing" && p.Op != closing:
			return syscall.EIO
		case n == int64(d.n):
			return errors.Join(syscall.EIO, effect())
		}
		return effect()
	}
}

// dead is what the world sees of a process that was killed at its n-th effect: none
// from then on.
func dead(n int) fault.Handler {
	var count atomic.Int64
	return func(p fault.Point, effect func() error) error {
		if count.Add(1) < int64(n) {
			return effect()
		}
		if p.Op == closing {
			effect()
		}
		return syscall.EIO
	}
}

// closing is the effect that a process has by ending, too: its port is free again.
const closing = "clean up challenge"

// try disturbs the command, and lets keepkey recover.
func (s sweep) try(t *testing.T, h *host, d disturbance, point string) {
	t.Helper()
	c := h.copy()
	w := &watcher{t: t, h: c, at: fmt.Sprintf("%s %s at %d (%s)", s.args, d.how, d.n, point)}
	w.look(invariant.Run{}, 0)
	c.ca.Requests()
	run := invariant.Run{Asked: s.asked}
	if d.how == "killed" {
		run.Status = c.kill(s.step, d.n)
	} else {
		run.Status = c.do(s.step, d.handler())
	}
	w.look(run, s.after)
	next := step{args: "renew", after: s.after}
	if d.m > 0 {
		w.at += fmt.Sprintf(", its recovery killed at %d", d.m)
		next.after += 2 * time.Minute
		c.do(next, dead(d.m))
		w.look(invariant.Run{Asked: s.asked, Status: -1}, next.after)
	}
	// The pauses after failures are over by then.
	next.after += 3 * time.Minute
	w.look(invariant.Run{Asked: s.asked, Status: c.do(next, nil)}, next.after)
	next.after += 30 * time.Minute
	status := c.do(next, nil)
	if status != 0 {
		t.Errorf("%s: the second run after it ends with status %d\n%s", w.at, status, tail(c.read("output")))
	}
	w.look(invariant.Run{Asked: s.asked, Undisturbed: true}, next.after)
	finalized := 0
	for _, r := range c.ca.Requests() {
		if strings.Contains(r, "/finalize-order/") {
			finalized++
		}
	}
	if finalized > 1 {
		t.Errorf("%s: %d certificates were asked for, but no crash and no error should cost one", w.at, finalized)
	}
	c.noticed(t, d, w.at)
}

// noticed holds what people were told to making sense: each problem, and then that it is
// over. They may be told again, with the same ID, and of a hook that fails although it told
// them nobody knows what they heard.
func (h *host) noticed(t *testing.T, d disturbance, at string) {
	t.Helper()
	open, ids := make(map[string]bool), make(map[string]bool)
	for line := range strings.Lines(h.read("notices")) {
		var state, about, id string
		if _, err := fmt.Sscan(line, &state, &about, &id); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if d.how == "failing" && !ids[id] && open[about] == (state == "appeared") {
			t.Errorf("%s: people were told what makes no sense: %s", at, line)
		}
		open[about], ids[id] = state == "appeared", true
	}
	for about, is := range open {
		if is && d.how != "failing, though it had its effect" {
			t.Errorf("%s: nobody was told that %s is over\n%s", at, about, h.read("notices"))
		}
	}
}

func tail(s string) string { return s[max(0, len(s)-3000):] }

// watcher holds a host to the invariants after each step, with clients that keep
// every pin set that they ever saw, and a server that has loaded what it last
// deployed.
type watcher struct {
	t      reporter
	h      *host
	at     string
	before *invariant.Found
	held   []held
	// cache is for how long clients of each channel get a document from caches, as it is
	// configured now, and caches as it was when a version was intended for a channel.
	cache, caches map[string]time.Duration
	givenUp       int  // the clients up to this version were given up, without anybody knowing
	lost          bool // the state is from an old backup, and nobody has seen to that yet
	past          int  // how much of what hooks were told is from before that
}

// reporter is what a test and a check of a property have in common.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// held is a pin set that clients downloaded.
type held struct {
	invariant.Held
	lifetime time.Duration // as the document says
	cache    time.Duration // for how long somebody may get it after that
	replaced bool          // by a newer one, at
	at       time.Duration
}

func (w *watcher) look(run invariant.Run, after time.Duration) {
	w.t.Helper()
	run.Output = []byte(w.h.read("output"))
	cfg, err := config.Load(filepath.Join(w.h.dir, "config.yaml"), nil)
	if err != nil {
		w.t.Fatalf("%s: %v", w.at, err)
	}
	store, err := keystore.Open(cfg.State, cfg.Group)
	if err != nil {
		w.t.Fatalf("%s: %v", w.at, err)
	}
	found, err := invariant.Look(store, apply.Goal(cfg.Certificates[0]))
	if err != nil {
		w.t.Fatalf("%s: %v", w.at, err)
	}
	for _, p := range found.Ledger.Published() {
		id := fmt.Sprint(p.Channel, p.Version)
		if _, known := w.caches[id]; !known && !p.Found {
			if w.caches == nil {
				w.caches = make(map[string]time.Duration)
			}
			w.caches[id] = w.cache[p.Channel]
		}
	}
	out := invariant.Outside{Now: time.Now().Add(after), Held: w.download(after), Before: w.before, Run: &run, Events: w.events()}
	if found.Live > 0 {
		out.Served = append(out.Served, found.LivePin)
	}
	if data, err := os.ReadFile(filepath.Join(w.h.dir, "deployed.pem")); err == nil {
		out.Served = append(out.Served, certificatePin(w.t, data))
	}
	if w.before == nil {
		out.Run = nil
	}
	for _, v := range found.Check(out) {
		if !w.lost || !slices.Contains(unknowable, v.Invariant) {
			w.t.Errorf("%s: %s", w.at, v)
		}
	}
	w.before = &found
}

// places are the files at which clients of each channel find its pin sets, whether or not
// they are configured.
var places = map[string][]string{"app": {"pins.json", "more.json"}, "web": {"web.json"}}

// download lets clients of each channel get what lies at its places, and returns all pin
// sets that some of them may be enforcing.
func (w *watcher) download(after time.Duration) []invariant.Held {
	w.t.Helper()
	for channel, files := range places {
		offered := make(map[int]bool)
		for _, file := range files {
			if version := w.get(channel, file); version > 0 {
				offered[version] = true
			}
		}
		for i := range w.held {
			h := &w.held[i]
			if h.Channel != channel {
				continue
			}
			newer := false
			for version := range offered {
				newer = newer || version > h.Version
			}
			switch {
			case offered[h.Version]:
				h.replaced = false
			case newer && !h.replaced:
				h.replaced, h.at = true, after
			}
		}
	}
	var all []invariant.Held
	for _, h := range w.held {
		if h.Version > w.givenUp && (!h.replaced || after < h.at+h.cache+h.lifetime) {
			all = append(all, h.Held)
		}
	}
	return all
}

// get has a client get a document. It returns its version, 0 when there is none.
func (w *watcher) get(channel, file string) int {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.h.dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	found, err2 := format.JSON.Decode(data)
	var doc struct {
		MaxAge int64 `json:"max_age_seconds"`
	}
	if err := errors.Join(err, err2, json.Unmarshal(data, &doc)); err != nil {
		w.t.Fatalf("%s: clients find no pin set in %s: %v", w.at, file, err)
	}
	lifetime := time.Duration(doc.MaxAge) * time.Second
	i := slices.IndexFunc(w.held, func(h held) bool { return h.Channel == channel && h.Version == found.Version })
	if i < 0 {
		set := pinset.Set{Version: found.Version, Pins: found.Pins}
		w.held = append(w.held, held{Held: invariant.Held{Channel: channel, Set: set}, lifetime: lifetime, cache: w.caches[fmt.Sprint(channel, found.Version)]})
	} else if !pinset.SamePins(w.held[i].Pins, found.Pins) || w.held[i].lifetime != lifetime {
		w.t.Errorf("%s: version %d in %s is %v for %s, and was %v for %s", w.at, found.Version, file, found.Pins, lifetime, w.held[i].Pins, w.held[i].lifetime)
	}
	return found.Version
}

// unknowable are the invariants that can't hold while the state is from an old backup: what
// is live, served and published is not what it remembers.
var unknowable = []string{"I3", "I4", "I6", "I9", "I13", "I14", "I15", "I16"}

// isLost says that the state was replaced by an old backup.
func (w *watcher) isLost() {
	// It may not know which clients were given up.
	w.held = slices.DeleteFunc(w.held, func(h held) bool {
		return slices.ContainsFunc(w.before.Ledger.Published(), func(p pinset.Published) bool {
			return p.Channel == h.Channel && p.Version == h.Version && p.Abandoned
		})
	})
	w.before, w.lost = nil, true
}

// giveUp says that a person accepted breakage without knowing for whom.
func (w *watcher) giveUp() {
	for _, h := range w.held {
		w.givenUp = max(w.givenUp, h.Version)
	}
}

// isFound says that the state is up to date again.
func (w *watcher) isFound() {
	w.lost = false
	w.past = len(w.h.read("events"))
}

// showsAll reports whether clients get the newest pin set that any of them has in each of
// these files.
func (w *watcher) showsAll(files ...string) bool {
	newest := 0
	for _, h := range w.held {
		newest = max(newest, h.Version)
	}
	for _, file := range files {
		data, err := os.ReadFile(filepath.Join(w.h.dir, file))
		found, err2 := format.JSON.Decode(data)
		if err != nil || err2 != nil || found.Version != newest {
			return false
		}
	}
	return true
}

// acceptedByAll reports whether all clients accept these keys.
func (w *watcher) acceptedByAll(keys []pinset.Pin, after time.Duration) bool {
	return !slices.ContainsFunc(w.download(after), func(h invariant.Held) bool { return !containsAll(h.Pins, keys) })
}

func containsAll(pins, keys []pinset.Pin) bool {
	return !slices.ContainsFunc(keys, func(key pinset.Pin) bool { return !slices.Contains(pins, key) })
}

// harmless reports whether clients with these pins accept all that they may be presented
// with now, or as soon as a run that was interrupted goes on.
func (w *watcher) harmless(pins []pinset.Pin) bool {
	for _, k := range w.before.State.Keys {
		if k.Role == plan.Active && !slices.Contains(pins, k.Pin) {
			return false
		}
	}
	return containsAll(pins, w.served())
}

// served returns the keys that clients may be presented with.
func (w *watcher) served() []pinset.Pin {
	served := []pinset.Pin{}
	if w.before.Live > 0 {
		served = append(served, w.before.LivePin)
	}
	if data, err := os.ReadFile(filepath.Join(w.h.dir, "deployed.pem")); err == nil {
		served = append(served, certificatePin(w.t, data))
	}
	return served
}

func (w *watcher) events() []invariant.Event {
	var events []invariant.Event
	for line := range strings.Lines(w.h.read("events")[w.past:]) {
		var e invariant.Event
		var kind string
		if _, err := fmt.Sscan(line, &e.ID, &kind, &e.Version); err != nil {
			w.t.Fatalf("%q: %v", line, err)
		}
		_, e.Channel, _ = strings.Cut(kind, ".")
		var event struct{ Document, Serial string }
		if err := json.Unmarshal([]byte(line[strings.Index(line, "{"):]), &event); err != nil {
			w.t.Fatalf("%q: %v", line, err)
		}
		e.Told = event.Document + event.Serial
		events = append(events, e)
	}
	return events
}

func certificatePin(t reporter, data []byte) pinset.Pin {
	t.Helper()
	block, _ := pem.Decode(data)
	if block == nil {
		t.Fatalf("no certificate: %q", data)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return pinset.OfCertificate(cert)
}

// fastDir is a directory in memory, where there is such a thing: a sweep syncs files
// ten thousands of times.
func fastDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "keepkey-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// copy is the host as it was when it was first copied. It is in the same directory,
// since the ledger knows the places that pin sets went to, so there is one at a time.
func (h *host) copy() *host {
	h.t.Helper()
	if h.saved == "" {
		h.saved = fastDir(h.t) + "/saved"
		if err := copyTree(h.saved, h.dir); err != nil {
			h.t.Fatal(err)
		}
	}
	if err := errors.Join(os.RemoveAll(h.dir), copyTree(h.dir, h.saved)); err != nil {
		h.t.Fatal(err)
	}
	c := *h
	return &c
}

func copyTree(to, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		dest := filepath.Join(to, strings.TrimPrefix(path, from))
		switch {
		case d.IsDir():
			return os.Mkdir(dest, info.Mode().Perm())
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(target, dest)
		case info.Mode()&fs.ModeSocket != 0:
			return nil // that is where a daemon listens
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(dest, data, info.Mode().Perm())
	})
}

// faults holds the handlers of all hosts in this process. Each effect is of the one
// whose directory, CA or domain it is at.
var faults struct {
	sync.RWMutex
	of map[*host]fault.Handler
}

func init() {
	faults.of = make(map[*host]fault.Handler)
	fault.Handle(func(p fault.Point, effect func() error) error {
		faults.RLock()
		var handler fault.Handler
		for h, of := range faults.of {
			if strings.Contains(p.Where, h.dir) || strings.Contains(p.Where, h.domain) || strings.Contains(p.Where, h.caURL()) {
				handler = of
			}
		}
		faults.RUnlock()
		if handler == nil {
			return effect()
		}
		return handler(p, effect)
	})
}

func (h *host) caURL() string { return strings.TrimSuffix(h.ca.Directory, "/dir") }

var oneAtATime sync.Mutex

// do runs a step in this process, with its effects passing a handler, and returns
// its exit status.
func (h *host) do(s step, handler fault.Handler) int {
	h.t.Helper()
	if handler != nil {
		faults.Lock()
		faults.of[h] = handler
		faults.Unlock()
		defer func() {
			faults.Lock()
			delete(faults.of, h)
			faults.Unlock()
		}()
	}
	h.ca.SetClock(s.after)
	defer s.breakHook(h)()
	out := new(bytes.Buffer)
	status := h.runHere(s.args, cli.Env{
		Stdout: out, Stderr: out, Getenv: os.Getenv,
		Now: func() time.Time { return time.Now().Add(s.after + s.wrong) },
	})
	h.append("output", out.Bytes())
	return status
}

// runHere runs a command in this process.
func (h *host) runHere(args string, env cli.Env) (status int) {
	h.t.Helper()
	if raceDetector {
		// The command line's library has one --help for the whole process, and sets it up
		// in each run, always in the same way.
		oneAtATime.Lock()
		defer oneAtATime.Unlock()
	}
	env.Args = append([]string{"keepkey", "--config", filepath.Join(h.dir, "config.yaml")}, strings.Fields(args)...)
	return cli.Run(h.t.Context(), env)
}

// kill runs a step as a process of its own that is killed in the place of its n-th
// effect, and returns its exit status, -1 when it came to that.
func (h *host) kill(s step, n int) int {
	h.t.Helper()
	h.ca.SetClock(s.after)
	defer s.breakHook(h)()
	cmd, out := h.command(strings.Fields(s.args)...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s", clockEnv, s.after), fmt.Sprintf("%s=%d", killEnv, n))
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Fatal(err)
	}
	h.append("output", out.Bytes())
	return cmd.ProcessState.ExitCode()
}

// breakHook has the hook fail until it is mended, if the step is to fail.
func (s step) breakHook(h *host) (mend func()) {
	h.t.Helper()
	if !s.fails {
		return func() {}
	}
	h.append("hook-fails", nil)
	return func() {
		if err := os.Remove(filepath.Join(h.dir, "hook-fails")); err != nil {
			h.t.Error(err)
		}
	}
}

func (h *host) append(name string, data []byte) {
	h.t.Helper()
	f, err := os.OpenFile(filepath.Join(h.dir, name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		h.t.Fatal(err)
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Close()); err != nil {
		h.t.Fatal(err)
	}
}

// read returns a file's content, "" when it is not there.
func (h *host) read(name string) string {
	h.t.Helper()
	data, err := os.ReadFile(filepath.Join(h.dir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		h.t.Fatal(err)
	}
	return string(bytes.TrimLeft(data, "\n"))
}
