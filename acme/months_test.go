package acme_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keepkey/acme"
	"keepkey/internal/acmetest"
)

// A client may live for months: what it keeps must not grow, what it believes must not
// grow old, and what failed once must be tried again.

func TestNothingIsKeptOfWhatIsOver(t *testing.T) {
	// Not parallel: it counts the process's goroutines.
	w := newWorld(t, acmetest.Options{})
	w.cfg.RequestTimeout = 2 * time.Second
	c := w.client()
	solver := w.http01()
	run := func(ctx context.Context, domain string) error {
		r := w.request(domain, "www."+domain)
		r.solver, r.chain = solver, "Nobody"
		_, err := obtain(ctx, c, r)
		return err
	}
	if err := run(t.Context(), "first.example.com"); err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	w.ca.Requests()
	for i := range 20 {
		if err := run(t.Context(), fmt.Sprintf("n%d.example.com", i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.count(acmetest.NewNonce); n > 2 {
		t.Errorf("%d requests for a nonce: those of the answers are not used", n)
	}
	// What is interrupted leaves a request behind, which the guard ends.
	for _, e := range []acmetest.Endpoint{acmetest.NewOrder, acmetest.Authorization, acmetest.Finalize, acmetest.Order, acmetest.Certificate} {
		ctx, cancel := context.WithCancel(t.Context())
		w.ca.Misbehave(func(next http.Handler) http.Handler {
			return hear(e, func(map[string]any) { cancel() })(acmetest.Stall(e)(next))
		})
		if err := run(ctx, "stalls.example.com"); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", e, err)
		}
		cancel()
	}
	w.ca.Misbehave(nil)
	if n := c.Watches(); n != 0 {
		t.Errorf("the headers of %d URLs are kept", n)
	}
	// The server's goroutines are in this process, too, and end a little later.
	const slack = 6
	deadline := time.After(20 * time.Second)
	for runtime.NumGoroutine() > before+slack {
		select {
		case <-deadline:
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, were %d\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		case <-time.After(time.Millisecond):
		}
	}
}

func TestDirectoryIsReadAnewAfterADay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	var now atomic.Pointer[time.Time]
	later := func(d time.Duration) { at := time.Now().Add(d); now.Store(&at) }
	later(0)
	w.cfg.Now = func() time.Time { return *now.Load() }
	w.ca.Misbehave(acmetest.ChangeJSON(acmetest.Directory, func(doc map[string]any) { delete(doc, "renewalInfo") }))
	c := w.client()
	leaf := w.mustObtain(c, w.request("api.example.com"))[0]
	w.ca.Misbehave(nil)

	w.ca.Requests()
	later(23 * time.Hour)
	if _, err := c.RenewalWindow(t.Context(), leaf); !errors.Is(err, acme.ErrNoRenewalInfo) {
		t.Errorf("within the day: %v", err)
	}
	later(25 * time.Hour)
	if _, err := c.RenewalWindow(t.Context(), leaf); err != nil {
		t.Errorf("after a day: %v", err)
	}
	w.mustObtain(c, w.request("api.example.com")) // as the same account
	later(-time.Hour)                             // the clock was set back
	w.mustObtain(c, w.request("api.example.com"))
	if asked := w.ca.Requests(); count(asked, acmetest.Directory) != 2 || count(asked, acmetest.NewAccount) != 0 {
		t.Errorf("the CA was asked %q; want the directory twice, and nothing about the account", asked)
	}

	// A CA that is down when the day is over is asked again the next time.
	later(50 * time.Hour)
	w.ca.Misbehave(acmetest.Problem(acmetest.Directory, 503, "serverInternal", "down", ""))
	if _, err := obtain(t.Context(), c, w.request("api.example.com")); !acme.Unanswered(err) {
		t.Errorf("got %v", err)
	}
	w.ca.Misbehave(nil)
	w.mustObtain(c, w.request("api.example.com"))
}

func TestSilentCACostsAllThatWaitForTheAccountOneTimeLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	w.cfg.RequestTimeout = 2 * time.Second
	c := w.client()
	w.ca.Misbehave(acmetest.Stall(acmetest.NewAccount))
	var wg sync.WaitGroup
	for i := range 8 {
		waiting := &waits{Context: t.Context(), begun: make(chan struct{})}
		wg.Go(func() {
			if _, err := c.NewOrder(waiting, acme.OrderRequest{Domains: []string{fmt.Sprintf("n%d.example.com", i)}}); !acme.Unanswered(err) {
				t.Errorf("got %v", err)
			}
		})
		<-waiting.begun
	}
	wg.Wait()
	if n := w.count(acmetest.NewAccount); n > 1 {
		t.Errorf("the CA was asked %d times", n)
	}
	w.ca.Misbehave(nil)
	w.mustObtain(c, w.request("api.example.com"))
}

func TestInterruptionOfOneOrderIsNotTheOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	c := w.client()
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan struct{})
	w.ca.Misbehave(once(acmetest.NewAccount, func(next http.Handler) http.Handler {
		close(asked)
		return acmetest.Stall(acmetest.NewAccount)(next)
	}))
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := c.NewOrder(ctx, acme.OrderRequest{Domains: []string{"first.example.com"}}); !errors.Is(err, context.Canceled) {
			t.Errorf("the one that was interrupted: %v", err)
		}
	})
	<-asked
	solver := w.http01()
	for i := range 3 {
		r := w.request(fmt.Sprintf("n%d.example.com", i))
		r.solver = solver
		waiting := &waits{Context: t.Context(), begun: make(chan struct{})}
		wg.Go(func() {
			if _, err := obtain(waiting, c, r); err != nil {
				t.Error(err)
			}
		})
		<-waiting.begun
	}
	cancel()
	wg.Wait()
}

// waits is a context that tells when somebody waits for its end.
type waits struct {
	context.Context
	once  sync.Once
	begun chan struct{}
}

func (w *waits) Done() <-chan struct{} {
	w.once.Do(func() { close(w.begun) })
	return w.Context.Done()
}

// The answer to a registration that was interrupted may come later, and lego takes the
// account's URL over from it, into the API that asked.
func TestInterruptedRegistrationIsLookedUpByAnotherAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	c := w.client()
	ctx, cancel := context.WithCancel(t.Context())
	answer, answered := make(chan struct{}), make(chan struct{})
	w.ca.Misbehave(once(acmetest.NewAccount, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			rec := httptest.NewRecorder()
			next.ServeHTTP(rec, r)
			cancel()
			<-answer
			maps.Copy(rw.Header(), rec.Header())
			rw.WriteHeader(rec.Code)
			rw.Write(rec.Body.Bytes())
			close(answered)
		})
	}))
	if _, err := c.NewOrder(ctx, acme.OrderRequest{Domains: []string{"api.example.com"}}); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if w.cfg.AccountURL != "" {
		t.Error("the URL was saved after the interruption")
	}
	w.ca.Requests()
	close(answer)
	<-answered
	w.mustObtain(c, w.request("api.example.com"))
	if asked := w.ca.Requests(); count(asked, acmetest.NewAccount) != 1 || count(asked, acmetest.Directory) != 1 {
		t.Errorf("the CA was asked %q; want for the account by its key, by an API that was made for that", asked)
	}
}
