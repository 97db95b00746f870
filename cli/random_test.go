package cli_test

import (
	"crypto"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"keepkey/internal/acmetest"
	"keepkey/internal/durable"
	"keepkey/invariant"
	"keepkey/pinset"
	"keepkey/pinset/format"
	"keepkey/plan"
)

// TestAnySequenceKeepsThePromise lets a person, the clock, failing hooks, a CA that
// is down, crashes and errors at any effect follow each other at random, on the real
// store. The invariants hold after every step, for clients that hold each pin set as
// long as they may, and in the end two runs without disturbance come to the goal.
func TestAnySequenceKeepsThePromise(t *testing.T) {
	t.Parallel()
	if checks := flag.Lookup("rapid.checks"); testing.Short() && checks.Value.String() == checks.DefValue {
		checks.Value.Set("40") // of which rapid itself takes a fifth then
	}
	const domain = "random.example.com"
	first := newHostOf(t, fastDir(t), acmetest.Options{RSA: true}, strings.ReplaceAll(sweptConfig, "api.example.com", domain))
	first.domain = domain
	var now atomic.Int64
	shift := first.ca.Shift(func() time.Duration { return time.Duration(now.Load()) })
	revoked := acmetest.Respond(acmetest.RevokeCert, http.StatusOK, nil, nil) // it would not know the shifted ones
	up := func(next http.Handler) http.Handler { return revoked(shift(next)) }
	down := acmetest.Problem(acmetest.NewOrder, 503, "serverInternal", "maintenance", "")
	if err := os.WriteFile(filepath.Join(first.dir, "hook"), []byte(fallibleHook), 0o700); err != nil {
		t.Fatal(err)
	}
	base, _, _ := strings.Cut(first.read("config.yaml"), "certificates:\n")
	steps, advice := make(map[string]int), make(map[string]int)
	rapid.Check(t, func(rt *rapid.T) {
		h := first.copy()
		h.ca.Misbehave(up)
		w := &watcher{t: rt, h: h, at: "the beginning"}
		r := &randomLife{h: h, w: w, asked: usual, base: base, documents: make(map[string]map[int][]byte), unseen: make(map[string]bool), steps: steps, advice: advice, clockOfCA: &now, up: up, down: func(next http.Handler) http.Handler { return down(up(next)) }}
		r.pass(0)
		w.look(invariant.Run{}, 0)
		rt.Repeat(map[string]func(*rapid.T){
			"run":           r.run, // several times, since that is what it is about
			"another run":   r.run,
			"a further run": r.run,
			"one more run":  r.run,
			"a last run":    r.run,
			"time passes":   r.timePasses,
			"a hook fails":  r.hookFails,
			"the CA fails":  r.caFails,
			"the clock":     r.clock,
			"a key refused": r.refuseKey,
			"an edit":       r.edit,
			"a restoration": r.restore,
			"a deletion":    r.remove,
			"a place ends":  r.closePlace,
			"a link":        r.link,
			"an old state":  r.oldState,
			"an adoption":   r.adopt,
			"an orphan":     r.hookOutlives,
			"it goes on":    r.orphanGoesOn,
			"all goes well": r.goesWell,
		})
		r.goesWell(rt)
	})
	t.Logf("%v", steps)
	t.Logf("commands that were recommended: %v", advice)
}

// fallibleHook also leaves a process of its own behind, once: much later that puts what it
// was given where clients get it.
const fallibleHook = hookScript + `[ ! -e hook-fails ] || exit 1
if [ -e hook-lingers ] && [ "$KEEPKEY_EVENT" = publish ]; then
	rm hook-lingers
	cp "$KEEPKEY_PINSET_FILE" late.json
	sh -c 'trap "" HUP; echo $$ >orphan.new; mv orphan.new orphan; while [ ! -e late ]; do sleep 0.02; done; cat late.json >pins.json'
fi
`

// randomLife is what happens to one lineage.
type randomLife struct {
	h       *host
	w       *watcher
	now     time.Duration
	wrong   time.Duration // the clock
	steps   map[string]int
	story   []string
	caDown  bool
	refused pinset.Pin // the CA issues nothing for it
	more    bool       // something may have been published to more.json

	asked     settings
	base      string                    // of the configuration
	documents map[string]map[int][]byte // all that ever lay in a file, by version
	unseen    map[string]bool           // files with something that no run has looked at yet
	backups   int                       // of the state, that there are
	advice    map[string]int            // how often each kind of command was recommended

	clockOfCA *atomic.Int64
	up, down  acmetest.Fault
}

