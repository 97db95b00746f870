package daemon

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keepkey/apply"
	"keepkey/plan"
	"keepkey/status"
)

// wrong is a condition in which something is wrong, or nothing is.
func wrong(name string, is bool) status.Condition {
	c := status.Condition{Name: name}
	if is {
		c.Problems = []status.Problem{{ID: "p", Code: plan.DeployFailing}}
	}
	return c
}

// telling is a teller that runs until the test is over, and what it was asked to do.
type telling struct {
	*Teller
	tell  func([]status.Condition) apply.Told
	calls []string
}

func newTelling(t *testing.T) *telling {
	t.Helper()
	w := &telling{Teller: NewTeller(), tell: func([]status.Condition) apply.Told { return apply.Told{} }}
	began := time.Now()
	note := func(what string, names []string) {
		slices.Sort(names)
		w.calls = append(w.calls, time.Since(began).String()+" "+what+" "+strings.Join(names, " "))
	}
	w.Now, w.Gather = time.Now, 3*time.Second
	w.Tell = func(_ context.Context, all []status.Condition) apply.Told {
		var names []string
		for _, c := range all {
			if len(c.Problems) > 0 {
				c.Name += "!"
			}
			names = append(names, c.Name)
		}
		note("tell", names)
		return w.tell(all)
	}
	w.Look = func(_ context.Context, names ...string) { note("look", names) }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); w.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return w
}

// did compares what was done since the last time.
func (w *telling) did(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	if !slices.Equal(w.calls, want) {
		t.Errorf("it did\n%s\nwant\n%s", strings.Join(w.calls, "\n"), strings.Join(want, "\n"))
	}
	w.calls = nil
}

func TestWhatComesTogetherIsToldTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTelling(t)
		w.did(t, "0s tell ")
		time.Sleep(time.Hour)
		w.Add(wrong("a", true))
		time.Sleep(time.Second)
		w.Add(wrong("b", true))
		w.Add(wrong("a", false))
		w.Add(wrong("c", true))
		time.Sleep(time.Hour)
		w.did(t, "1h0m3s tell a b! c!")
		// Nothing happens for days, and then the hooks are others.
		time.Sleep(72 * time.Hour)
		w.did(t)
		w.Again()
		time.Sleep(time.Minute)
		w.did(t, "74h0m4s tell b! c!")
	})
}

func TestWhatCouldNotBeToldIsToldLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTelling(t)
		w.did(t, "0s tell ")
		var paused time.Time // the hook fails once, and is left alone for a while
		w.tell = func(all []status.Condition) apply.Told {
			if paused.IsZero() && len(all) > 0 {
				paused = time.Now().Add(90 * time.Second)
			}
			if !time.Now().Before(paused) {
				return apply.Told{}
			}
			left := make(map[string]status.Condition)
			for _, c := range all {
				left[c.Name] = c
			}
			return apply.Told{Left: left, Again: paused}
		}
		w.Add(wrong("a", true))
		w.Add(wrong("b", true))
		time.Sleep(10 * time.Second)
		w.Add(wrong("a", false)) // meanwhile it is over
		time.Sleep(time.Hour)
		w.did(t, "3s tell a! b!", "13s tell a", "1m13s tell ", "1m33s tell a b!")
	})
}

func TestALineageIsLookedAtAgainBeforeItIsToldOf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTelling(t)
		w.did(t, "0s tell ")
		ripe := time.Now().Add(time.Hour)
		w.tell = func(all []status.Condition) apply.Told {
			if time.Now().Before(ripe) {
				return apply.Told{Ripe: map[string]time.Time{"a": ripe, "": ripe}}
			}
			return apply.Told{}
		}
		w.Add(wrong("a", true))
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		calls := w.calls
		w.calls = slices.DeleteFunc(calls, func(c string) bool { return strings.HasSuffix(c, "tell ") && !strings.HasPrefix(c, "1h") })
		w.did(t, "3s tell a!", "1h0m0s look a", "1h0m0s tell ")
	})
}

// Whoever adds to it waits for nobody, and its end does not, either.
func TestATellerThatHangsHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := NewTeller()
		w.Now, w.Look = time.Now, func(context.Context, ...string) {}
		w.Tell = func(ctx context.Context, _ []status.Condition) apply.Told { <-ctx.Done(); return apply.Told{} }
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); w.Run(ctx) }()
		for range 100 {
			w.Add(wrong("a", true))
			w.Again()
		}
		cancel()
		<-ended
	})
}
