package acme

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

var testNow = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func TestParseRetryAfter(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		value string
		want  time.Duration
		ok    bool
	}{
		{"", 0, false},
		{"3", 3 * time.Second, true},
		{"0", 0, true},
		{"-5", 0, false},
		{"86401", 24 * time.Hour, true},
		{"99999999999999999999999", 24 * time.Hour, true},
		{"-99999999999999999999999", 0, false},
		{"soon", 0, false},
		{"1.5", 0, false},
		{testNow.Add(90 * time.Second).Format(http.TimeFormat), 90 * time.Second, true},
		{testNow.Add(-time.Hour).Format(http.TimeFormat), 0, true},
	} {
		if got, ok := parseRetryAfter(tt.value, testNow); got != tt.want || ok != tt.ok {
			t.Errorf("%q: got %s, %v, want %s, %v", tt.value, got, ok, tt.want, tt.ok)
		}
	}
}

func FuzzParseRetryAfter(f *testing.F) {
	for _, s := range []string{"3", "-1", "99999999999999999999", "Sat, 21 Nov 2026 12:00:00 GMT"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, ok := parseRetryAfter(s, testNow); d < 0 || (!ok && d != 0) {
			t.Errorf("%q: %s, %v", s, d, ok)
		}
	})
}

func FuzzParseRenewalInfo(f *testing.F) {
	f.Add([]byte(`{"suggestedWindow":{"start":"2026-01-01T00:00:00Z","end":"2026-01-02T00:00:00Z"},"explanationURL":"https://ca.example/why"}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		w, err := parseRenewalInfo(data)
		if err != nil && (len(err.Error()) > 2000 || strings.ContainsAny(err.Error(), "\x1b\n")) {
			t.Errorf("the error is not fit to be shown: %q", err)
		}
		if err == nil && w.Explanation != "" && !strings.HasPrefix(strings.ToLower(w.Explanation), "https://") {
			t.Errorf("taken for a URL: %q", w.Explanation)
		}
	})
}

func FuzzProblem(f *testing.F) {
	f.Add([]byte(`{"type":"urn:ietf:params:acme:error:malformed","detail":"no","subproblems":[{"detail":"x","identifier":{"value":"a"}}]}`), "7")
	f.Add([]byte(`null`), "")
	f.Add([]byte("\x1b[2J\n"), "-1")
	g := &guard{now: func() time.Time { return testNow }}
	f.Fuzz(func(t *testing.T, body []byte, retryAfter string) {
		req, err := http.NewRequest(http.MethodPost, "https://ca.example/order", nil)
		if err != nil {
			t.Fatal(err)
		}
		p, _ := g.problem(req, &http.Response{StatusCode: 400, Header: http.Header{"Retry-After": {retryAfter}}}, body)
		text := p.Error()
		if len(text) > 8000 || strings.ContainsAny(text, "\x1b\n\r") {
			t.Errorf("not fit to be shown: %q", text)
		}
		if len(p.Type) > maxDetail || len(p.Detail) > maxDetail || len(p.Identifiers) > maxSubproblems {
			t.Error("too much is kept")
		}
		if p.RetryAfter != 0 && (p.RetryAfter < minRetryAfter || p.RetryAfter > maxRetryAfter) {
			t.Errorf("asks to wait %s", p.RetryAfter)
		}
	})
}

func TestAlternatesAreFoundInLinks(t *testing.T) {
	t.Parallel()
	h := http.Header{"Link": {
		`<https://ca.example/dir>;rel="index"`,
		`<https://ca.example/cert/1/1>;rel="alternate", <https://ca.example/cert/1/2>; rel="alternate"`,
		`<https://ca.example/cert/1/3>; rel=alternate`,
	}}
	want := []string{"https://ca.example/cert/1/1", "https://ca.example/cert/1/2", "https://ca.example/cert/1/3"}
	if got := alternates(h); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