func (r *randomLife) pass(d time.Duration) {
	r.now += d
	r.clockOfCA.Store(int64(r.now))
}

func (r *randomLife) tell(what, format string, args ...any) {
	r.steps[what]++
	r.story = append(r.story, fmt.Sprintf(format, args...))
	r.w.at = strings.Join(r.story[max(0, len(r.story)-20):], "; ")
}

var commands = []string{
	"renew", "renew", "renew --force", "rotate --name api", "rotate --name api --when-open", "rotate --name api --undo",
	"rotate --name api --compromised", "rotate --name api --compromised --key active", "rotate --name api --compromised --accept-breakage",
	"rotate --name api --compromised --key backup", "rotate --name api --compromised --key retired",
	"rotate --name api --compromised --key all --accept-breakage",
	"channel confirm --name api --channel web --version 1",
}

// settings are what is edited in the configuration between runs.
type settings struct {
	Lifetime string
	Cache    string
	Backups  int
	KeyType  string
	More     bool // the channel app is published to another file, too
	ReadBack bool
}

var usual = settings{Lifetime: "30d", Cache: "0s", Backups: 1, KeyType: "ec256", ReadBack: true}

func (s settings) String() string {
	more, readBack := "", ""
	if s.More {
		more = ", {file: more.json}"
	}
	if s.ReadBack {
		readBack = "\n        read_back: {file: web.json}"
	}
	return fmt.Sprintf(`certificates:
  - name: api
    domains: [random.example.com]
    backups: %d
    key_type: %s
    channels:
      - name: app
        format: json
        lifetime: %s
        cache: %s
        publish: [{file: pins.json}, {command: [./hook]}%s]
      - name: web
        format: json
        lifetime: 2d
        publish: [{file: web.json}]%s
    deploy: [{command: [./hook]}]
`, s.Backups, s.KeyType, s.Lifetime, s.Cache, more, readBack)
}

// configure writes the configuration.
func (r *randomLife) configure(rt *rapid.T) {
	r.w.cache = map[string]time.Duration{"app": map[string]time.Duration{"2d": 48 * time.Hour}[r.asked.Cache]}
	if err := os.WriteFile(filepath.Join(r.h.dir, "config.yaml"), []byte(r.base+r.asked.String()), 0o600); err != nil {
		rt.Fatal(err)
	}
}

func (r *randomLife) edit(rt *rapid.T) {
	r.asked.Lifetime = rapid.SampledFrom([]string{"30d", "10d", "1d"}).Draw(rt, "lifetime")
	r.asked.Cache = rapid.SampledFrom([]string{"0s", "0s", "2d"}).Draw(rt, "cache")
	r.asked.Backups = rapid.IntRange(1, 2).Draw(rt, "backups")
	r.asked.KeyType = rapid.SampledFrom([]string{"ec256", "ec384"}).Draw(rt, "key type")
	r.asked.More = rapid.Bool().Draw(rt, "another file") || r.unseen["more.json"]
	r.asked.ReadBack = rapid.Bool().Draw(rt, "read back")
	r.more = r.more || r.asked.More
	r.configure(rt)
	r.tell("edit", "%+v", r.asked)
}

// note keeps what lies in the files.
func (r *randomLife) note() {
	for channel, files := range places {
		for _, file := range files {
			if version := r.w.get(channel, file); version > 0 {
				if r.documents[file] == nil {
					r.documents[file] = make(map[int][]byte)
				}
				r.documents[file][version] = []byte(r.h.read(file))
			}
		}
	}
}

// restore puts an older document back, as a backup of the web root does. One that would lock
// clients out by itself is not restored: nothing that keepkey does could help them.
func (r *randomLife) restore(rt *rapid.T) {
	r.note()
	file := rapid.SampledFrom([]string{"pins.json", "web.json", "more.json"}).Draw(rt, "file")
	var fit []int
	for version, data := range r.documents[file] {
		found, err := format.JSON.Decode(data)
		if err == nil && r.w.harmless(found.Pins) {
			fit = append(fit, version)
		}
	}
	// What came and went between two runs, keepkey can't know of, nor what comes back where
	// it does not publish any more.
	if len(fit) == 0 || r.w.lost || r.unseen[file] || (file == "more.json" && !r.asked.More) {
		return
	}
	r.unseen[file] = true
	slices.Sort(fit)
	version := rapid.SampledFrom(fit).Draw(rt, "version")
	if err := os.WriteFile(filepath.Join(r.h.dir, file), r.documents[file][version], 0o644); err != nil {
		rt.Fatal(err)
	}
	r.tell("restored", "%s is restored to version %d", file, version)
	r.w.download(r.now)
}

