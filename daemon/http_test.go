package daemon

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/page"
	"keepkey/pinset"
	"keepkey/plan"
	"keepkey/status"
)

// webOf is a daemon's front for certificates of which it has worked on each.
func webOf(certs ...config.Certificate) *Web {
	cfg := &config.Config{Certificates: certs}
	w := &Web{
		Overview: NewOverview(cfg, time.Unix(1_800_000_000, 0)), Metrics: NewMetrics("v1.2.3", false), Now: func() time.Time { return time.Unix(1_800_000_000, 0) },
		Log: slog.New(slog.DiscardHandler),
		Show: func(_ context.Context, cert config.Certificate) page.Certificate {
			return page.Certificate{Lineage: status.Lineage{Name: cert.Name}}
		},
		LeftOver: func(context.Context) ([]page.Certificate, error) { return nil, nil },
		Served:   func(string, string) ([]byte, time.Time, error) { return nil, time.Time{}, os.ErrNotExist },
	}
	for _, cert := range certs {
		w.Worked(reportOf(cert.Name), w.Now())
	}
	return w
}

// reportOf is of a certificate with which all is well.
func reportOf(name string, problems ...plan.Code) apply.Report {
	now := time.Unix(1_800_000_000, 0)
	rep := apply.Report{Name: name}
	rep.Input = plan.Input{Now: now, Goal: plan.Goal{Name: name, NobodyPins: true}, State: plan.State{
		Begun: now.Add(-24 * time.Hour), Certificate: &plan.Certificate{Version: 1, NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(90 * 24 * time.Hour)},
		Keys: []plan.Key{{Pin: pinset.Pin{1}, Role: plan.Active}, {Pin: pinset.Pin{2}, Role: plan.Backup}},
	}}
	for _, code := range problems {
		rep.Problems = append(rep.Problems, plan.Finding{Code: code})
	}
	return rep
}

// ask makes a request of a handler.
func ask(w *Web, method, path string, header ...string) *http.Response {
	r := httptest.NewRequest(method, path, nil)
	r.Host = "localhost"
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	w.handler().ServeHTTP(rec, r)
	return rec.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// serveWeb answers on a socket until the test is over.
func serveWeb(t *testing.T, w *Web) (addr net.Addr) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); w.Serve(ctx, l) }()
	t.Cleanup(func() { cancel(); <-ended })
	return l.Addr()
}

func TestNothingCanBeChanged(t *testing.T) {
	t.Parallel()
	w := webOf(certs("ca", "api")...)
	for _, path := range []string{"/", "/certificates/api", "/certificates/api/timeline.svg", "/metrics", "/healthz", "/readyz", "/pins/web/api"} {
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"} {
			r := ask(w, method, path)
			if r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: status %d, Allow: %q", method, path, r.StatusCode, r.Header.Get("Allow"))
			}
		}
	}
	if r := ask(w, "POST", "/reports"); r.StatusCode != http.StatusNotFound {
		t.Errorf("reports that nobody takes: status %d", r.StatusCode)
	}
	w.Reports = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusNoContent) })
	if r := ask(w, "POST", "/reports"); r.StatusCode != http.StatusNoContent {
		t.Errorf("a report: status %d", r.StatusCode)
	}
}

func TestEveryAnswerSaysHowLittleABrowserMayDoWithIt(t *testing.T) {
	t.Parallel()
	w := webOf(certs("ca", "api")...)
	for path, want := range map[string]struct {
		status      int
		contentType string
	}{
		"/":                              {200, "text/html; charset=utf-8"},
		"/certificates/api":              {200, "text/html; charset=utf-8"},
		"/certificates/api/timeline.svg": {200, "image/svg+xml"},
		"/metrics":                       {200, "text/plain; version=0.0.4; charset=utf-8"},
		"/healthz":                       {200, "text/plain; charset=utf-8"},
		"/readyz":                        {200, "text/plain; charset=utf-8"},
		"/pins/web/api":                  {404, "text/plain; charset=utf-8"},
		"/nothing":                       {404, "text/plain; charset=utf-8"},
		"/certificates/":                 {404, "text/plain; charset=utf-8"},
		"/certificates/other":            {404, "text/plain; charset=utf-8"},
		"/certificates/..%2f..%2fetc":    {404, "text/plain; charset=utf-8"},
		"/certificates/api%00":           {404, "text/plain; charset=utf-8"},
		"/pins/web/..%2f..%2fstate.json": {404, "text/plain; charset=utf-8"},
		"/pins/..%2fkeys/api":            {404, "text/plain; charset=utf-8"},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			r := ask(w, method, path)
			if r.StatusCode != want.status || r.Header.Get("Content-Type") != want.contentType {
				t.Errorf("%s %s: status %d, %s", method, path, r.StatusCode, r.Header.Get("Content-Type"))
			}
			for name, want := range map[string]string{
				"Content-Security-Policy": page.CSP(), "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
			} {
				if got := r.Header.Get(name); got != want {
					t.Errorf("%s %s: %s: %q, want %q", method, path, name, got, want)
				}
			}
			if len(r.Cookies()) > 0 {
				t.Errorf("%s %s sets a cookie", method, path)
			}
		}
	}
}

