package acme_test

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"keepkey/acme"
	"keepkey/internal/acmetest"
)

// refusing is an address at which nobody listens, and nobody will: the port is taken on
// another of the loopback's addresses.
func refusing(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return strings.Replace(l.Addr().String(), "127.0.0.1", "127.0.0.2", 1)
}

// TestUnanswered tells the answers that did not come from those that were bad, as a run
// with many certificates has to.
func TestUnanswered(t *testing.T) {
	t.Parallel()
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	for name, tt := range map[string]struct {
		fault  acmetest.Fault
		change func(*world, *request)
		want   bool
	}{
		"nobody listens":             {nil, func(w *world, _ *request) { w.cfg.Directory = "https://" + refusing(w.t.(*testing.T)) + "/dir" }, true},
		"no TLS there":               {nil, func(w *world, _ *request) { w.cfg.Directory = strings.Replace(plain.URL, "http:", "https:", 1) }, true},
		"a certificate of nobody's":  {nil, func(w *world, _ *request) { w.cfg.Roots = x509.NewCertPool() }, true},
		"a directory that stalls":    {acmetest.Stall(acmetest.Directory), nil, true},
		"a lost directory":           {acmetest.Lose(acmetest.Directory), nil, true},
		"half a directory":           {acmetest.Cut(acmetest.Directory, 20), nil, true},
		"no directory for now":       {acmetest.Problem(acmetest.Directory, 503, "serverInternal", "down", ""), nil, true},
		"a lost nonce":               {acmetest.Lose(acmetest.NewNonce), nil, true},
		"no nonce for now":           {acmetest.Problem(acmetest.NewNonce, 502, "serverInternal", "down", ""), nil, true},
		"no account for now":         {acmetest.Respond(acmetest.NewAccount, 500, nil, []byte("<html>")), nil, true},
		"an order that stalls":       {acmetest.Stall(acmetest.NewOrder), nil, true},
		"a lost order":               {acmetest.Lose(acmetest.NewOrder), nil, true},
		"lost authorizations":        {acmetest.Lose(acmetest.Authorization), func(_ *world, r *request) { r.Domains = append(r.Domains, "www.example.com") }, true},
		"a lost challenge":           {acmetest.Lose(acmetest.Challenge), nil, true},
		"a finalization that stalls": {acmetest.Stall(acmetest.Finalize), nil, true},
		"a lost poll":                {acmetest.Lose(acmetest.Order), nil, true},
		"half a certificate":         {acmetest.Cut(acmetest.Certificate, 300), nil, true},

		"no directory for an hour":    {acmetest.Problem(acmetest.Directory, 503, "serverInternal", "down", "3600"), nil, false},
		"no nonce for an hour":        {acmetest.Problem(acmetest.NewNonce, 503, "serverInternal", "down", "3600"), nil, false},
		"an order too many":           {acmetest.Problem(acmetest.NewOrder, 429, "rateLimited", "too many", ""), nil, false},
		"an order refused":            {acmetest.Problem(acmetest.NewOrder, 400, "rejectedIdentifier", "no", ""), nil, false},
		"an order of no known status": {setJSON(acmetest.NewOrder, "status", "maybe"), nil, false},
		"an order of 300 MiB":         {acmetest.Flood(acmetest.NewOrder, 500, 300<<20), nil, false},
		"an order redirected":         {acmetest.Redirect(acmetest.NewOrder, 307, "https://evil.example/order"), nil, false},
		"an order that fails":         {setJSON(acmetest.Order, "status", "invalid"), nil, false},
		"an order that failed by a server error": {acmetest.ChangeJSON(acmetest.Order, func(doc map[string]any) {
			doc["status"], doc["error"] = "invalid", map[string]any{"type": "x", "detail": "d", "status": 500, "url": "https://ca.example", "method": "POST"}
		}), nil, false},
		"a finalized order that failed by a server error": {acmetest.ChangeJSON(acmetest.Finalize, func(doc map[string]any) {
			doc["status"], doc["error"] = "invalid", map[string]any{"type": "x", "detail": "d", "status": 500, "url": "https://ca.example", "method": "POST"}
		}), nil, false},

		// Connections fail here too, but not to the CA.
		"a challenge that the CA cannot reach": {nil, func(w *world, r *request) { r.solver = acme.NewWebroot(w.t.(*testing.T).TempDir()) }, false},
		"a listener's port that is taken": {nil, func(w *world, r *request) {
			serveFiles(w.t.(*testing.T), w.ca.HTTPAddr, w.t.(*testing.T).TempDir())
		}, false},
		"a DNS provider that cannot be reached": {nil, func(w *world, r *request) {
			r.solver = acme.NewDNS01(unreachable{refusing(w.t.(*testing.T))}, acme.Propagation{})
		}, false},
		"an interruption": {nil, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, acmetest.Options{})
			w.ca.Misbehave(tt.fault)
			if strings.Contains(name, "stalls") {
				w.cfg.RequestTimeout = 300 * time.Millisecond
			}
			r := w.request("api.example.com")
			if tt.change != nil {
				tt.change(w, &r)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if name == "an interruption" {
				w.ca.Misbehave(hear(acmetest.NewOrder, func(map[string]any) { cancel() }))
			}
			c, err := w.connect()
			if err == nil {
				_, err = obtain(ctx, c, r)
			}
			wantError(t, err)
			if got := acme.Unanswered(err); got != tt.want {
				t.Errorf("got %v for %v", got, err)
			}
		})
	}
}