func (r *randomLife) remove(rt *rapid.T) {
	r.note()
	file := rapid.SampledFrom([]string{"pins.json", "web.json"}).Draw(rt, "file")
	if !r.w.lost && !r.unseen[file] && os.Remove(filepath.Join(r.h.dir, file)) == nil {
		r.tell("deleted", "%s is deleted", file)
	}
}

// link puts a link where clients get documents of a channel, or takes the second name of a
// file away again.
func (r *randomLife) link(rt *rapid.T) {
	file := rapid.SampledFrom([]string{"pins.json", "web.json"}).Draw(rt, "file")
	path := filepath.Join(r.h.dir, file)
	info, err := os.Lstat(path)
	switch {
	case os.Remove(path+".other") == nil:
		r.tell("link", "%s has one name again", file)
	case err != nil || !info.Mode().IsRegular():
	case rapid.Bool().Draw(rt, "symbolic"):
		if err := errors.Join(os.Rename(path, path+".target"), os.Symlink(file+".target", path)); err != nil {
			rt.Fatal(err)
		}
		r.tell("link", "%s is a symbolic link", file)
	default:
		if err := os.Link(path, path+".other"); err != nil {
			rt.Fatal(err)
		}
		r.tell("link", "%s has a second name", file)
	}
}

// oldState makes a backup of the lineage, or restores one.
func (r *randomLife) oldState(rt *rapid.T) {
	if r.w.lost || r.w.before.State.IsZero() {
		return
	}
	if r.backups > 0 && rapid.IntRange(0, 3).Draw(rt, "restore") > 0 {
		r.restoreState(rt)
		return
	}
	if err := copyTree(r.backup(r.backups), r.h.lineage("api")); err != nil {
		rt.Fatal(err)
	}
	r.tell("backup", "backup %d is made", r.backups)
	r.backups++
}

func (r *randomLife) backup(n int) string {
	return filepath.Join(r.h.dir, fmt.Sprintf("backup-%d", n))
}

// restoreState puts an old backup of the lineage in its place, or the state and the ledger
// of one beside its keys, where clients get what the newer one published.
func (r *randomLife) restoreState(rt *rapid.T) {
	shown := func() bool { return len(r.unseen) == 0 && r.w.showsAll("pins.json", "web.json") }
	if !shown() {
		r.runWell("renew")
	}
	if !shown() {
		return
	}
	from, lineage := r.backup(rapid.IntRange(0, r.backups-1).Draw(rt, "backup")), r.h.lineage("api")
	whole := rapid.Bool().Draw(rt, "whole")
	var served []pinset.Pin
	cert, liveErr := os.ReadFile(filepath.Join(from, "live", "cert.pem"))
	if whole && liveErr == nil {
		served = append(served, certificatePin(rt, cert))
	}
	if whole && liveErr != nil {
		// One of these keys will be adopted, and none that was made since is there.
		keys, _ := filepath.Glob(filepath.Join(from, "keys", "*.pem"))
		for _, path := range keys {
			pin, err := pinset.ParseHex(strings.TrimSuffix(filepath.Base(path), ".pem"))
			if err != nil {
				rt.Fatal(err)
			}
			served = append(served, pin)
		}
	}
	// A server that loads what is live now must not lock clients out by itself.
	if !r.w.acceptedByAll(append(served, r.w.served()...), r.now) {
		return
	}
	err := errors.Join(os.RemoveAll(r.backup(-1)), copyTree(r.backup(-1), lineage))
	if whole {
		err = errors.Join(err, os.RemoveAll(lineage), copyTree(lineage, from))
		if liveErr == nil { // a person reloads the server, which no state remembers
			err = errors.Join(err, os.WriteFile(filepath.Join(r.h.dir, "deployed.pem"), cert, 0o600))
		}
		// What a crash had left in it waits for the next certificate to be removed.
		unfinished, _ := filepath.Glob(filepath.Join(lineage, "*", durable.TempPrefix+"*"))
		for _, path := range unfinished {
			err = errors.Join(err, os.RemoveAll(path))
		}
	} else {
		for _, name := range []string{"state.json", "ledger.jsonl"} {
			err = errors.Join(err, os.RemoveAll(filepath.Join(lineage, name)))
			if data, err2 := os.ReadFile(filepath.Join(from, name)); err2 == nil {
				err = errors.Join(err, os.WriteFile(filepath.Join(lineage, name), data, 0o600))
			}
		}
		keys, _ := filepath.Glob(filepath.Join(from, "keys", "*.pem"))
		for _, path := range keys { // some were lost in an older backup
			data, err2 := os.ReadFile(path)
			err = errors.Join(err, err2, os.WriteFile(filepath.Join(lineage, "keys", filepath.Base(path)), data, 0o600))
		}
	}
	if err != nil {
		rt.Fatal(err)
	}
	r.w.isLost()
	r.more = true // that clients get nothing there any more may not be known any more
	r.tell("restored state", "the state of %s is restored (whole: %v)", filepath.Base(from), whole)
	r.w.look(invariant.Run{}, r.now)
}