// A web page that a browser on this machine shows can have its own name lead here.
func TestOtherHostsNamesDoNotLeadHere(t *testing.T) {
	t.Parallel()
	w := webOf()
	for _, tt := range []struct {
		listen config.Listen
		host   string
		ok     bool
	}{
		{config.Listen{Network: "tcp"}, "localhost", true},
		{config.Listen{Network: "tcp"}, "localhost:8443", true},
		{config.Listen{Network: "tcp"}, "127.0.0.1:8443", true},
		{config.Listen{Network: "tcp"}, "127.1.2.3", true},
		{config.Listen{Network: "tcp"}, "[::1]:8443", true},
		{config.Listen{Network: "tcp"}, "[::1]", true},
		{config.Listen{Network: "tcp"}, "", false},
		{config.Listen{Network: "tcp"}, "rebound.example", false},
		{config.Listen{Network: "tcp"}, "rebound.example:8443", false},
		{config.Listen{Network: "tcp"}, "localhost.rebound.example", false},
		{config.Listen{Network: "tcp"}, "192.0.2.1:8443", false},
		{config.Listen{Network: "tcp"}, "0.0.0.0:8443", false},
		{config.Listen{Network: "unix"}, "keepkey.example.com", true}, // a proxy's
		{config.Listen{Network: "tcp", Public: true}, "keepkey.example.com", true},
	} {
		w.Listen = tt.listen
		r := ask(w, "GET", "/healthz", "Host", tt.host)
		if got := r.StatusCode == http.StatusOK; got != tt.ok || (!got && r.StatusCode != http.StatusMisdirectedRequest) {
			t.Errorf("%+v, Host: %q: status %d", tt.listen, tt.host, r.StatusCode)
		}
	}
}

func TestTheLoopHasToTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := webOf()
		for _, tt := range []struct {
			silent time.Duration
			want   int
		}{{0, 200}, {2 * time.Minute, 200}, {4 * time.Minute, 503}} {
			w.Beat()
			time.Sleep(tt.silent)
			if r := ask(w, "GET", "/healthz"); r.StatusCode != tt.want {
				t.Errorf("after %s: status %d, want %d", tt.silent, r.StatusCode, tt.want)
			}
		}
	})
}

func TestItIsReadyOnceEveryCertificateWasLookedAt(t *testing.T) {
	t.Parallel()
	w := webOf(certs("ca", "a", "b")...)
	ready := func() int { return ask(w, "GET", "/readyz").StatusCode }
	if ready() != 200 {
		t.Error("all were looked at")
	}
	w.Configure(&config.Config{Certificates: certs("ca", "b", "c")}, w.Now())
	if r := ask(w, "GET", "/readyz"); r.StatusCode != 503 || body(t, r) != "1 of 2 certificates have not been looked at yet\n" {
		t.Errorf("status %d while one is new", r.StatusCode)
	}
	w.Worked(reportOf("a"), w.Now()) // which left meanwhile
	if ready() != 503 {
		t.Error("another than the new one was looked at")
	}
	w.Worked(apply.Report{Name: "c", Problems: []plan.Finding{{Code: plan.StateUnreadable}}}, w.Now())
	if ready() != 200 {
		t.Error("all were looked at, whatever came of it")
	}
}

