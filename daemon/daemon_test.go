package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/plan"
)

// world is certificates for which work takes a while, and what was done.
type world struct {
	mu     sync.Mutex
	began  []string
	atOnce map[string]int // by CA, the most at a time
	now    map[string]int
	work   func(ctx context.Context, cert config.Certificate) apply.Report
}

func (w *world) daemon(limit int) *Daemon {
	w.atOnce, w.now = make(map[string]int), make(map[string]int)
	d := New()
	d.Now, d.Limit = time.Now, limit
	d.Work = func(ctx context.Context, cert config.Certificate) apply.Report {
		ca := cert.ACME.Directory
		w.mu.Lock()
		w.began = append(w.began, cert.Name)
		w.now[ca]++
		w.atOnce[ca] = max(w.atOnce[ca], w.now[ca])
		w.mu.Unlock()
		rep := w.work(ctx, cert)
		rep.Name = cert.Name
		w.mu.Lock()
		w.now[ca]--
		w.mu.Unlock()
		return rep
	}
	return d
}

func (w *world) count(name string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, b := range w.began {
		if b == name {
			n++
		}
	}
	return n
}

func certs(ca string, names ...string) []config.Certificate {
	var all []config.Certificate
	for _, name := range names {
		all = append(all, config.Certificate{Name: name, ACME: config.ACME{Directory: ca}})
	}
	return all
}

// run runs a daemon until the test is over.
func run(t *testing.T, d *Daemon, cs ...config.Certificate) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); d.Run(ctx, &config.Config{Certificates: cs}) }()
	t.Cleanup(func() { cancel(); <-ended })
}

func TestEachCertificateIsWorkedOnAtItsOwnTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{work: func(_ context.Context, cert config.Certificate) apply.Report {
			every := map[string]time.Duration{"hourly": time.Hour, "daily": 24 * time.Hour}[cert.Name]
			return apply.Report{Wake: time.Now().Add(every)}
		}}
		run(t, w.daemon(8), certs("ca", "hourly", "daily")...)
		time.Sleep(10*24*time.Hour + time.Minute)
		synctest.Wait()
		if h, d := w.count("hourly"), w.count("daily"); h != 241 || d != 11 {
			t.Errorf("worked on %d and %d times in ten days, want 241 and 11", h, d)
		}
	})
}

func TestALineageThatIsAlwaysDueDoesNotSpin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{work: func(context.Context, config.Certificate) apply.Report {
			return apply.Report{Wake: time.Now().Add(-time.Hour)}
		}}
		run(t, w.daemon(8), certs("ca", "due")...)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := w.count("due"); n > 601 {
			t.Errorf("worked on %d times in ten minutes", n)
		}
	})
}

// What fails and can't be put on record makes nobody wait, but the daemon itself.
func TestWhatFailsWithoutARecordIsTriedLessAndLess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{work: func(_ context.Context, cert config.Certificate) apply.Report {
			if cert.Name == "unreadable" {
				return apply.Report{Problems: []plan.Finding{{Code: plan.StateUnreadable}}}
			}
			return apply.Report{Problems: []plan.Finding{{Code: plan.StateUnwritten}}, Wake: time.Now()}
		}}
		run(t, w.daemon(8), certs("ca", "unreadable", "unwritten")...)
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		for _, name := range []string{"unreadable", "unwritten"} {
			if n := w.count(name); n != 29 { // after 1, 2, 4 minutes and so on, and then each hour
				t.Errorf("what is %s was worked on %d times in a day", name, n)
			}
		}
	})
}

func TestACAThatIsSlowHoldsUpItsOwnCertificatesOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{work: func(ctx context.Context, cert config.Certificate) apply.Report {
			if cert.ACME.Directory == "slow" {
				time.Sleep(time.Hour)
			}
			return apply.Report{Wake: time.Now().Add(24 * time.Hour)}
		}}
		var slow []string
		for i := range 40 {
			slow = append(slow, fmt.Sprintf("slow-%d", i))
		}
		run(t, w.daemon(8), append(certs("slow", slow...), certs("quick", "a", "b")...)...)
		time.Sleep(time.Minute)
		synctest.Wait()
		if w.count("a") != 1 || w.count("b") != 1 {
			t.Errorf("after a minute: %q", w.began)
		}
		time.Sleep(6 * time.Hour)
		synctest.Wait()
		for _, name := range slow {
			if w.count(name) != 1 {
				t.Errorf("%s was worked on %d times", name, w.count(name))
			}
		}
		if w.atOnce["slow"] != 8 {
			t.Errorf("%d at a time, want 8", w.atOnce["slow"])
		}
	})
}

