package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keepkey/apply"
	"keepkey/config"
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
		w := &world{work: func(_ context.Context, cert config.Certificate) apply.Report {
			if cert.Name == "unreadable" {
				return apply.Report{}
			}
			return apply.Report{Wake: time.Now().Add(-time.Hour)}
		}}
		run(t, w.daemon(8), certs("ca", "due", "unreadable")...)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if due, unreadable := w.count("due"), w.count("unreadable"); due > 601 || unreadable > 11 {
			t.Errorf("worked on %d and %d times in ten minutes", due, unreadable)
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
