package acme_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keepkey/acme"
	"keepkey/internal/acmetest"
)

func TestChallenges(t *testing.T) {
	t.Parallel()
	for name, solver := range map[string]func(*acmetest.Server) *acme.Solver{
		"http-01":     func(ca *acmetest.Server) *acme.Solver { return acme.NewHTTP01(ca.HTTPAddr) },
		"tls-alpn-01": func(ca *acmetest.Server) *acme.Solver { return acme.NewTLSALPN01(ca.TLSAddr) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, acmetest.Options{})
			c := w.client()
			r := w.request(name+".example.com", "second."+name+".example.com")
			r.solver = solver(w.ca)
			for range 2 {
				w.mustObtain(c, r)
				for _, addr := range []string{w.ca.HTTPAddr, w.ca.TLSAddr} {
					if conn, err := net.Dial("tcp", addr); err == nil {
						conn.Close()
						t.Errorf("somebody still listens on %s", addr)
					}
				}
			}
		})
	}
}

// While a challenge is up, its listener says nothing else to anybody.
func TestListenersAnswerNothingButTheChallenge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	c := w.client()
	t.Run("http-01", func(t *testing.T) {
		token := ""
		w.ca.Misbehave(hear(acmetest.Challenge, func(map[string]any) {
			for path, want := range map[string]int{
				"/": 404, "/.well-known/acme-challenge/": 404, "/.well-known/acme-challenge/x": 404, "//.well-known/acme-challenge/x": 404,
				"/.well-known/acme-challenge/../../etc/passwd": 404,
			} {
				if got, body := httpGet(t, w.ca.HTTPAddr, path); got != want {
					t.Errorf("%s: %d %q", path, got, body)
				}
			}
			token = "asked"
		}))
		defer w.ca.Misbehave(nil)
		w.mustObtain(c, w.request("api.example.com"))
		if token == "" {
			t.Error("nothing was looked at")
		}
	})
	t.Run("tls-alpn-01", func(t *testing.T) {
		looked := false
		w.ca.Misbehave(hear(acmetest.Challenge, func(map[string]any) {
			for name, config := range map[string]*tls.Config{
				"another name":     {ServerName: "www.example.com", NextProtos: []string{"acme-tls/1"}},
				"another protocol": {ServerName: "api.example.com", NextProtos: []string{"http/1.1"}},
				"no protocol":      {ServerName: "api.example.com"},
			} {
				config.InsecureSkipVerify = true
				conn, err := tls.Dial("tcp", w.ca.TLSAddr, config)
				if err == nil {
					conn.Close()
					t.Errorf("%s: the handshake succeeded", name)
				}
			}
			looked = true
		}))
		defer w.ca.Misbehave(nil)
		r := w.request("api.example.com")
		r.solver = acme.NewTLSALPN01(w.ca.TLSAddr)
		w.mustObtain(c, r)
		if !looked {
			t.Error("nothing was looked at")
		}
	})
}

// httpGet asks for a path as it stands, which http.Get would clean.
func httpGet(t *testing.T, addr, path string) (status int, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: api.example.com\r\nConnection: close\r\n\r\n", path)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer resp.Body.Close()
	data, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(data)
}

// serveFiles is a web server of somebody else's.
func serveFiles(t *testing.T, addr, root string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.FileServer(http.Dir(root))}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
}

func TestWebroot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	root := t.TempDir()
	serveFiles(t, w.ca.HTTPAddr, root)
	r := w.request("api.example.com", "www.example.com")
	r.solver = acme.NewWebroot(root)
	w.mustObtain(w.client(), r)
	left, err := os.ReadDir(filepath.Join(root, ".well-known/acme-challenge"))
	if err != nil || len(left) != 0 {
		t.Errorf("%d tokens were left behind (%v)", len(left), err)
	}
}

func TestWebrootThatLeadsOutsideIsNotFollowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	root, outside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(root, ".well-known")); err != nil {
		t.Fatal(err)
	}
	r := w.request("api.example.com")
	r.solver = acme.NewWebroot(root)
	_, err := obtain(t.Context(), w.client(), r)
	wantError(t, err, "webroot "+root)
	if left, _ := os.ReadDir(outside); len(left) != 0 {
		t.Error("something was written outside of the webroot")
	}
}

func TestWebrootThatIsNotThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	r := w.request("api.example.com")
	r.solver = acme.NewWebroot(filepath.Join(t.TempDir(), "none"))
	_, err := obtain(t.Context(), w.client(), r)
	wantError(t, err, "webroot", "no such file")
}

func TestPortThatCannotBeHad(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	serveFiles(t, w.ca.HTTPAddr, t.TempDir())
	for name, tt := range map[string]struct {
		solver *acme.Solver
		want   []string
	}{
		"taken, http-01":     {w.http01(), []string{w.ca.HTTPAddr, "another program listens", "webroot"}},
		"taken, tls-alpn-01": {acme.NewTLSALPN01(w.ca.HTTPAddr), []string{w.ca.HTTPAddr, "another program listens", "dns-01"}},
		"not an address":     {acme.NewHTTP01("nowhere"), []string{"HTTP-01 listener"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := w.request("api.example.com", "www.example.com")
			r.solver = tt.solver
			for range 2 { // the first failure must not leave anything behind
				_, err := obtain(t.Context(), w.client(), r)
				wantError(t, err, tt.want...)
			}
		})
	}
}

func TestChallengeThatFailsIsNamedWithTheCAsReason(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	r := w.request("api.example.com", "bad.example.com")
	r.solver = acme.NewWebroot(t.TempDir()) // which nobody serves
	_, err := obtain(t.Context(), w.client(), r)
	wantError(t, err, "http-01 challenge for bad.example.com", "http-01 challenge for api.example.com", `"invalid"`, "connection", "see that bad.example.com leads to this machine from the internet, and port 80 to keepkey or the webroot")
}

func TestAuthorizationsThatAreValidAreNotProvenAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{AuthzReuse: 100})
	c := w.client()
	w.mustObtain(c, w.request("api.example.com"))
	w.ca.Requests()
	r := w.request("api.example.com")
	r.solver = acme.NewHTTP01("nowhere") // which would fail
	w.mustObtain(c, r)
	if n := w.count(acmetest.Challenge); n != 0 {
		t.Errorf("%d challenges were answered", n)
	}
}

func TestSolverOfAnotherTypeThanTheCAOffers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	r := w.request("*.example.com") // for which there is only dns-01
	_, err := obtain(t.Context(), w.client(), r)
	wantError(t, err, "offers no http-01 challenge for *.example.com", "dns-01")
	if !strings.Contains(err.Error(), "dns-01") {
		t.Error(err)
	}
}
