package acme

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestScope(t *testing.T) {
	t.Parallel()
	domains := []string{"api.example.com", "*.shop.example.co.uk", "Login.Example.ORG"}
	limited := func(detail string, identifiers ...string) Problem {
		return Problem{Status: 429, Type: errRateLimited, Detail: detail, Identifiers: identifiers, RetryAfter: time.Hour}
	}
	const account, identifiers, ca = ScopeAccount, ScopeIdentifiers, ScopeCA
	for _, tt := range []struct {
		problem Problem
		want    Scope
	}{
		{Problem{Status: 503, RetryAfter: time.Minute}, ca},
		{Problem{Status: 503, Detail: `"api.example.com" must wait`, RetryAfter: time.Minute}, ca},
		{Problem{Status: 502, RetryAfter: time.Minute}, ca},

		{Problem{Status: 429, newAccount: true}, ca},
		{Problem{Status: 429, newAccount: true, Detail: `too many accounts for "example.com"`}, ca},
		{Problem{Status: 403, newAccount: true}, identifiers},

		{limited("some names must wait", "api.example.com"), identifiers},
		{limited(`too many certificates (50) already issued for "example.com" in the last 168h0m0s, retry after 2026-11-21 12:00:00 UTC`), identifiers},
		{limited(`too many failed authorizations (5) for "api.example.com" in the last 1h0m0s`), identifiers},
		{limited("too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s"), identifiers},
		{limited("too many certificates already issued for exact set of domains: api.example.com,www.example.com: see https://ca.example/limits"), identifiers},
		{limited("example.co.uk: wait"), identifiers},
		{limited("*.shop.example.co.uk."), identifiers},
		{limited("EXAMPLE.org!"), identifiers},
		{Problem{Status: 429, Detail: "(api.example.com)"}, identifiers},
		{Problem{Status: 403, Type: errRateLimited, Detail: "slow down"}, account},

		{limited("too many new orders (300) from this account in the last 3h0m0s: see https://letsencrypt.org/docs/rate-limits/#new-orders-per-account"), account},
		{limited("slow down"), account},
		{limited(""), account},
		{limited("too many certificates for www.example.com"), account},      // a sibling
		{limited("too many certificates for notexample.com"), account},       // ends alike
		{limited("too many certificates for api.example.com.evil"), account}, // begins alike
		{limited("too many certificates under com, org, uk"), account},
		{limited("see https://api.example.com/limits"), account},
		{limited("api-example-com"), account},

		{Problem{Status: 400, Detail: "no such order"}, identifiers},
		{Problem{Status: 403, RetryAfter: time.Hour}, identifiers},
	} {
		if got := tt.problem.Scope(domains); got != tt.want {
			t.Errorf("%+v: got %s, want %s", tt.problem, got, tt.want)
		}
	}
}

func FuzzMentions(f *testing.F) {
	f.Add(`already issued for "example.com" in the last week`, "api.example.com")
	f.Add("\xff..", "*.example.com")
	f.Fuzz(func(t *testing.T, text, domain string) {
		if mentions(text, nil) {
			t.Error("an order without names is mentioned")
		}
		mentions(text, []string{domain})
		if mentions(strings.ReplaceAll(text, ".", ""), []string{domain}) {
			t.Errorf("%q has no dot, and mentions %q", text, domain)
		}
		if !mentions(text+` "www.example.com" `, []string{domain, "www.example.com"}) {
			t.Errorf("after %q the name is not found", text)
		}
	})
}

func TestSubproblemsOfARefusal(t *testing.T) {
	t.Parallel()
	var sub []string
	for i := range 200 {
		sub = append(sub, fmt.Sprintf(`{"detail":"d%d","identifier":{"type":"dns","value":"n%d.example.com"}}`, i, i))
	}
	sub[1] = `{"detail":"about nobody"}`
	sub[2] = `{"identifier":{"value":"` + strings.Repeat("a", 300) + `"}}`
	g := &guard{now: time.Now}
	req, err := http.NewRequest(http.MethodPost, "https://ca.example/order", nil)
	if err != nil {
		t.Fatal(err)
	}
	p, forLego := g.problem(req, &http.Response{StatusCode: 403}, []byte(`{"type":"x","detail":"some","subproblems":[`+strings.Join(sub, ",")+`]}`))
	if len(p.Identifiers) != 98 || !slices.Equal(p.Identifiers[:2], []string{"n0.example.com", "n3.example.com"}) {
		t.Errorf("got %d identifiers %.100q", len(p.Identifiers), p.Identifiers)
	}
	if forLego || !strings.HasPrefix(p.Detail, "some; n0.example.com: d0; : about nobody; ") || strings.Contains(p.Detail, "d10") {
		t.Errorf("got %v, %q", forLego, p.Detail)
	}
}