// Whoever holds connections open, and neither asks nor reads, keeps nobody out.
func TestASlowVisitorHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	var names []string
	for i := range 20_000 { // far more than sockets hold
		names = append(names, fmt.Sprintf("certificate-with-a-long-name-%d.example.com", i))
	}
	w := webOf(certs("ca", names...)...)
	addr := serveWeb(t, w)
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	for range maxVisitors + 50 {
		io.WriteString(dial(), "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow")
	}
	for range 10 {
		conn := dial()
		conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
		// It is being answered, and nothing more is taken of that.
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	client := &http.Client{Timeout: answerTime * 3 / 4} // by then, nobody was cut off for not reading
	for _, path := range []string{"/healthz", "/metrics", "/"} {
		r, err := client.Get("http://" + addr.String() + path)
		if err != nil {
			t.Fatal(err)
		}
		if text := body(t, r); r.StatusCode != http.StatusOK || text == "" {
			t.Errorf("%s: status %d", path, r.StatusCode)
		}
		r.Body.Close()
	}
	// The first who came made room for others.
	w.visitors.mu.Lock()
	defer w.visitors.mu.Unlock()
	if n := len(w.visitors.all); n > maxVisitors {
		t.Errorf("%d connections at a time, want %d at most", n, maxVisitors)
	}
}

func TestAHeaderIsBounded(t *testing.T) {
	t.Parallel()
	conn, err := net.Dial("tcp", serveWeb(t, webOf()).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nX: "+strings.Repeat("x", 64<<10)+"\r\n\r\n")
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || line != "HTTP/1.1 431 Request Header Fields Too Large\r\n" {
		t.Errorf("%q, %v", line, err)
	}
}

// The page is not a list to be read of thousands of files: what is shown in full is read,
// and once for all who ask at the same time.
func TestAPageReadsWhatItShowsAndOnceForMany(t *testing.T) {
	t.Parallel()
	var names []string
	for i := range 1000 {
		names = append(names, fmt.Sprintf("c%d", i))
	}
	w := webOf(certs("ca", names...)...)
	w.Worked(reportOf("c998", plan.KeyMissing), w.Now())
	w.Worked(reportOf("c999", plan.DeployFailing), w.Now())
	var mu sync.Mutex
	var shown []string
	w.Show = func(_ context.Context, cert config.Certificate) page.Certificate {
		mu.Lock()
		defer mu.Unlock()
		shown = append(shown, cert.Name)
		return page.Certificate{Lineage: status.Lineage{Name: cert.Name}}
	}
	h := w.handler()
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			rec, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
			r.Host = "localhost"
			if h.ServeHTTP(rec, r); rec.Code != http.StatusOK {
				t.Errorf("status %d", rec.Code)
			}
		})
	}
	wg.Wait()
	if len(shown) != page.MaxInFull || !slices.Equal(shown[:3], []string{"c998", "c999", "c0"}) {
		t.Errorf("%d were read, %.10q", len(shown), shown)
	}
}

// Their keys are in the state directory, so somebody may still use them.
func TestThePageShowsLineagesThatAreNotConfigured(t *testing.T) {
	t.Parallel()
	w := webOf(certs("ca", "api")...)
	w.LeftOver = func(context.Context) ([]page.Certificate, error) {
		return []page.Certificate{{Lineage: status.Lineage{Name: "left.example.com"}}}, nil
	}
	rec, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
	r.Host = "localhost"
	w.handler().ServeHTTP(rec, r)
	if body := rec.Body.String(); rec.Code != http.StatusOK || !strings.Contains(body, "left.example.com") || !strings.Contains(body, "api") {
		t.Errorf("status %d, %.2000s", rec.Code, body)
	}
}

// Nothing is kept for ever, and what is asked for after a while is drawn anew.
func TestDrawingsAreKeptForAMoment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := webOf(certs("ca", "api")...)
		var reads atomic.Int32
		w.Show = func(context.Context, config.Certificate) page.Certificate {
			reads.Add(1)
			return page.Certificate{}
		}
		h := w.handler()
		for i, want := range []int32{1, 1, 2} {
			r := httptest.NewRequest("GET", fmt.Sprintf("/certificates/api?%d", i), nil)
			r.Host = "localhost"
			h.ServeHTTP(httptest.NewRecorder(), r)
			if got := reads.Load(); got != want {
				t.Errorf("request %d: read %d times, want %d", i, got, want)
			}
			time.Sleep(leastKept*2/3 + time.Millisecond)
		}
		time.Sleep(time.Minute)
	})
}

