package acme_test

import (
	"bytes"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"keepkey/internal/acmetest"
)

// TestHostileCA lets a CA, or whoever sits in front of it, answer with everything
// but what the protocol says. The error must name what was wrong and be fit to be
// shown, and once the CA is itself again the same program must get its certificate.
// (What the certificate is worth is not judged here: see keystore.CheckChain.)
func TestHostileCA(t *testing.T) {
	t.Parallel()
	problem := func(e acmetest.Endpoint, status int, body string) acmetest.Fault {
		return acmetest.Respond(e, status, http.Header{"Content-Type": {"application/problem+json"}}, []byte(body))
	}
	tests := []struct {
		name  string
		fault acmetest.Fault
		want  string // in the error
	}{
		{"a certificate of 10 MiB", acmetest.Respond(acmetest.Certificate, 200, nil, bytes.Repeat([]byte("A"), 10<<20)), "more than 1048576 bytes"},
		{"half a certificate", acmetest.Cut(acmetest.Certificate, 300), "certificate"},

		{"an error that is null", problem(acmetest.NewOrder, 400, "null"), "no problem document"},
		{"an error that is null, for an authorization", problem(acmetest.Authorization, 500, "null"), "no problem document"},
		{"an error that is a list", problem(acmetest.Challenge, 403, "[1,2]"), "no problem document"},
		{"an error that is a novel", problem(acmetest.NewOrder, 500, strings.Repeat("woe ", 50000)), "no problem document"},
		{"an error that paints the terminal", problem(acmetest.NewOrder, 400, `{"type":"x","detail":"\u001b[2Jgone\nkeepkey: all is well"}`), `\x1b[2Jgone\nkeepkey`},
		{"an error of 300 MiB", acmetest.Flood(acmetest.NewOrder, 500, 300<<20), "more than 1048576 bytes"},
		{"an answer of 300 MiB", acmetest.Flood(acmetest.Authorization, 200, 300<<20), "more than 1048576 bytes"},
		{"a directory of 300 MiB", acmetest.Flood(acmetest.Directory, 200, 300<<20), "more than 1048576 bytes"},
		{"a directory that is null", acmetest.Respond(acmetest.Directory, 200, nil, []byte("null")), "directory"},
		{"a directory without TLS", setJSON(acmetest.Directory, "newOrder", "http://127.0.0.1/order"), "HTTPS is required"},
		{"an answer that stalls", acmetest.Stall(acmetest.Finalize), "did not answer within"},
		{"an answer that is cut", acmetest.Cut(acmetest.Authorization, 20), "authorization"},
		{"an answer that is lost", acmetest.Lose(acmetest.NewOrder), "new order"},
		{"an answer that is not JSON", acmetest.Respond(acmetest.NewOrder, 201, nil, []byte("OK")), "unmarshal"},
		{"an answer that is null", acmetest.Respond(acmetest.NewOrder, 201, nil, []byte("null")), "order"},
		{"an answer that is a novel", acmetest.Respond(acmetest.NewOrder, 201, nil, []byte(strings.Repeat("woe\n", 50000))), "unmarshal"},

		{"a signed request redirected elsewhere", acmetest.Redirect(acmetest.NewOrder, 307, "https://evil.example/order"), "redirects a signed request"},
		{"a signed request redirected, permanently", acmetest.Redirect(acmetest.Finalize, 308, "/my-order/1"), "redirects a signed request"},
		{"a directory redirected to another host", acmetest.Redirect(acmetest.Directory, 302, "https://evil.example/dir"), "another host"},
		{"a directory redirected to itself", acmetest.Redirect(acmetest.Directory, 302, "/dir"), "in circles"},
		{"a directory redirected out of TLS", acmetest.Redirect(acmetest.Directory, 302, "http://127.0.0.1/dir"), "another host"},

		{"more authorizations than names", acmetest.ChangeJSON(acmetest.NewOrder, func(doc map[string]any) {
			doc["authorizations"] = append(doc["authorizations"].([]any), "https://127.0.0.1/a", "https://127.0.0.1/b")
		}), "3 authorizations for 1 names"},
		{"no authorizations", setJSON(acmetest.NewOrder, "authorizations", []string{}), "0 authorizations for 1 names"},
		{"an authorization at no URL", setJSON(acmetest.NewOrder, "authorizations", []string{"file:///etc/passwd"}), "for a URL"},
		{"an authorization for another name", acmetest.ChangeJSON(acmetest.Authorization, func(doc map[string]any) {
			doc["identifier"] = map[string]string{"type": "dns", "value": "evil\x1b.example.com"}
		}), `"evil\x1b.example.com", which nobody asked for`},
		{"an authorization for the wildcard", setJSON(acmetest.Authorization, "wildcard", true), "which nobody asked for"},
		{"an authorization without challenges", setJSON(acmetest.Authorization, "challenges", nil), "offers no http-01 challenge"},
		{"an authorization revoked", setJSON(acmetest.Authorization, "status", "revoked"), `is "revoked"`},
		{"a token that is a path", acmetest.ChangeJSON(acmetest.Authorization, func(doc map[string]any) {
			for _, ch := range doc["challenges"].([]any) {
				ch.(map[string]any)["token"] = "../../../etc/passwd"
			}
		}), "for a challenge token"},
		{"a challenge at no URL", acmetest.ChangeJSON(acmetest.Authorization, func(doc map[string]any) {
			for _, ch := range doc["challenges"].([]any) {
				ch.(map[string]any)["url"] = "file:///etc/passwd"
			}
		}), "for a URL"},
		{"an order at no URL", acmetest.Change(acmetest.NewOrder, func(h http.Header, body []byte) []byte {
			h.Del("Location")
			return body
		}), "gave it no URL"},
		{"an order for other names", setJSON(acmetest.NewOrder, "identifiers", []map[string]string{{"type": "dns", "value": "evil.example.com"}}), "modified by the ACME server"},
		{"an order of no known status", setJSON(acmetest.NewOrder, "status", "maybe"), "is not a status of an order"},
		{"an order that is finalized nowhere", setJSON(acmetest.NewOrder, "finalize", ""), "for a URL"},
		{"an order that is finalized at a novel", setJSON(acmetest.NewOrder, "finalize", "https://ca.example/"+strings.Repeat("a", 5000)), "for a URL"},
		{"an order that becomes invalid", acmetest.ChangeJSON(acmetest.Order, func(doc map[string]any) {
			doc["status"], doc["error"] = "invalid", map[string]any{"type": "x", "detail": "we changed our mind"}
		}), "we changed our mind"},
		{"an order that becomes invalid without a reason", setJSON(acmetest.Order, "status", "invalid"), "does not say why"},
		{"an order that is invalid once finalized", acmetest.ChangeJSON(acmetest.Finalize, func(doc map[string]any) {
			doc["status"], doc["error"] = "invalid", map[string]any{"type": "x", "detail": "we changed\nour mind"}
		}), "changed"},
		{"an order that vanishes", acmetest.Problem(acmetest.Order, 404, "malformed", "no such order", ""), "no such order"},
		{"an order without a certificate", setJSON(acmetest.Order, "certificate", nil), "for a URL"},
		{"a certificate at no URL", setJSON(acmetest.Order, "certificate", "ftp://127.0.0.1/x"), "for a URL"},

		{"too many requests", acmetest.Problem(acmetest.NewOrder, 429, "rateLimited", "too many certificates", "7200"), "2h0m0s"},
		{"too many requests, until a date", acmetest.Problem(acmetest.NewOrder, 429, "rateLimited", "too many", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)), "asks to wait"},
		{"an absurd Retry-After", acmetest.Problem(acmetest.NewOrder, 503, "serverInternal", "down", "99999999999999999999"), "24h0m0s"},
		{"a negative Retry-After", acmetest.Problem(acmetest.NewOrder, 503, "serverInternal", "down", "-5"), "down"},
		{"a blocked key", acmetest.Problem(acmetest.Finalize, 400, "badPublicKey", "key is blocked", ""), "key is blocked"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, acmetest.Options{})
			if !strings.Contains(tt.name, "MiB") {
				w.cfg.RequestTimeout = 300 * time.Millisecond
			}
			w.ca.Misbehave(tt.fault)
			c, err := w.connect()
			if err == nil {
				_, err = obtain(t.Context(), c, w.request("api.example.com"))
			}
			wantError(t, err, tt.want)
			w.ca.Misbehave(nil)
			w.cfg.RequestTimeout = 20 * time.Second
			w.mustObtain(w.client(), w.request("api.example.com"))
		})
	}
}