// unreachable is a DNS provider whose API is down.
type unreachable struct{ addr string }

func (p unreachable) Present(_, _, _ string) error {
	_, err := net.Dial("tcp", p.addr)
	return err
}

func (unreachable) CleanUp(_, _, _ string) error { return nil }

func TestRetryAfterIsKnownWhereverItIsSaid(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fault acmetest.Fault
		want  acme.Scope
	}{
		"directory":       {acmetest.Problem(acmetest.Directory, 503, "serverInternal", "down", "7200"), acme.ScopeCA},
		"nonce":           {acmetest.Problem(acmetest.NewNonce, 503, "serverInternal", "down", "7200"), acme.ScopeCA},
		"account":         {acmetest.Problem(acmetest.NewAccount, 429, "rateLimited", "too many accounts", "7200"), acme.ScopeCA},
		"order":           {acmetest.Problem(acmetest.NewOrder, 429, "rateLimited", "too many orders", "7200"), acme.ScopeAccount},
		"order of a name": {acmetest.Problem(acmetest.NewOrder, 429, "rateLimited", `too many for "example.com"`, "7200"), acme.ScopeIdentifiers},
		"finalization":    {acmetest.Problem(acmetest.Finalize, 503, "serverInternal", "down", "7200"), acme.ScopeCA},
		"order, subproblems": {acmetest.Respond(acmetest.NewOrder, 429, http.Header{"Retry-After": {"7200"}}, []byte(
			`{"type":"urn:ietf:params:acme:error:rateLimited","detail":"some","subproblems":[{"detail":"d","identifier":{"type":"dns","value":"api.example.com"}}]}`)),
			acme.ScopeIdentifiers},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, acmetest.Options{})
			w.ca.Misbehave(tt.fault)
			c, err := w.connect()
			if err == nil {
				_, err = obtain(t.Context(), c, w.request("api.example.com"))
			}
			var p *acme.Problem
			if !errors.As(err, &p) || p.RetryAfter != 2*time.Hour {
				t.Fatalf("got %v", err)
			}
			if got := p.Scope([]string{"api.example.com"}); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if want := name == "order, subproblems"; want != (len(p.Identifiers) == 1 && p.Identifiers[0] == "api.example.com") {
				t.Errorf("identifiers %q", p.Identifiers)
			}
			wantError(t, err, "2h0m0s")
		})
	}
}