// A problem that lego is shown but does not take for what it handles would be an error
// of lego's, with the whole body in it.
func TestLegoSeesOnlyTheProblemsThatItHandles(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status int
		body   string
		want   bool
	}{
		{400, `{"type":"urn:ietf:params:acme:error:badNonce"}`, true},
		{400, `{"type":"urn:ietf:params:acme:error:badNonce","status":400}`, true},
		{400, `{"type":"urn:ietf:params:acme:error:badNonce","status":500}`, false},
		{500, `{"type":"urn:ietf:params:acme:error:badNonce"}`, false},
		{409, `{"type":"urn:ietf:params:acme:error:alreadyReplaced"}`, true},
		{400, `{"type":"urn:ietf:params:acme:error:alreadyReplaced"}`, false},
		{400, `null`, false},
		{400, `{"type":"urn:ietf:params:acme:error:malformed"}`, false},
	} {
		g := &guard{now: time.Now}
		req, err := http.NewRequest(http.MethodPost, "https://ca.example/order", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, got := g.problem(req, &http.Response{StatusCode: tt.status}, []byte(tt.body)); got != tt.want {
			t.Errorf("%d %s: got %v", tt.status, tt.body, got)
		}
	}
}

func TestRetryAfterIsByTheCAsClock(t *testing.T) {
	t.Parallel()
	at := testNow.Add(time.Hour).Format(http.TimeFormat)
	for _, tt := range []struct {
		date string
		want time.Duration
	}{
		{"", time.Hour},
		{"nonsense", time.Hour},
		{testNow.Add(30 * time.Minute).Format(http.TimeFormat), 30 * time.Minute},
		{testNow.Add(-time.Hour).Format(http.TimeFormat), 2 * time.Hour},
		{testNow.Add(2 * time.Hour).Format(http.TimeFormat), 0},
	} {
		if got, ok := retryAfter(http.Header{"Date": {tt.date}, "Retry-After": {at}}, testNow); got != tt.want || !ok {
			t.Errorf("date %q: got %s, %v, want %s", tt.date, got, ok, tt.want)
		}
	}
}

// roundTrip is a way to a CA that there cannot be in a test.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestUnansweredWhenThereIsNoWay(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"unknown host": &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "ca.example", IsNotFound: true}},
		"no route":     &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("no route to host")},
		"garbage":      errors.New("malformed HTTP response \x1b[2J"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
				g := &guard{
					next: roundTrip(func(*http.Request) (*http.Response, error) { return nil, err }),
					ctx:  context.Background(), timeout: time.Minute, now: time.Now,
				}
				req, rerr := http.NewRequest(method, "https://ca.example/dir", nil)
				if rerr != nil {
					t.Fatal(rerr)
				}
				_, got := g.RoundTrip(req)
				if !Unanswered(got) || !errors.Is(got, err) || !strings.Contains(got.Error(), "no answer from https://ca.example/dir") || strings.Contains(got.Error(), "\x1b") {
					t.Errorf("%s: %q", method, got)
				}
				// go-jose passes on the text alone.
				lost := fmt.Errorf("go-jose/go-jose: Error generating nonce: %v", got)
				if found := g.nonceError(lost.Error()); (found == got) != (method == http.MethodHead) {
					t.Errorf("%s: found %v in the text", method, found)
				}
			}
		})
	}
}

func TestNonceErrorsThatAreKeptAreFew(t *testing.T) {
	t.Parallel()
	g := &guard{}
	req := &http.Request{Method: http.MethodHead}
	for i := range 1000 {
		g.failed(req, fmt.Errorf("number %04d", i))
	}
	if len(g.nonceErrors) != maxNonceErrors || g.nonceError("x: number 0999.") == nil || g.nonceError("number 0000") != nil {
		t.Errorf("%d are kept: %v", len(g.nonceErrors), g.nonceErrors)
	}
}

func TestUnansweredIsNotWhatWasAnswered(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		nil, errors.New("x"), context.Canceled, context.DeadlineExceeded, ErrOrderGone, ErrNoRenewalInfo,
		&Problem{Status: 404}, &Problem{Status: 429}, &Problem{Status: 503, RetryAfter: time.Second},
		&net.OpError{Op: "listen", Net: "tcp", Err: errors.New("address already in use")},
	} {
		if Unanswered(err) {
			t.Errorf("%v", err)
		}
	}
	for _, err := range []error{&Problem{Status: 500}, fmt.Errorf("new order: %w", &Problem{Status: 503})} {
		if !Unanswered(err) {
			t.Errorf("not %v", err)
		}
	}
}
