package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/pinset"
	reports "keepkey/report"
)

// reportAbout is a report in JSON.
func reportAbout(host string) string {
	return fmt.Sprintf(`{"hostname": %q, "known-pins": ["pin-sha256=\"%s\""]}`, host, pinset.Pin{1})
}

// heard is what was handed on.
type heard struct {
	mu  sync.Mutex
	all [][]apply.Received
}

func (h *heard) batches() [][]apply.Received {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.all)
}

// listening returns what takes reports about api.example.com and two.example.com.
func listening() (*Reports, *heard) {
	r, h := NewReports(), &heard{}
	r.Now = time.Now
	r.About = func(rep reports.Report) []config.Certificate {
		if rep.Host != "api.example.com" && rep.Host != "two.example.com" {
			return nil
		}
		return []config.Certificate{{Name: rep.Host}}
	}
	r.Hear = func(_ context.Context, _ []config.Certificate, all []apply.Received) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.all = append(h.all, all)
	}
	return r, h
}

// post sends a report from an address.
func post(r http.Handler, from, body string, headers ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodPost, "/reports", strings.NewReader(body))
	req.RemoteAddr = from
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	return w
}

func TestWhatClientsAreAnswered(t *testing.T) {
	t.Parallel()
	good := reportAbout("api.example.com")
	for _, tt := range []struct {
		name, method, contentType, body string
		want                            int
		result                          string
	}{
		{"a report", "POST", "application/json", good, 204, ReportTaken},
		{"one with a character set", "POST", "application/json; charset=utf-8", good, 204, ReportTaken},
		{"one that says nothing of its type", "POST", "", good, 204, ReportTaken},
		{"one of a type of its own", "POST", "application/reports+json", good, 204, ReportTaken},
		{"a form of a web page", "POST", "application/x-www-form-urlencoded", good, 415, ReportInvalid},
		{"another form", "POST", "text/plain", good, 415, ReportInvalid},
		{"a type that is none", "POST", ";;", good, 415, ReportInvalid},
		{"somebody who looks", "GET", "", "", 405, ""},
		{"a web page of another host", "OPTIONS", "", "", 405, ""},
		{"rubbish", "POST", "application/json", "\x1b[31m", 400, ReportInvalid},
		{"nothing", "POST", "application/json", "", 400, ReportInvalid},
		{"another's host", "POST", "application/json", reportAbout("www.example.org"), 404, ReportForeign},
		{"a giant", "POST", "application/json", good + strings.Repeat(" ", reports.MaxBody), 413, ReportInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, _ := listening()
			var counted []string
			r.Count = func(result string) { counted = append(counted, result) }
			server := httptest.NewServer(r)
			defer server.Close()
			req, err := http.NewRequestWithContext(t.Context(), tt.method, server.URL, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", tt.contentType)
			resp, err := server.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != tt.want || bytes.ContainsRune(text, '\x1b') || (len(text) > 0) != (tt.want != 204) {
				t.Errorf("status %d, want %d: %q (%v)", resp.StatusCode, tt.want, text, err)
			}
			if strings.Join(counted, " ") != tt.result {
				t.Errorf("counted as %q, want %q", counted, tt.result)
			}
		})
	}
}

func TestReportsArePutOnRecordTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, h := listening()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); r.Run(ctx) }()
		post(r, "192.0.2.1:1", reportAbout("api.example.com"))
		synctest.Wait()
		for i := range 6 {
			post(r, fmt.Sprintf("192.0.2.%d:1", i), reportAbout([]string{"api.example.com", "two.example.com"}[i%2]))
		}
		synctest.Wait()
		if all := h.batches(); len(all) != 1 || len(all[0]) != 1 {
			t.Errorf("at once: %+v", all)
		}
		time.Sleep(r.pause)
		synctest.Wait()
		if all := h.batches(); len(all) != 3 || len(all[1]) != 3 || len(all[2]) != 3 || all[1][0].Host == all[2][0].Host {
			t.Errorf("after a pause: %+v", all)
		}
		post(r, "192.0.2.1:1", reportAbout("api.example.com"))
		cancel()
		<-ended
		if all := h.batches(); len(all) != 4 {
			t.Errorf("at the end: %+v", all)
		}
	})
}

// What can't be put on record at once waits, so that nobody who reports does.
func TestReportsDoNotWaitForWhatIsAtWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, _ := listening()
		release := make(chan struct{})
		r.Hear = func(context.Context, []config.Certificate, []apply.Received) { <-release }
		r.limits.total = rate.NewLimiter(10, 10_000)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); r.Run(ctx) }()
		got := make(map[int]int)
		for i := range maxWaiting + 10 {
			w := post(r, fmt.Sprintf("192.0.%d.%d:1", i/200, i%200), reportAbout("api.example.com"))
			got[w.Code]++
			if w.Code == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
				t.Error("nothing says when to try again")
			}
			synctest.Wait()
		}
		if got[http.StatusNoContent] != maxWaiting+1 || got[http.StatusServiceUnavailable] != 9 {
			t.Errorf("answers: %v", got)
		}
		close(release)
		cancel()
		<-ended
	})
}

func TestNobodyMaySendWithoutEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, _ := listening()
		send := func(n int, from func(i int) string) (taken int) {
			for i := range n {
				if w := post(r, from(i), reportAbout("api.example.com")); w.Code == http.StatusNoContent {
					taken++
				} else if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
					t.Fatalf("status %d, %v", w.Code, w.Header())
				}
			}
			return taken
		}
		one := func(int) string { return "192.0.2.1:1" }
		if n := send(50, one); n != 20 {
			t.Errorf("one source sent %d", n)
		}
		// Other addresses of a site's network are the same source.
		network := func(i int) string { return fmt.Sprintf("[2001:db8:1:1::%x]:1", i+1) }
		if n := send(50, network); n != 20 {
			t.Errorf("one network sent %d", n)
		}
		if n := send(1, func(int) string { return "[2001:db8:1:2::1]:1" }); n != 1 {
			t.Error("another network may not send")
		}
		time.Sleep(3 * time.Minute)
		if n := send(50, one); n != 3 {
			t.Errorf("after three minutes one source sent %d", n)
		}
		time.Sleep(time.Hour)
		many := func(i int) string { return fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255) }
		if n := send(3*maxTracked, many); n != 100 {
			t.Errorf("many sources sent %d at once", n)
		}
		if len(r.limits.of) > maxTracked {
			t.Errorf("%d sources are kept in mind", len(r.limits.of))
		}
	})
}

func TestWhoSentAReport(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		from      string
		forwarded []string
		want      string
	}{
		{"192.0.2.1:1234", nil, "192.0.2.1/32"},
		{"192.0.2.1:1234", []string{"198.51.100.1"}, "192.0.2.1/32"}, // anybody can say so
		{"[2001:db8:1:2:3::4]:1", nil, "2001:db8:1:2::/64"},
		{"[fe80::1%eth0]:1", nil, "fe80::/64"},
		{"[::ffff:192.0.2.1]:1", nil, "192.0.2.1/32"},
		{"127.0.0.1:1", nil, "this machine"},
		{"127.0.0.1:1", []string{"198.51.100.1"}, "198.51.100.1/32"},
		{"127.0.0.1:1", []string{"203.0.113.9, 198.51.100.1"}, "198.51.100.1/32"},
		{"[::1]:1", []string{"203.0.113.9", "198.51.100.1"}, "198.51.100.1/32"},
		{"[::ffff:127.0.0.1]:1", []string{"198.51.100.1:4711"}, "198.51.100.1/32"},
		{"@", []string{"[2001:db8:1:2:3::4]:4711"}, "2001:db8:1:2::/64"}, // a Unix socket
		{"", []string{"2001:db8:1:2:3::4"}, "2001:db8:1:2::/64"},
		{"@", []string{"203.0.113.9, unknown"}, "this machine"},
		{"@", []string{""}, "this machine"},
	} {
		req := &http.Request{RemoteAddr: tt.from, Header: http.Header{"X-Forwarded-For": tt.forwarded}}
		if got := sourceOf(req); got != tt.want {
			t.Errorf("from %s, forwarded for %q: %q, want %q", tt.from, tt.forwarded, got, tt.want)
		}
	}
}

// A client that sends nothing, or a byte now and then, is left after a while, and keeps nobody
// else from reporting.
func TestASlowClientIsLeft(t *testing.T) {
	t.Parallel()
	r, _ := listening()
	r.patience = 50 * time.Millisecond
	server := httptest.NewServer(r)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /reports HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	if code := postTo(t, server, reportAbout("api.example.com")); code != http.StatusNoContent {
		t.Errorf("meanwhile another is answered with %d", code)
	}
	answer, err := io.ReadAll(conn) // until the server has closed it
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 408 ") {
		t.Errorf("%q, %v", answer, err)
	}
}

func postTo(t *testing.T, server *httptest.Server, body string) int {
	t.Helper()
	resp, err := server.Client().Post(server.URL, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// More clients at a time than there is room for are told to come again.
func TestSlowClientsTakeNoMoreThanTheirRoom(t *testing.T) {
	t.Parallel()
	r, _ := listening()
	for range maxReading {
		r.room <- struct{}{}
	}
	if w := post(r, "192.0.2.1:1", reportAbout("api.example.com")); w.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d", w.Code)
	}
	<-r.room
	if w := post(r, "192.0.2.1:1", reportAbout("api.example.com")); w.Code != http.StatusNoContent || len(r.room) != maxReading-1 {
		t.Errorf("status %d", w.Code)
	}
}

// interrupted is a body that breaks off.
type interrupted struct{}

func (interrupted) Read([]byte) (int, error) { return 0, errors.New("gone") }

func FuzzReports(f *testing.F) {
	for _, body := range []string{reportAbout("api.example.com"), reportAbout("a"), "", "[]", `{"hostname": 1}`} {
		f.Add(body, "application/json", "198.51.100.1, 192.0.2.1")
	}
	f.Fuzz(func(t *testing.T, body, contentType, forwarded string) {
		r, _ := listening()
		req := httptest.NewRequest(http.MethodPost, "/reports", strings.NewReader(body))
		if len(body)%7 == 6 {
			req.Body = io.NopCloser(io.MultiReader(strings.NewReader(body), interrupted{}))
		}
		req.RemoteAddr, req.Header = "127.0.0.1:1", http.Header{"Content-Type": {contentType}, "X-Forwarded-For": {forwarded}}
		w := httptest.NewRecorder()
		r.ServeHTTP(w, req)
		if !slices.Contains([]int{204, 400, 404, 413, 415}, w.Code) || w.Body.Len() > 4<<10 {
			t.Errorf("status %d, %d bytes", w.Code, w.Body.Len())
		}
		if len(r.queue) > 0 != (w.Code == http.StatusNoContent) {
			t.Errorf("%d reports wait after status %d", len(r.queue), w.Code)
		}
	})
}
