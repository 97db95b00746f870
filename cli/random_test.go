package cli_test

import (
	"crypto"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"keepkey/internal/acmetest"
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
	steps := make(map[string]int)
	rapid.Check(t, func(rt *rapid.T) {
		h := first.copy()
		h.ca.Misbehave(up)
		w := &watcher{t: rt, h: h, at: "the beginning"}
		r := &randomLife{h: h, w: w, asked: usual, base: base, documents: make(map[string]map[int][]byte), unseen: make(map[string]bool), steps: steps, clockOfCA: &now, up: up, down: func(next http.Handler) http.Handler { return down(up(next)) }}
		r.pass(0)
		w.look(invariant.Run{}, 0)
		rt.Repeat(map[string]func(*rapid.T){
			"run":           r.run, // thrice, since that is what it is about
			"another run":   r.run,
			"a further run": r.run,
			"time passes":   r.timePasses,
			"a hook fails":  r.hookFails,
			"the CA fails":  r.caFails,
			"the clock":     r.clock,
			"a key refused": r.refuseKey,
			"an edit":       r.edit,
			"a restoration": r.restore,
			"a deletion":    r.remove,
			"a place ends":  r.closePlace,
			"all goes well": r.goesWell,
		})
		r.goesWell(rt)
	})
	t.Logf("%v", steps)
}

const fallibleHook = hookScript + `[ ! -e hook-fails ] || exit 1
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
	if err := os.WriteFile(filepath.Join(r.h.dir, "config.yaml"), []byte(r.base+r.asked.String()), 0o600); err != nil {
		rt.Fatal(err)
	}
}

func (r *randomLife) edit(rt *rapid.T) {
	r.asked.Lifetime = rapid.SampledFrom([]string{"30d", "10d", "1d"}).Draw(rt, "lifetime")
	r.asked.Cache = rapid.SampledFrom([]string{"0s", "0s", "2d"}).Draw(rt, "cache")
	r.asked.Backups = rapid.IntRange(1, 2).Draw(rt, "backups")
	r.asked.KeyType = rapid.SampledFrom([]string{"ec256", "ec384"}).Draw(rt, "key type")
	r.asked.More = rapid.Bool().Draw(rt, "another file")
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
	if len(fit) == 0 || r.unseen[file] || (file == "more.json" && !r.asked.More) {
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
	if !r.unseen[file] && os.Remove(filepath.Join(r.h.dir, file)) == nil {
		r.tell("deleted", "%s is deleted", file)
	}
}

// closePlace is what a person does about a place that is not configured any more.
func (r *randomLife) closePlace(rt *rapid.T) {
	path := filepath.Join(r.h.dir, "more.json")
	if r.asked.More || !r.more || r.unseen["more.json"] {
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
	n := rapid.IntRange(1, 160).Draw(rt, "at")
	switch how := rapid.SampledFrom([]string{"well", "well", "killed", "failing", "failing though done"}).Draw(rt, "how"); how {
	case "well":
		run.Status = r.h.do(s, nil)
		if !strings.HasPrefix(s.args, "channel") {
			clear(r.unseen)
		}
		r.tell(s.args, "%s (status %d)", s.args, run.Status)
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
	os.Remove(filepath.Join(r.h.dir, "hook-fails"))
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
