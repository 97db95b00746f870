package acme_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"keepkey/acme"
	"keepkey/internal/acmetest"
)

func TestProfile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{Profiles: map[string]time.Duration{
		"classic": 90 * 24 * time.Hour, "shortlived": 6 * 24 * time.Hour,
	}})
	c := w.client()
	r := w.request("api.example.com")
	r.Profile = "shortlived"
	leaf := w.mustObtain(c, r)[0]
	if got := leaf.NotAfter.Sub(leaf.NotBefore).Round(time.Hour); got != 6*24*time.Hour {
		t.Errorf("the certificate lives for %s", got)
	}
	r.Profile = "no-such"
	w.ca.Requests()
	_, err := obtain(t.Context(), c, r)
	wantError(t, err, "classic, shortlived")
	if asked := w.ca.Requests(); slices.Contains(asked, "POST "+string(acmetest.NewOrder)) {
		t.Errorf("the CA was asked for it: %q", asked)
	}
}

func TestRequestsForACertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	w.mustObtain(w.client(), w.request("first.example.com"))
	w.ca.Requests()
	w.mustObtain(w.client(), w.request("api.example.com"))
	got := make(map[string]int)
	for _, req := range w.ca.Requests() {
		method, path, _ := strings.Cut(req, " ")
		got[method+" "+strings.Split(path, "/")[1]]++
	}
	// A poll more than these is the scheduler's doing, any other request is ours.
	for _, poll := range []string{"POST authZ", "POST my-order"} {
		if got[poll] > 0 {
			got[poll] = 1
		}
	}
	want := "map[GET dir:1 HEAD nonce-plz:1 POST authZ:1 POST certZ:1 POST chalZ:1 POST finalize-order:1 POST my-order:1 POST order-plz:1]"
	if fmt.Sprint(got) != want {
		t.Errorf("got\n%v, want\n%s", got, want)
	}
}

// TestOrderIsResumedAfterEveryStep stops after each step, as a crash would, and goes
// on from what was on record: the order's URL and the certificate request.
func TestOrderIsResumedAfterEveryStep(t *testing.T) {
	t.Parallel()
	for stop, step := range []string{"order", "authorizations", "finalization", "download"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, acmetest.Options{})
			r := w.request("api.example.com", "www.example.com")
			csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: r.Domains}, r.key)
			if err != nil {
				t.Fatal(err)
			}
			c := w.client()
			order, err := c.NewOrder(t.Context(), r.OrderRequest)
			if err == nil && stop > 0 {
				err = c.Authorize(t.Context(), order, r.Domains, r.solver)
			}
			finalized := order
			if err == nil && stop > 1 {
				finalized, err = c.Finalize(t.Context(), order, csr)
			}
			if err == nil && stop > 2 {
				_, err = c.Certificate(t.Context(), finalized, "")
			}
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			w.ca.Requests()

			c = w.client()
			if order, err = c.Order(t.Context(), order.URL); err != nil {
				t.Fatal(err)
			}
			if err := c.Authorize(t.Context(), order, r.Domains, r.solver); err != nil {
				t.Fatal(err)
			}
			if order, err = c.Finalize(t.Context(), order, csr); err != nil {
				t.Fatal(err)
			}
			data, err := c.Certificate(t.Context(), order, "")
			if err != nil {
				t.Fatal(err)
			}
			w.chain(data, r)
			if n := w.count(acmetest.NewOrder); n != 0 {
				t.Errorf("%d more orders were made", n)
			}
		})
	}
}

func TestOrderThatIsGoneAndOneThatIsNot(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fault acmetest.Fault
		gone  bool
	}{
		"not found":                              {acmetest.Problem(acmetest.Order, 404, "malformed", "no such order", ""), true},
		"not ours":                               {acmetest.Problem(acmetest.Order, 403, "unauthorized", "not yours", ""), true},
		"invalid":                                {setJSON(acmetest.Order, "status", "invalid"), true},
		"down":                                   {acmetest.Problem(acmetest.Order, 503, "serverInternal", "down", ""), false},
		"limited":                                {acmetest.Problem(acmetest.Order, 429, "rateLimited", "slow down", "60"), false},
		"limited, but not by a problem document": {acmetest.Respond(acmetest.Order, 429, nil, []byte("slow down")), false},
		"a lost answer":                          {acmetest.Lose(acmetest.Order), false},
		"nonsense":                               {setJSON(acmetest.Order, "status", "maybe"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, acmetest.Options{})
			order, err := w.client().NewOrder(t.Context(), w.request("api.example.com").OrderRequest)
			if err != nil {
				t.Fatal(err)
			}
			w.ca.Misbehave(tt.fault)
			if _, err = w.client().Order(t.Context(), order.URL); err == nil || errors.Is(err, acme.ErrOrderGone) != tt.gone {
				t.Errorf("got %v, want an order that is gone: %v", err, tt.gone)
			}
			wantError(t, err)
		})
	}
}

func TestOrderOfACAThatForgotEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	c := w.client()
	r := w.request("api.example.com")
	order, err := c.NewOrder(t.Context(), r.OrderRequest)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.ca.Restart(acmetest.Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Order(t.Context(), order.URL); !errors.Is(err, acme.ErrOrderGone) {
		t.Errorf("got %v", err)
	}
	w.mustObtain(c, r)
}

func TestOrderReplacesItsPredecessor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	c := w.client()
	r := w.request("api.example.com")
	var asked []any
	w.ca.Misbehave(hear(acmetest.NewOrder, func(payload map[string]any) { asked = append(asked, payload["replaces"]) }))
	r.Replace = w.mustObtain(c, r)[0]
	w.mustObtain(c, r)
	if id, _ := asked[1].(string); asked[0] != nil || strings.Count(id, ".") != 1 {
		t.Errorf("the orders replace %v, want nothing, and then a certificate's ID", asked)
	}

	// The predecessor is replaced now: a CA refuses to do it twice (RFC 9773 section 7.4).
	asked = nil
	w.mustObtain(c, r)
	if len(asked) != 2 || asked[0] == nil || asked[1] != nil {
		t.Errorf("the orders replace %v, want the predecessor, and then nothing", asked)
	}

	// Certificates that have no ID are not replaced by name.
	asked = nil
	r.Replace = &x509.Certificate{}
	w.mustObtain(c, r)
	if len(asked) != 1 || asked[0] != nil {
		t.Errorf("the orders replace %v, want nothing", asked)
	}
}

func TestOrderIsMadeWithoutAPredecessorThatTheCARefuses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fault  acmetest.Fault
		orders int // that are tried
	}{
		"malformed":           {acmetest.Problem(acmetest.NewOrder, 400, "malformed", "could not find that certificate", ""), 2},
		"another account's":   {acmetest.Problem(acmetest.NewOrder, 403, "unauthorized", "not yours", ""), 2},
		"limited":             {acmetest.Problem(acmetest.NewOrder, 429, "rateLimited", "too many", ""), 1},
		"limited for an hour": {acmetest.Problem(acmetest.NewOrder, 429, "rateLimited", "too many", "3600"), 1},
		"down for a minute":   {acmetest.Problem(acmetest.NewOrder, 503, "serverInternal", "down", "60"), 1},
		"broken":              {acmetest.Problem(acmetest.NewOrder, 500, "serverInternal", "oops", ""), 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, acmetest.Options{})
			c := w.client()
			r := w.request("api.example.com")
			r.Replace = w.mustObtain(c, r)[0]
			w.ca.Requests()
			w.ca.Misbehave(once(acmetest.NewOrder, tt.fault))
			_, err := obtain(t.Context(), c, r)
			if n := w.count(acmetest.NewOrder); n != tt.orders || (tt.orders == 2) != (err == nil) {
				t.Errorf("%d orders, want %d; %v", n, tt.orders, err)
			}
		})
	}
}

func TestInterruptionEndsEveryStepAtOnce(t *testing.T) {
	t.Parallel()
	for _, e := range []acmetest.Endpoint{
		acmetest.NewAccount, acmetest.NewOrder, acmetest.Authorization, acmetest.Challenge, acmetest.Finalize, acmetest.Certificate,
	} {
		t.Run(strings.Trim(string(e), "/"), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, acmetest.Options{})
			c := w.client()
			ctx, cancel := context.WithCancelCause(t.Context())
			asked := make(chan struct{}, 1)
			w.ca.Misbehave(func(next http.Handler) http.Handler {
				return hear(e, func(map[string]any) { asked <- struct{}{} })(acmetest.Stall(e)(next))
			})
			go func() {
				<-asked
				cancel(errors.New("the operator pressed a key"))
			}()
			_, err := obtain(ctx, c, w.request("api.example.com"))
			wantError(t, err, "the operator pressed a key")
		})
	}
}
