package apply_test

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/hooks"
	"keepkey/internal/acmetest"
	"keepkey/keystore"
	"keepkey/plan"
)

// TestARunDoesWhatTheForecastSaysOfThePresent lets lineages live through random
// histories. Whenever nothing stands in the way, a run does what the forecast said was
// due, all of it, in that order, and nothing else; then nothing more is due.
func TestARunDoesWhatTheForecastSaysOfThePresent(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		flag.Set("rapid.checks", "6")
	}
	w := newWorld(t, acmetest.Options{RSA: true})
	var now time.Time
	shift := w.ca.Shift(func() time.Duration { return time.Until(now) })
	revoked := acmetest.Respond(acmetest.RevokeCert, http.StatusOK, nil, nil) // it would not know the shifted ones
	w.ca.Misbehave(func(next http.Handler) http.Handler { return shift(revoked(next)) })
	did := make(map[plan.Kind]int)
	rapid.Check(t, func(rt *rapid.T) {
		l := newLife(t, rt, w, &now)
		for range rapid.IntRange(0, 6).Draw(rt, "versions before") {
			l.run(apply.Options{Force: true})
		}
		for range rapid.IntRange(1, 6).Draw(rt, "steps") {
			l.step()
			if len(l.broken) == 0 {
				l.foreseen(apply.Options{}, did)
			}
		}
		l.mend()
		l.foreseen(apply.Options{Force: rapid.Bool().Draw(rt, "force")}, did)
	})
	t.Logf("foreseen: %v", did)
}

// life is a lineage to which things happen. Its clock stands still while something is
// done.
type life struct {
	*world
	rt     *rapid.T
	clock  *time.Time
	cert   config.Certificate
	broken []string          // what does not work now
	ways   map[string]func() // how to mend what is broken
}

func newLife(t *testing.T, rt *rapid.T, w *world, clock *time.Time) *life {
	c := *w
	l := &life{world: &c, rt: rt, clock: clock, ways: make(map[string]func())}
	var err error
	if c.dir, err = os.MkdirTemp(w.dir, "life-"); err != nil {
		t.Fatal(err)
	}
	c.write("ca.pem", w.ca.CAPEM)
	if c.store, err = keystore.OpenLocked(filepath.Join(c.dir, "state"), ""); err != nil {
		t.Fatal(err)
	}
	rt.Cleanup(func() {
		c.store.Close()
		os.RemoveAll(c.dir)
	})
	*clock = time.Now().Truncate(time.Second)
	l.cert = l.world.cert("api", "api.example.com")
	l.cert.Backups = rapid.IntRange(1, 3).Draw(rt, "backups")
	l.cert.KeepOldPin = rapid.SampledFrom([]time.Duration{0, 5 * day}).Draw(rt, "keep old pin")
	l.cert.RolloverEvery = rapid.SampledFrom([]time.Duration{0, 0, 20 * day, 365 * day}).Draw(rt, "rollover every")
	for i := range rapid.IntRange(0, 2).Draw(rt, "channels") {
		l.channel(fmt.Sprintf("channel-%d", i))
	}
	for i := range rapid.IntRange(0, 2).Draw(rt, "deploy hooks") {
		l.cert.Deploy = append(l.cert.Deploy, hooks.Command{Args: []string{"test", "-e", l.mark(fmt.Sprintf("deploy-%d", i))}})
	}
	return l
}

// channel adds a channel that may be read back, or needs a person.
func (l *life) channel(name string) {
	o := newOutlet(l.t, l.dir, name, rapid.SampledFrom([]time.Duration{day, 30 * day}).Draw(l.rt, name+" lifetime"))
	ch := o.channel()
	l.ways[name+" is out of reach"] = func() { o.mend(l.t) }
	switch rapid.SampledFrom([]string{"automatic", "manual", "read back"}).Draw(l.rt, name) {
	case "manual":
		ch.Manual = true
	case "read back":
		cdn := filepath.Join(l.dir, name+"-cdn.json")
		show := func() { l.must(os.Symlink(o.file, cdn)) }
		show()
		ch.ReadBack = hooks.File{Path: cdn}
		l.ways[name+" can't be seen"] = show
	}
	l.cert.Channels = append(l.cert.Channels, ch)
}