// adopt is what a person does about an old state.
func (r *randomLife) adopt(*rapid.T) {
	if !r.w.lost {
		return
	}
	past := len(r.h.read("output"))
	status := r.h.do(step{args: "adopt --name api", after: r.now, wrong: r.wrong}, nil)
	r.tell("adopted", "adopt (status %d)", status)
	r.w.look(invariant.Run{Asked: true, Status: status}, r.now)
	for _, found := range []string{"so the active key is", "there is nothing to adopt"} {
		if r.w.lost && strings.Contains(r.h.read("output")[past:], found) {
			r.w.isFound()
		}
	}
}

// findNewest puts back what the old backup replaced: the keys that are needed are in no
// other.
func (r *randomLife) findNewest(rt *rapid.T) {
	lineage := r.h.lineage("api")
	if err := errors.Join(os.RemoveAll(lineage), copyTree(lineage, r.backup(-1))); err != nil {
		rt.Fatal(err)
	}
	// Reload the servers then, docs/running.md says: in the old state keys may have been switched.
	if cert, err := os.ReadFile(filepath.Join(lineage, "live", "cert.pem")); err == nil {
		if err := os.WriteFile(filepath.Join(r.h.dir, "deployed.pem"), cert, 0o600); err != nil {
			rt.Fatal(err)
		}
	}
	r.tell("newest", "the newest state is back")
	r.w.before = nil
	r.w.isFound()
	r.w.look(invariant.Run{}, r.now)
}