func TestHugeAnswersDoNotBloatTheProcess(t *testing.T) {
	// Not parallel: it looks at the process's memory.
	w := newWorld(t, acmetest.Options{})
	c := w.client()
	w.ca.Misbehave(acmetest.Flood(acmetest.NewOrder, 500, 300<<20))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := obtain(t.Context(), c, w.request("api.example.com"))
	runtime.ReadMemStats(&after)
	wantError(t, err, "more than 1048576 bytes")
	// The server's own blocks are in this process too; a client that read the
	// whole body would need hundreds of MiB.
	if grown := (after.TotalAlloc - before.TotalAlloc) >> 20; grown > 64 {
		t.Errorf("%d MiB were allocated", grown)
	}
}

func TestHalfOfAllNoncesRejected(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{NonceReject: 50})
	w.mustObtain(w.client(), w.request("api.example.com"))
}

func TestDirectoryThatIsNotHTTPSIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	for _, directory := range []string{"", "http://127.0.0.1/dir", "ftp://ca.example", "\x1b[2J", "https://%zz"} {
		w.cfg.Directory = directory
		_, err := w.connect()
		wantError(t, err, "is not the https URL of an ACME directory")
	}
}

func TestCAThatIsNotTrustedIsNotTalkedTo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	w.cfg.Roots = nil // the system's
	_, err := w.connect()
	wantError(t, err, w.ca.Directory, "certificate")
	if r := w.ca.Requests(); len(r) != 0 {
		t.Errorf("it was asked %q", r)
	}
}