// mark makes a file without which a hook fails.
func (l *life) mark(name string) string {
	path := filepath.Join(l.dir, name)
	make := func() { l.must(os.WriteFile(path, nil, 0o600)) }
	make()
	l.ways[name+" fails"] = make
	return path
}

func (l *life) must(err error) {
	l.t.Helper()
	if err != nil && !errors.Is(err, os.ErrExist) {
		l.t.Fatal(err)
	}
}

// breaks has one thing not work from now on.
func (l *life) breaks(what string) {
	name, _, _ := strings.Cut(what, " ")
	switch {
	case slices.Contains(l.broken, what):
		return
	case strings.HasSuffix(what, "out of reach"):
		broken := rapid.SampledFrom([]string{".mnt", ".cache"}).Draw(l.rt, "how")
		l.must(os.Remove(filepath.Join(l.dir, name+broken)))
	case strings.HasSuffix(what, "can't be seen"):
		l.must(os.Remove(filepath.Join(l.dir, name+"-cdn.json")))
	default:
		l.must(os.Remove(filepath.Join(l.dir, name)))
	}
	l.broken = append(l.broken, what)
}

func (l *life) mend() {
	for _, what := range l.broken {
		l.ways[what]()
	}
	l.broken = nil
	*l.clock = l.clock.Add(time.Second) // what fails from now on is told from what failed so far
}

// step is something that happens.
func (l *life) step() {
	things := slices.Sorted(func(yield func(string) bool) {
		for what := range l.ways {
			if !yield(what) {
				return
			}
		}
	})
	what := rapid.SampledFrom([]string{
		"time passes", "time passes", "run", "force", "rotate", "rotate", "undo", "compromised", "confirm", "retire", "break", "mend", "names", "backups",
	}).Draw(l.rt, "step")
	r := l.process()
	switch what {
	case "time passes":
		*l.clock = l.clock.Add(time.Duration(rapid.SampledFrom([]int{1, 7, 25, 24 * 6, 24 * 31, 24 * 61, 24 * 100}).Draw(l.rt, "hours")) * time.Hour)
	case "run":
		l.run(apply.Options{})
	case "force":
		l.run(apply.Options{Force: true})
	case "rotate":
		l.ask(r.Rotate(l.t.Context(), l.cert, apply.RotateOptions{WhenOpen: true}))
	case "undo":
		l.ask(r.Rotate(l.t.Context(), l.cert, apply.RotateOptions{WhenOpen: true, Undo: true}))
	case "compromised":
		accept := rapid.Bool().Draw(l.rt, "accept breakage")
		l.ask(r.Rotate(l.t.Context(), l.cert, apply.RotateOptions{WhenOpen: true, Compromised: true, AcceptBreakage: accept}))
	case "confirm":
		for _, ch := range l.cert.Channels {
			newest, _ := l.input().Ledger.Channel(ch.Name)
			l.ask(r.Confirm(l.t.Context(), l.cert, ch.Name, newest.Version))
		}
	case "retire":
		for _, ch := range l.cert.Channels {
			l.ask(r.Retire(l.t.Context(), l.cert, ch.Name, 1))
		}
	case "break":
		if len(things) > 0 {
			l.breaks(rapid.SampledFrom(things).Draw(l.rt, "what"))
		}
	case "mend":
		l.mend()
	case "names":
		l.cert.Domains = []string{"api.example.com", "second.example.com"}[:3-len(l.cert.Domains)]
	case "backups":
		l.cert.Backups = rapid.IntRange(1, 3).Draw(l.rt, "backups")
	}
}

// ask expects that what a person asked for was done, or refused.
func (l *life) ask(err error) {
	if refused := new(plan.Refusal); err != nil && !errors.As(err, &refused) {
		l.rt.Fatalf("%s: %v", l.clock, err)
	}
}

// process is a process of its own for each thing that is done.
func (l *life) process() *apply.Runner {
	at := *l.clock
	r := &apply.Runner{
		Store: l.store, Now: func() time.Time { return at }, UserAgent: "keepkey/test", LookTime: time.Nanosecond, Log: slog.New(slog.DiscardHandler),
	}
	l.rt.Cleanup(r.Close)
	return r
}

func (l *life) run(o apply.Options) apply.Report { return l.process().Renew(l.t.Context(), l.cert, o) }

func (l *life) input() plan.Input {
	in, _ := l.plan(apply.Options{})
	return in
}