// hookOutlives kills keepkey, as a process of its own, while a hook runs, which goes on.
func (r *randomLife) hookOutlives(rt *rapid.T) {
	lingers := filepath.Join(r.h.dir, "hook-lingers")
	if r.h.read("orphan") != "" {
		return
	}
	if err := os.WriteFile(lingers, nil, 0o600); err != nil {
		rt.Fatal(err)
	}
	args := rapid.SampledFrom([]string{"renew", "rotate --name api"}).Draw(rt, "command")
	cmd, out := r.h.command(strings.Fields(args)...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s", clockEnv, r.now+r.wrong))
	r.h.ca.SetClock(r.now)
	ended := make(chan struct{})
	if err := cmd.Start(); err != nil {
		rt.Fatal(err)
	}
	go func() {
		cmd.Wait() // its status is looked at below
		close(ended)
	}()
	for over := false; !over && r.h.read("orphan") == ""; {
		select {
		case <-ended:
			over = true
		case <-time.After(2 * time.Millisecond):
		}
	}
	if pid := r.orphan(); pid > 0 {
		rt.Cleanup(func() { syscall.Kill(pid, syscall.SIGKILL) })
		cmd.Process.Kill()
	}
	<-ended
	// Its time is up, so that nobody waits.
	locks, _ := filepath.Glob(filepath.Join(r.h.lineage("api"), "hooks", "*", "lock"))
	for _, lock := range locks {
		if err := os.Chtimes(lock, time.Unix(0, 0), time.Unix(0, 0)); err != nil {
			rt.Fatal(err)
		}
	}
	os.Remove(lingers)
	r.h.append("output", out.Bytes())
	status := cmd.ProcessState.ExitCode()
	if status < 0 {
		r.tell("outlived", "%s killed while a hook runs, which goes on", args)
	} else {
		r.tell("not outlived", "%s as a process of its own (status %d)", args, status)
	}
	r.w.look(invariant.Run{Asked: args != "renew", Status: status}, r.now)
}

func (r *randomLife) orphan() int {
	pid, _ := strconv.Atoi(strings.TrimSpace(r.h.read("orphan")))
	return pid
}

// orphanGoesOn lets a hook that outlived its keepkey do what it is about to, if it was not
// ended meanwhile.
func (r *randomLife) orphanGoesOn(rt *rapid.T) {
	pid := r.orphan()
	if pid == 0 {
		return
	}
	late := filepath.Join(r.h.dir, "late")
	if err := os.WriteFile(late, nil, 0o600); err != nil {
		rt.Fatal(err)
	}
	for syscall.Kill(pid, 0) == nil {
		time.Sleep(2 * time.Millisecond)
	}
	os.Remove(late)
	os.Remove(filepath.Join(r.h.dir, "orphan"))
	r.tell("orphan", "the hook that was left goes on")
	r.w.look(invariant.Run{}, r.now)
}

// closePlace is what a person does about a place that is not configured any more.
func (r *randomLife) closePlace(rt *rapid.T) {
	path := filepath.Join(r.h.dir, "more.json")
	if r.asked.More || !r.more || r.w.lost || r.unseen["more.json"] {
		return
	}
	os.Remove(path)
	r.w.download(r.now)
	status := r.h.do(step{args: "channel retire --name api --channel app --place " + path, after: r.now}, nil)
	r.tell("closed", "more.json is closed (status %d)", status)
	r.more = status != 0
}

func (r *randomLife) run(rt *rapid.T) {
	s := step{args: rapid.SampledFrom(commands).Draw(rt, "command"), after: r.now, wrong: r.wrong}
	run := invariant.Run{Asked: strings.HasPrefix(s.args, "rotate")}
	if r.w.lost && strings.Contains(s.args, "--accept-breakage") {
		r.w.giveUp()
	}
	n := rapid.IntRange(1, 160).Draw(rt, "at")
	switch how := rapid.SampledFrom([]string{"well", "well", "killed", "failing", "failing though done"}).Draw(rt, "how"); how {
	case "well":
		r.runWell(s.args)
		return
	case "killed":
		r.h.do(s, dead(n))
		run.Status = -1
		r.tell(how, "%s killed at %d", s.args, n)
	default:
		run.Status = r.h.do(s, disturbance{how: how, n: n}.handler())
		r.tell(how, "%s %s at %d (status %d)", s.args, how, n, run.Status)
	}
	r.w.look(run, r.now)
}

// runWell runs a command that nothing disturbs.
func (r *randomLife) runWell(args string) {
	past := len(r.h.read("output"))
	status := r.h.do(step{args: args, after: r.now, wrong: r.wrong}, nil)
	if !strings.HasPrefix(args, "channel") {
		clear(r.unseen)
	}
	r.tell(args, "%s (status %d)", args, status)
	r.takeAdvice(r.h.read("output")[past:])
	r.w.look(invariant.Run{Asked: strings.HasPrefix(args, "rotate"), Status: status}, r.now)
}

// takeAdvice tries the commands that keepkey recommends just now, and puts everything back.
// Each kind has a few tries in all, and more in a long run.
func (r *randomLife) takeAdvice(output string) {
	if r.h.read("orphan") != "" {
		return // it lives in this directory
	}
	for _, m := range advised.FindAllStringSubmatch(output, -1) {
		command := strings.TrimSpace(m[1])
		kind := anyPin.ReplaceAllString(command, "*")
		if r.advice[kind]++; r.advice[kind] > 10 && r.advice[kind]%20 != 0 {
			continue
		}
		saved := fastDir(r.h.t)
		if err := copyTree(filepath.Join(saved, "host"), r.h.dir); err != nil {
			r.w.t.Fatalf("%v", err)
		}
		past := len(r.h.read("output"))
		status := r.h.do(step{args: command, after: r.now, wrong: r.wrong}, nil)
		said := r.h.read("output")[past:]
		if err := errors.Join(emptyDir(r.h.dir), copyInto(r.h.dir, filepath.Join(saved, "host")), os.RemoveAll(saved)); err != nil {
			r.w.t.Fatalf("%v", err)
		}
		if why := pointless(status, []byte(said)); why != "" {
			r.advice[kind] = -1 << 20 // always, so that it can be made smaller
			r.w.t.Errorf("%s: recommended: %s: %s\nafter:\n%s", r.w.at, command, why, output)
		}
	}
}

// anyPin is what differs between two commands of a kind.
var anyPin = regexp.MustCompile(`[A-Za-z0-9+/]{43}=|\b[0-9a-f]{16}\b|\d+`)

func (r *randomLife) timePasses(rt *rapid.T) {
	d := time.Duration(rapid.SampledFrom([]int{1, 6, 25, 24 * 2, 24 * 8, 24 * 31}).Draw(rt, "hours")) * time.Hour
	r.pass(d)
	r.tell("time", "%s pass", d)
}

func (r *randomLife) hookFails(rt *rapid.T) {
	path := filepath.Join(r.h.dir, "hook-fails")
	if os.Remove(path) == nil {
		r.tell("hook", "the hook is mended")
		return
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		rt.Fatal(err)
	}
	r.tell("hook", "the hook fails")
}

func (r *randomLife) caFails(*rapid.T) {
	r.caDown = !r.caDown
	r.setCA()
	r.tell("CA", "the CA is down: %v", r.caDown)
}

// setCA has the CA do what it does at the time.
func (r *randomLife) setCA() {
	is := r.up
	if r.caDown {
		is = r.down
	}
	refuse := acmetest.RefuseKey(func(key crypto.PublicKey) bool {
		pin, err := pinset.Of(key)
		return err == nil && pin == r.refused
	})
	r.h.ca.Misbehave(func(next http.Handler) http.Handler { return refuse(is(next)) })
}

// refuseKey has the CA refuse the next active key, or the active one, or none any more.
func (r *randomLife) refuseKey(rt *rapid.T) {
	role := rapid.SampledFrom([]plan.Role{plan.Active, plan.Backup, ""}).Draw(rt, "role")
	r.refused = pinset.Pin{}
	for _, k := range r.w.before.State.Keys {
		if k.Role == role {
			r.refused = k.Pin
		}
	}
	r.setCA()
	r.tell("refused", "the CA refuses the %s key", role)
}

func (r *randomLife) clock(rt *rapid.T) {
	r.wrong = time.Duration(rapid.SampledFrom([]int{0, 0, 24 * 31, -24 * 5}).Draw(rt, "wrong by hours")) * time.Hour
	r.tell("clock", "the clock is %s ahead", r.wrong)
}

// goesWell ends what disturbs, lets the pauses after failures pass, and expects all
// that is due to get done.
func (r *randomLife) goesWell(rt *rapid.T) {
	r.wrong = 0
	if r.more {
		r.asked.More = true
		r.configure(rt)
	}
	r.caDown, r.refused = false, pinset.Pin{}
	r.setCA()
	for _, name := range []string{"hook-fails", "pins.json.other", "web.json.other"} {
		os.Remove(filepath.Join(r.h.dir, name))
	}
	r.orphanGoesOn(rt)
	if r.w.lost {
		r.pass(25 * time.Hour)
		r.adopt(rt)
	}
	if r.w.lost {
		r.findNewest(rt)
	}
	if ro := r.w.before.State.Rollover; ro != nil && ro.Compromised && ro.Switched.IsZero() {
		// Nothing is published while the compromised key is in use, until a person decides.
		r.pass(25 * time.Hour)
		args := "rotate --name api --compromised --accept-breakage"
		status := r.h.do(step{args: args, after: r.now}, nil)
		r.tell("well", "%s (status %d)", args, status)
		r.w.look(invariant.Run{Asked: true, Status: status}, r.now)
	}
	for i := range 2 {
		r.pass(25 * time.Hour)
		status := r.h.do(step{args: "renew", after: r.now}, nil)
		r.tell("well", "renew (status %d)", status)
		if i == 1 && status != 0 {
			rt.Errorf("%s\n%s", r.w.at, tail(r.h.read("output")))
		}
		r.w.look(invariant.Run{Undisturbed: i == 1}, r.now)
	}
}
