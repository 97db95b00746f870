package acme_test

import (
	"net/http"
	"strings"
	"testing"

	"keepkey/internal/acmetest"
)

func TestPreferredChain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{AlternateRoots: 2})
	root, err := w.ca.Root(2)
	if err != nil {
		t.Fatal(err)
	}
	c := w.client()
	top := func(preferred string) string {
		t.Helper()
		r := w.request("api.example.com")
		r.chain = preferred
		chain := w.mustObtain(c, r)
		return chain[len(chain)-1].Issuer.CommonName
	}
	usual := top("")
	if usual == root.Subject.CommonName {
		t.Fatal("the default chain is the one to be preferred: the test would prove nothing")
	}
	w.ca.Requests()
	if got := top(usual); got != usual || w.count(acmetest.Certificate) != 1 {
		t.Errorf("the chain ends with %q, want the default one and no further download", got)
	}
	if got := top(root.Subject.CommonName); got != root.Subject.CommonName {
		t.Errorf("the chain ends with %q, want %q", got, root.Subject.CommonName)
	}
	if got := top("Nobody"); got != usual {
		t.Errorf("the chain ends with %q, want the default one", got)
	}
	if !strings.Contains(w.log.String(), "no chain of the preferred issuer") {
		t.Error("no warning about a preferred chain that is not offered")
	}
}

func TestHeadersWithoutEndAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	w.ca.Misbehave(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, string(acmetest.Authorization)) {
				rw.Header().Set("X-Padding", strings.Repeat("x", 1<<20))
			}
			next.ServeHTTP(rw, r)
		})
	})
	_, err := obtain(t.Context(), w.client(), w.request("api.example.com"))
	wantError(t, err, "no answer from")
}

func TestAlternateChainsOfAHostileCA(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		links     []string
		downloads int
		want      string // in the error
	}{
		"at no URL":          {[]string{`<file:///etc/passwd>;rel="alternate"`, `<>;rel="alternate"`, `;rel="alternate"`}, 1, ""},
		"without number":     {strings.Split(strings.Repeat(`<DEFAULT>;rel="alternate"|`, 100), "|"), 11, ""},
		"that are not there": {[]string{`<DEFAULTnone>;rel="alternate"`}, 2, "certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, acmetest.Options{})
			w.ca.Misbehave(func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					if strings.HasPrefix(r.URL.Path, string(acmetest.Certificate)) {
						for _, link := range tt.links {
							rw.Header().Add("Link", strings.ReplaceAll(link, "DEFAULT", "https://"+r.Host+r.URL.Path))
						}
					}
					next.ServeHTTP(rw, r)
				})
			})
			r := w.request("api.example.com")
			r.chain = "Nobody"
			data, err := obtain(t.Context(), w.client(), r)
			if tt.want == "" && err != nil {
				t.Error(err)
			} else if tt.want == "" {
				w.chain(data, r)
			} else {
				wantError(t, err, tt.want)
			}
			if n := w.count(acmetest.Certificate); n != tt.downloads {
				t.Errorf("%d downloads, want %d", n, tt.downloads)
			}
		})
	}
}

// What the CA sends for a certificate is handed back as it is.
func TestCertificateIsNotJudged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	w.ca.Misbehave(acmetest.Respond(acmetest.Certificate, 200, nil, []byte("<html>\x1b[31m</html>")))
	for _, preferred := range []string{"", "Nobody"} {
		r := w.request("api.example.com")
		r.chain = preferred
		data, err := obtain(t.Context(), w.client(), r)
		if string(data) != "<html>\x1b[31m</html>" || err != nil {
			t.Errorf("got %q, %v", data, err)
		}
	}
}