func (l *life) plan(o apply.Options) (plan.Input, plan.Plan) {
	in, p, err := l.process().Plan(l.t.Context(), l.cert, o)
	if err != nil {
		l.rt.Fatal(err)
	}
	return in, p
}

// due is what a plan says of the present.
func (l *life) due(p plan.Plan) []plan.Action {
	return slices.DeleteFunc(slices.Clone(p.Actions), func(a plan.Action) bool { return a.At.After(*l.clock) })
}

// foreseen compares a run with the forecast. Nothing may fail in it.
func (l *life) foreseen(o apply.Options, did map[plan.Kind]int) {
	in, p := l.plan(o)
	want := brief(l.due(p))
	rep := l.run(o)
	if failed := l.failedAt(rep.Input.State); len(failed) > 0 {
		l.rt.Fatalf("failed although nothing is broken: %q", failed)
	}
	if got := brief(rep.Done); !slices.Equal(got, want) {
		l.rt.Fatalf("at %s, rollover %+v\nthe forecast says\n\t%s\nand the run did\n\t%s\nproblems %q, notes %q", l.clock, in.State.Rollover,
			strings.Join(want, "\n\t"), strings.Join(got, "\n\t"), problems(rep), texts(rep.Name, rep.Notes))
	}
	for _, a := range rep.Done {
		did[a.Kind]++
	}
	if _, p := l.plan(apply.Options{}); len(l.due(p)) > 0 {
		l.rt.Fatalf("at %s, still to be done:\n\t%s", l.clock, strings.Join(brief(l.due(p)), "\n\t"))
	}
}

// failedAt lists what failed at this very moment.
func (l *life) failedAt(s plan.State) []string {
	var failed []string
	add := func(failures map[string]plan.Failure) {
		for purpose, f := range failures {
			if f.Last.Equal(*l.clock) {
				failed = append(failed, purpose+": "+f.Error)
			}
		}
	}
	add(s.Failures)
	for _, h := range s.Hosts {
		add(h.Failures)
	}
	return failed
}

// brief is what of an action can be known in advance.
func brief(actions []plan.Action) []string {
	var all []string
	for _, a := range actions {
		all = append(all, fmt.Sprintf("%s %s %s pin set %d version %d %s %s", a.Kind, a.Role, a.Channel, a.PinSet.Version, a.Version, a.Target, a.Why.Code))
	}
	return all
}

// A schedule counts from the day on which the active key became it, in the first
// forecast too: nothing of a rollover is due with the first run.
func TestAScheduleCountsFromTheFirstDay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{Profiles: map[string]time.Duration{"default": 4 * 365 * day}})
	cert := w.pinned("api")
	cert.RolloverEvery = 365 * day
	rollover := func() (begins []time.Time, in plan.Input) {
		t.Helper()
		in, p, err := w.runner().Plan(t.Context(), cert, apply.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range p.Actions {
			if a.Kind == plan.BeginRollover || a.Kind == plan.SwitchKey {
				begins = append(begins, a.At)
			}
		}
		return begins, in
	}
	if begins, in := rollover(); len(begins) != 1 || !begins[0].Equal(in.Now.Add(365*day)) {
		t.Errorf("before the first run, at %s: a rollover is foreseen at %v, want one in a year", in.Now, begins)
	}
	w.mustRenew(cert, apply.Options{})
	first := w.state(cert).Active().Pin
	since := w.state(cert).Since
	for _, tt := range []struct {
		passed time.Duration
		due    bool
	}{{0, false}, {364 * day, false}, {365*day + time.Hour, true}} {
		w.offset = tt.passed
		begins, in := rollover()
		if len(begins) == 0 || begins[0].After(in.Now) == tt.due || (!tt.due && !begins[0].Equal(since.Add(365*day))) {
			t.Errorf("after %s a rollover is foreseen at %v, want it to be due: %v", tt.passed, begins, tt.due)
		}
		rep := w.renew(cert, apply.Options{})
		if rep.Did(plan.BeginRollover) != tt.due || rep.Did(plan.SwitchKey) != tt.due {
			t.Errorf("after %s: done %q", tt.passed, brief(rep.Done))
		}
	}
	if w.state(cert).Active().Pin == first {
		t.Error("the key is the same after a year")
	}
}