func TestWhoAsksForTooMuchIsToldToComeBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := webOf(certs("ca", "a", "b")...)
		w.Show = func(_ context.Context, cert config.Certificate) page.Certificate {
			time.Sleep(time.Minute)
			return page.Certificate{}
		}
		h := w.handler()
		request := func(name string) *httptest.ResponseRecorder {
			r := httptest.NewRequest("GET", "/certificates/"+name, nil)
			r.Host = "localhost"
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			return rec
		}
		go request("a")
		synctest.Wait()
		if rec := request("b"); rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") != "1" {
			t.Errorf("status %d, Retry-After %q", rec.Code, rec.Header().Get("Retry-After"))
		}
		time.Sleep(time.Hour)
	})
}

// To read a lineage that was never begun takes asking others: a visitor must not bring that
// about. What the last run said is shown.
func TestWhatHasNoStateIsNotReadForAVisitor(t *testing.T) {
	t.Parallel()
	w := webOf(certs("ca", "new", "unseen", "broken")...)
	w.Configure(&config.Config{}, w.Now())
	w.Configure(&config.Config{Certificates: certs("ca", "new", "unseen", "broken")}, w.Now())
	w.Worked(apply.Report{Name: "new", Problems: []plan.Finding{{Code: plan.KeysElsewhere, Blocks: true}}, Input: plan.Input{Goal: plan.Goal{Name: "new"}}}, w.Now())
	w.Worked(apply.Report{Name: "broken", Problems: []plan.Finding{{Code: plan.BrokeDown}}}, w.Now())
	w.Show = func(context.Context, config.Certificate) page.Certificate {
		t.Error("it was read")
		return page.Certificate{}
	}
	for _, path := range []string{"/", "/certificates/new", "/certificates/unseen", "/certificates/broken", "/certificates/unseen/timeline.svg"} {
		if r := ask(w, "GET", path); r.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d", path, r.StatusCode)
		}
	}
	for name, code := range map[string]plan.Code{"new": plan.KeysElsewhere, "broken": plan.BrokeDown} {
		c := w.whole(t.Context(), w.one(name))
		if c.Name != name || len(c.Problems) != 1 || c.Problems[0].Code != code {
			t.Errorf("%s is shown as %+v", name, c.Lineage)
		}
	}
	if c := w.whole(t.Context(), w.one("unseen")); c.Name != "unseen" {
		t.Errorf("unseen is shown as %+v", c.Lineage)
	}
}

func TestAGateThatOpenedMeanwhileIsOpen(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_800_000_000, 0)
	k := known{brief: status.Brief{HasGate: true, GateOpens: at}}
	if b := k.now(at.Add(-time.Second)); b.GateOpen || b.GateOpens.IsZero() {
		t.Errorf("before: %+v", b)
	}
	if b := k.now(at); !b.GateOpen || !b.GateOpens.IsZero() {
		t.Errorf("then: %+v", b)
	}
}

func TestTheSocketIsForAGroupAndSurvivesAKill(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "kk") // the path of a socket has to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	at := config.Listen{Network: "unix", Address: filepath.Join(dir, "http")}
	first, err := ListenHTTP(at, os.Getegid())
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(at.Address)
	if err != nil || info.Mode().Perm() != 0o660 || int(info.Sys().(*syscall.Stat_t).Gid) != os.Getegid() {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := ListenHTTP(at, 0); err == nil || !strings.HasPrefix(err.Error(), "something else is at unix:"+at.Address+" already: end it, or choose another address for `listen`") {
		t.Errorf("while one listens: %v", err)
	}
	first.(*net.UnixListener).SetUnlinkOnClose(false) // as after a kill
	first.Close()
	second, err := ListenHTTP(at, 0)
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
	file := config.Listen{Network: "unix", Address: filepath.Join(dir, "file")}
	if err := os.WriteFile(file.Address, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenHTTP(file, 0); err == nil {
		t.Error("a file made room for a socket")
	}
	if data, err := os.ReadFile(file.Address); err != nil || string(data) != "precious" {
		t.Errorf("the file holds %q (%v)", data, err)
	}
	missing := config.Listen{Network: "unix", Address: filepath.Join(dir, "no", "http")}
	if _, err := ListenHTTP(missing, 0); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "the directory "+filepath.Join(dir, "no")+" does not exist") {
		t.Errorf("without its directory: %v", err)
	}
}
