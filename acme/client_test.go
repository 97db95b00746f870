package acme_test

import (
	"bytes"
	"crypto/x509"
	stdlog "log"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-acme/lego/v4/log"

	"keepkey/acme"
	"keepkey/internal/acmetest"
)

func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	c := w.client()
	asked, left := make(chan struct{}), make(chan struct{})
	w.ca.Misbehave(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path != string(acmetest.NewOrder) {
				next.ServeHTTP(rw, r)
				return
			}
			close(asked)
			<-r.Context().Done()
			close(left)
		})
	})
	go func() {
		<-asked
		c.Close()
	}()
	_, err := obtain(t.Context(), c, w.request("api.example.com"))
	wantError(t, err, "the ACME client is closed")
	<-left // the request itself has ended, too
	_, err = obtain(t.Context(), c, w.request("api.example.com"))
	wantError(t, err, "the ACME client is closed")
}

func TestSkewIsTheCAsClockBesideOurs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	for _, ahead := range []time.Duration{0, time.Hour, -400 * 24 * time.Hour} {
		w.ca.SetClock(ahead)
		skew, known := w.client().Skew()
		if off := (skew - ahead).Abs(); !known || off > 2*time.Second {
			t.Errorf("%s ahead: got %s, %v", ahead, skew, known)
		}
	}
	// What it told is old once the clock says something else, which may be wrong now.
	var now atomic.Int64
	w.cfg.Now = func() time.Time { return time.Now().Add(time.Duration(now.Load())) }
	w.ca.SetClock(0)
	c := w.client()
	for _, set := range []time.Duration{11 * time.Minute, -time.Minute, 400 * 24 * time.Hour} {
		now.Store(int64(set))
		if skew, known := c.Skew(); known {
			t.Errorf("after the clock was set by %s: got %s", set, skew)
		}
		if err := c.AskTime(t.Context()); err != nil {
			t.Fatal(err)
		}
		if skew, known := c.Skew(); !known || (skew+set).Abs() > 2*time.Second {
			t.Errorf("set by %s: got %s, %v", set, skew, known)
		}
	}
	// Nor does an answer count in the course of which it is set.
	now.Store(0)
	w.ca.Misbehave(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			now.Store(int64(18 * time.Hour))
			next.ServeHTTP(rw, r)
		})
	})
	if skew, known := w.client().Skew(); known {
		t.Errorf("the clock was set meanwhile: got %s", skew)
	}
	w.cfg.IgnoreClock = true
	if skew, known := w.client().Skew(); known {
		t.Errorf("a clock to be ignored: got %s", skew)
	}
	w.cfg.IgnoreClock = false
	w.ca.Misbehave(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			rw.Header()["Date"] = nil // or the server adds its own
			next.ServeHTTP(rw, r)
		})
	})
	if skew, known := w.client().Skew(); known {
		t.Errorf("a CA that does not tell its time: got %s", skew)
	}
}

// Not parallel: these loggers are the process's.
func TestWhatLibrariesLogIsForDebugging(t *testing.T) {
	var b bytes.Buffer
	acme.SetLogger(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug})))
	defer acme.SetLogger(slog.New(slog.DiscardHandler))
	log.Infof("hello %s\x1b[2J", "world")
	log.Warnf("take care")
	log.Println("plain", "words")
	log.Print("and more")
	stdlog.Print("Unsolicited response received on idle HTTP channel\x1b[2J") // as net/http does
	for i, want := range []string{
		`level=DEBUG msg=lego text="hello world\x1b[2J"`, `level=WARN msg=lego text="take care"`,
		`level=DEBUG msg=lego text="plain words"`, `level=DEBUG msg=lego text="and more"`,
		`level=DEBUG msg=go text="Unsolicited response received on idle HTTP channel\x1b[2J"`,
	} {
		if line := strings.Split(b.String(), "\n")[i]; !strings.HasSuffix(line, want) {
			t.Errorf("got %q, want %q", line, want)
		}
	}
	for _, fatal := range []func(){func() { log.Fatal("x") }, func() { log.Fatalf("x") }} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("a library would have ended the process, or gone on")
				}
			}()
			fatal()
		}()
	}
}

func TestWrongCAsAreExplained(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	good := w.cfg
	for want, roots := range map[string]*x509.CertPool{
		"is not trusted; a private CA's root certificate goes into a file that ca_bundle names":  nil,
		"is not trusted: its certificate was not issued by one in the file that ca_bundle names": x509.NewCertPool(),
	} {
		w.cfg.Roots = roots
		_, err := w.connect()
		wantError(t, err, want)
		if !acme.Unanswered(err) {
			t.Error("it counts as an answer")
		}
	}
	w.cfg = good
	w.cfg.Directory += "ectory"
	_, err := w.connect()
	wantError(t, err, "there is no ACME directory at that URL")
}
