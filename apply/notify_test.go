package apply_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keepkey/apply"
	"keepkey/hooks"
	"keepkey/internal/acmetest"
	"keepkey/keystore"
	"keepkey/plan"
	"keepkey/status"
)

// listener is a notify hook that remembers what it was told.
type listener struct {
	name string
	run  func(ctx context.Context) error
	mu   sync.Mutex
	told []hooks.Event
}

func (l *listener) ID() string     { return l.name }
func (l *listener) String() string { return l.name }
func (l *listener) Run(ctx context.Context, e hooks.Event) error {
	if l.run != nil {
		if err := l.run(ctx); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = append(l.told, e)
	return nil
}

// heard is what it was told since the last time, a line for each event.
func (l *listener) heard() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lines []string
	for _, e := range l.told {
		lines = append(lines, fmt.Sprintf("%s %s %s", e.State, e.Problem.Code, strings.Join(e.Certificates, "+")))
	}
	l.told = nil
	return strings.Join(lines, "; ")
}

// notifier is one for a state directory of its own. Its clock is the bubble's.
func notifier(t *testing.T, lives bool) (n *apply.Notifier, state string) {
	t.Helper()
	state = filepath.Join(fastDir(t), "state")
	store, err := keystore.OpenLocked(state, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return &apply.Notifier{Runner: &apply.Runner{Store: store, Now: time.Now, Log: slog.New(slog.DiscardHandler), Hostname: "web1"}, Lives: lives}, state
}

// sick is a lineage with problems.
func sick(name string, codes ...plan.Code) status.Condition {
	var findings []plan.Finding
	for _, code := range codes {
		findings = append(findings, plan.Finding{Code: code, Err: errors.New("no")})
	}
	return status.ConditionOf(name, plan.Input{Goal: plan.Goal{Name: name}}, findings, nil)
}

func TestWhatGoesWrongEverywhereIsToldOnce(t *testing.T) {
	t.Parallel()
	n, _ := notifier(t, false)
	var all, well []status.Condition
	for i := range 40 {
		all = append(all, sick(fmt.Sprintf("n%02d", i), plan.LiveUnreadable))
		well = append(well, sick(fmt.Sprintf("n%02d", i)))
	}
	all = append(all, sick("other", plan.KeyMissing))
	h := &listener{name: "h"}
	n.Tell(t.Context(), []hooks.Hook{h}, all)
	if len(h.told) != 2 || len(h.told[0].Certificates) != 40 || h.told[0].Name != "" || h.told[1].Name != "other" || h.told[1].Host != "web1" {
		t.Errorf("it was told %s", h.heard())
	}
	h.heard()
	n.Tell(t.Context(), []hooks.Hook{h}, all)
	if got := h.heard(); got != "" {
		t.Errorf("again: %s", got)
	}
	n.Tell(t.Context(), []hooks.Hook{h}, well)
	if got := h.heard(); !strings.HasPrefix(got, "over live-unreadable n00+n01+") || strings.Contains(got, "other") {
		t.Errorf("it was told %s", got)
	}
}

// A hook that fails is left alone for longer and longer, and is told then how it is then. It
// keeps no other from being told.
func TestAHookThatFailsIsToldLaterHowItIsThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, _ := notifier(t, true)
		tried, broken, counted := 0, true, 0
		n.Observe = func(o apply.Observed) {
			if o.Kind == apply.Notified && o.Hook && o.Err != nil {
				counted++
			}
		}
		good, bad := &listener{name: "good"}, &listener{name: "bad"}
		bad.run = func(context.Context) error {
			if tried++; broken {
				return errors.New("no")
			}
			return nil
		}
		notify := []hooks.Hook{bad, good}
		tell := func(all ...status.Condition) apply.Told { return n.Tell(t.Context(), notify, all) }
		told := tell(sick("a", plan.KeyMissing), sick("b", plan.LiveUnreadable))
		if got := good.heard(); got != "appeared key-missing a; appeared live-unreadable b" {
			t.Errorf("the good one was told %s", got)
		}
		if tried != 1 || len(told.Failed) != 1 || told.Failed[0].Code != plan.NotificationFailing || len(told.Left) != 2 || !told.Again.Equal(time.Now().Add(time.Minute)) {
			t.Errorf("tried %d times: %+v", tried, told)
		}
		// Something else happens meanwhile, and it is not pressed.
		if told = tell(sick("c", plan.KeyMissing)); tried != 1 || len(told.Failed) != 0 || len(told.Left) != 1 || good.heard() != "appeared key-missing c" {
			t.Errorf("tried %d times: %+v", tried, told)
		}
		var pauses []time.Duration
		for range 8 {
			time.Sleep(time.Until(told.Again))
			told = tell(sick("a", plan.KeyMissing), sick("b"), sick("c", plan.KeyMissing))
			pauses = append(pauses, time.Until(told.Again))
		}
		minutes := []time.Duration{2, 4, 8, 16, 32, 60, 60, 60}
		for i := range minutes {
			minutes[i] *= time.Minute
		}
		if !slices.Equal(pauses, minutes) || counted != tried {
			t.Errorf("pauses %s, want %s; %d failures are counted of %d", pauses, minutes, counted, tried)
		}
		broken = false
		time.Sleep(time.Hour)
		told = tell(sick("a", plan.KeyMissing), sick("b"), sick("c"))
		if got := bad.heard(); got != "appeared key-missing a" || len(told.Left) > 0 || !told.Again.IsZero() {
			t.Errorf("it was told %s: %+v", got, told)
		}
		if got := good.heard(); got != "over live-unreadable b; over key-missing c" {
			t.Errorf("the good one was told %s", got)
		}
	})
}