// What failed once is never in the way of what did not, however long it takes.
func TestWhatFailsHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{work: func(_ context.Context, cert config.Certificate) apply.Report {
			if cert.Name == "well" {
				return apply.Report{Wake: time.Now().Add(time.Minute)}
			}
			time.Sleep(time.Hour)
			return apply.Report{Wake: time.Now(), Problems: []plan.Finding{{Code: plan.IssuanceFailing}}}
		}}
		var names []string
		for i := range 40 {
			names = append(names, fmt.Sprintf("failing-%d", i))
		}
		run(t, w.daemon(8), certs("ca", append(names, "well")...)...)
		time.Sleep(5*time.Hour + time.Minute) // each had its first turn
		synctest.Wait()
		before, failing := w.count("well"), w.count("failing-39")
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if n := w.count("well") - before; n != 24*60 {
			t.Errorf("worked on %d times in a day, want once a minute", n)
		}
		if n := w.count("failing-39") - failing; n < 2 || w.atOnce["ca"] > 8 {
			t.Errorf("what fails was tried %d times, %d at a time", n, w.atOnce["ca"])
		}
	})
}

// While a machine is suspended no timer runs, and a clock that is set back makes every time
// that was reckoned before too late.
func TestAClockThatJumpsDelaysNothing(t *testing.T) {
	t.Parallel()
	for _, jump := range []time.Duration{72 * time.Hour, -72 * time.Hour, -365 * 24 * time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var off atomic.Int64
				now := func() time.Time { return time.Now().Add(time.Duration(off.Load())) }
				w := &world{work: func(context.Context, config.Certificate) apply.Report {
					return apply.Report{Wake: now().Add(24 * time.Hour)}
				}}
				d := w.daemon(8)
				d.Now = now
				run(t, d, certs("ca", "a", "b")...)
				time.Sleep(time.Hour)
				off.Store(int64(jump))
				time.Sleep(maxSleep)
				synctest.Wait()
				if a, b := w.count("a"), w.count("b"); a != 2 || b != 2 {
					t.Errorf("worked on %d and %d times, want once again", a, b)
				}
				time.Sleep(24 * time.Hour)
				synctest.Wait()
				if a, b := w.count("a"), w.count("b"); a != 3 || b != 3 {
					t.Errorf("a day later: worked on %d and %d times, want three", a, b)
				}
			})
		})
	}
}

// A person did something with a lineage: it is looked at now, and again afterwards if that
// was while it was being worked on.
func TestAWokenLineageIsLookedAtNow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{work: func(context.Context, config.Certificate) apply.Report {
			time.Sleep(time.Minute)
			return apply.Report{Wake: time.Now().Add(1000 * time.Hour)}
		}}
		d := w.daemon(8)
		run(t, d, certs("ca", "a")...)
		time.Sleep(time.Second) // in the middle of it
		for range 3 {
			if err := d.Wake(t.Context(), "a", "unknown"); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour)
		if n := w.count("a"); n != 2 {
			t.Errorf("worked on %d times, want once more", n)
		}
		if err := d.Wake(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if n := w.count("a"); n != 3 {
			t.Errorf("worked on %d times, want three", n)
		}
	})
}

func TestReloadTakesCertificatesInAndOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{work: func(context.Context, config.Certificate) apply.Report {
			return apply.Report{Wake: time.Now().Add(time.Hour)}
		}}
		d := w.daemon(8)
		next, failure := &config.Config{Certificates: certs("ca", "b", "c")}, error(nil)
		d.Load = func() (*config.Config, error) { return next, failure }
		run(t, d, certs("ca", "a", "b")...)
		time.Sleep(90 * time.Minute)
		if err := d.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if a, c := w.count("a"), w.count("c"); a != 2 || c != 25 {
			t.Errorf("a %d times, want 2; c %d times, want 25", a, c)
		}
		failure = errors.New("line 7")
		before := w.count("c")
		if err := d.Reload(t.Context()); !errors.Is(err, failure) {
			t.Error(err)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if n := w.count("c") - before; n != 24 {
			t.Errorf("after a reload that failed: %d times in a day, want 24", n)
		}
	})
}

// What is under way is told to end, and has ended when the daemon has.
func TestTheEndWaitsForWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ended := make(map[string]bool)
		w := &world{}
		w.work = func(ctx context.Context, cert config.Certificate) apply.Report {
			<-ctx.Done()
			time.Sleep(time.Second) // to put on record how far it got
			w.mu.Lock()
			ended[cert.Name] = true
			w.mu.Unlock()
			return apply.Report{}
		}
		d := w.daemon(2)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Hour, cancel)
		began := time.Now()
		d.Run(ctx, &config.Config{Certificates: certs("ca", "a", "b", "c")})
		if took := time.Since(began); took > time.Hour+2*time.Second {
			t.Errorf("it ended %s after it was told to", took-time.Hour)
		}
		// Whoever was at it still is not kept waiting for ever.
		if err := d.Wake(context.WithoutCancel(ctx), "a"); !errors.Is(err, ErrEnded) {
			t.Errorf("a request after the end: %v", err)
		}
		if !ended["a"] || !ended["b"] || slices.Contains(w.began, "c") {
			t.Errorf("ended %v, began %q", ended, w.began)
		}
	})
}