// Slow hooks do not hold a run up for longer than a few minutes. The rest is told later.
func TestTellingHasAnEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, _ := notifier(t, false)
		h := &listener{name: "h", run: func(context.Context) error { time.Sleep(50 * time.Second); return nil }}
		codes := []plan.Code{plan.KeyMissing, plan.LiveUnreadable, plan.StateUnreadable, plan.CertificateExpired, plan.PublicationNewer, plan.PublicationForeign}
		all := []status.Condition{sick("a", codes...), sick("b", codes...)}
		began := time.Now()
		told := n.Tell(t.Context(), []hooks.Hook{h}, all)
		if took := time.Since(began); took > 6*time.Minute || len(told.Failed) > 0 || len(told.Left) == 0 {
			t.Errorf("it took %s: %+v", took, told)
		}
		n.Tell(t.Context(), []hooks.Hook{h}, all)
		lines := strings.Split(h.heard(), "; ")
		if slices.Sort(lines); len(lines) != 12 || len(slices.Compact(lines)) != 12 {
			t.Errorf("it was told %q", lines)
		}
	})
}

// A bug there is nobody's problem but its reader's.
func TestABugInTellingEndsNothing(t *testing.T) {
	t.Parallel()
	n, _ := notifier(t, false)
	bad, good := &listener{name: "bad", run: func(context.Context) error { panic("no") }}, &listener{name: "good"}
	n.Tell(t.Context(), []hooks.Hook{bad, good}, []status.Condition{sick("a", plan.KeyMissing)})
	if got := good.heard(); got != "appeared key-missing a" {
		t.Errorf("it was told %q", got)
	}
}

// Who ends keepkey does not wait for a hook, and what it was told is told by the next run.
func TestWhatEndsMeanwhileIsToldByTheNext(t *testing.T) {
	t.Parallel()
	n, _ := notifier(t, false)
	ctx, cancel := context.WithCancel(t.Context())
	h := &listener{name: "h", run: func(ctx context.Context) error { cancel(); <-ctx.Done(); return ctx.Err() }}
	if told := n.Tell(ctx, []hooks.Hook{h}, []status.Condition{sick("a", plan.KeyMissing)}); len(told.Failed) > 0 {
		t.Errorf("it is the hook's fault: %+v", told)
	}
	h.run = nil
	n.Tell(t.Context(), []hooks.Hook{h}, []status.Condition{sick("a", plan.KeyMissing)})
	if got := h.heard(); got != "appeared key-missing a" {
		t.Errorf("it was told %q", got)
	}
}

// A process that lives on remembers what it can't write.
func TestWithoutARecordADaemonRemembers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, state := notifier(t, true)
		if err := os.WriteFile(filepath.Join(state, "told"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		h := &listener{name: "h"}
		tell := func(c status.Condition) string {
			n.Tell(t.Context(), []hooks.Hook{h}, []status.Condition{c})
			return h.heard()
		}
		for i, want := range []string{"", "appeared ledger-damaged a", ""} {
			if got := tell(sick("a", plan.LedgerDamaged)); got != want {
				t.Errorf("hour %d: it was told %q, want %q", i, got, want)
			}
			time.Sleep(time.Hour)
		}
		if err := os.Remove(filepath.Join(state, "told")); err != nil {
			t.Fatal(err)
		}
		tell(sick("a", plan.LedgerDamaged))
		if _, err := os.Stat(filepath.Join(state, "told/a.json")); err != nil {
			t.Errorf("it is not written once it can be: %v", err)
		}
		if got := tell(sick("a")); got != "over ledger-damaged a" {
			t.Errorf("it was told %q", got)
		}
		if _, err := os.Stat(filepath.Join(state, "told/a.json")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a record of nothing is left: %v", err)
		}
	})
}

// What is wrong with a lineage that nobody configures any more is told, and that it is over
// when somebody dropped it.
func TestWhatIsLeftOverIsToldUntilItIsDropped(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	w.mustRenew(w.cert("old", "old.example.com"), apply.Options{})
	r := w.runner()
	r.Configure([]string{"api"})
	n := &apply.Notifier{Runner: r}
	h := &listener{name: "h"}
	tell := func() string {
		t.Helper()
		all, err := r.Unconfigured(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n.Tell(t.Context(), []hooks.Hook{h}, all)
		return h.heard()
	}
	if got := tell(); got != "" {
		t.Errorf("at first it was told %q", got)
	}
	w.offset += time.Hour
	if got := tell(); got != "appeared lineage-left old" {
		t.Errorf("after an hour it was told %q", got)
	}
	if _, err := r.Drop(t.Context(), "old"); err != nil {
		t.Fatal(err)
	}
	if got := tell(); got != "over lineage-left old" {
		t.Errorf("in the end it was told %q", got)
	}
	if all, err := r.Unconfigured(t.Context()); err != nil || len(all) > 0 {
		t.Errorf("%v is left (%v)", all, err)
	}
}
