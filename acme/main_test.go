package acme_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"keepkey/acme"
	"keepkey/internal/acmetest"
)

// world is a CA, and what a program that gets certificates from it has on disk: the
// account's key and URL.
type world struct {
	t   testing.TB
	ca  *acmetest.Server
	log *logBuffer
	cfg acme.Config
}

func newWorld(t testing.TB, o acmetest.Options) *world {
	t.Helper()
	ca, err := acmetest.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ca.Close)
	w := &world{t: t, ca: ca, log: &logBuffer{}}
	w.cfg = acme.Config{
		Directory: ca.Directory, Roots: x509.NewCertPool(), UserAgent: "keepkey/test", AcceptTerms: true,
		AccountKey: newKey(t), AccountKeyFresh: true,
		SaveAccount: func(url, email string) error {
			w.cfg.AccountURL, w.cfg.AccountEmail, w.cfg.AccountKeyFresh = url, email, false
			return nil
		},
		Now: time.Now, RequestTimeout: 20 * time.Second,
		Logger: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if !w.cfg.Roots.AppendCertsFromPEM(ca.CAPEM) {
		t.Fatal("the CA's own certificate is not in PEM")
	}
	return w
}

// connect is what a new process does first.
func (w *world) connect() (*acme.Client, error) {
	c, err := acme.Connect(w.t.Context(), w.cfg)
	if err == nil {
		w.t.Cleanup(c.Close)
	}
	return c, err
}

func (w *world) client() *acme.Client {
	w.t.Helper()
	c, err := w.connect()
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// http01 answers challenges from a listener of its own.
func (w *world) http01() *acme.Solver { return acme.NewHTTP01(w.ca.HTTPAddr) }

// request is one certificate that is asked for.
type request struct {
	acme.OrderRequest
	solver *acme.Solver
	chain  string // preferred
	key    crypto.Signer
}

func (w *world) request(domains ...string) request {
	return request{OrderRequest: acme.OrderRequest{Domains: domains}, solver: w.http01(), key: newKey(w.t)}
}

// obtain takes all steps from the order to the certificate.
func obtain(ctx context.Context, c *acme.Client, r request) ([]byte, error) {
	order, err := c.NewOrder(ctx, r.OrderRequest)
	if err != nil {
		return nil, err
	}
	return finish(ctx, c, r, order)
}

// finish takes all steps that follow an order.
func finish(ctx context.Context, c *acme.Client, r request, order acme.Order) ([]byte, error) {
	if err := c.Authorize(ctx, order, r.Domains, r.solver); err != nil {
		return nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: r.Domains}, r.key)
	if err != nil {
		return nil, err
	}
	if order, err = c.Finalize(ctx, order, csr); err != nil {
		return nil, err
	}
	return c.Certificate(ctx, order, r.chain)
}

// mustObtain expects a certificate for what was asked for.
func (w *world) mustObtain(c *acme.Client, r request) []*x509.Certificate {
	w.t.Helper()
	data, err := obtain(w.t.Context(), c, r)
	if err != nil {
		w.t.Fatalf("%s: %v\n%s", r.Domains, err, w.log)
	}
	return w.chain(data, r)
}

func (w *world) chain(data []byte, r request) []*x509.Certificate {
	w.t.Helper()
	var chain []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			w.t.Fatal(err)
		}
		chain = append(chain, cert)
	}
	if len(chain) < 2 {
		w.t.Fatalf("a chain of %d certificates", len(chain))
	}
	if pub := r.key.Public().(*ecdsa.PublicKey); !pub.Equal(chain[0].PublicKey) {
		w.t.Error("the certificate is for another key")
	}
	for _, d := range r.Domains {
		if err := chain[0].VerifyHostname(strings.Replace(d, "*", "a", 1)); err != nil {
			w.t.Error(err)
		}
	}
	return chain
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// wantError expects an error that says something and is fit to be shown.
func wantError(t testing.TB, err error, says ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one that says %q", says)
		return
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("got %.600q, want an error that says %q", err, s)
		}
	}
	if text := err.Error(); len(text) > 2000 || strings.ContainsAny(text, "\x1b\n\r") {
		t.Errorf("the error is not fit to be shown: %.600q", text)
	}
}

// count returns how many of the requests since the last call were to an endpoint.
func (w *world) count(e acmetest.Endpoint) int { return count(w.ca.Requests(), e) }

func count(requests []string, e acmetest.Endpoint) int {
	n := 0
	for _, r := range requests {
		if _, path, _ := strings.Cut(r, " "); strings.HasPrefix(path, string(e)) {
			n++
		}
	}
	return n
}

// hear lets f hear what clients tell an endpoint: the payload of each request.
func hear(e acmetest.Endpoint, f func(payload map[string]any)) acmetest.Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, string(e)) {
				body, _ := io.ReadAll(r.Body)
				r.Body = io.NopCloser(bytes.NewReader(body))
				var jws struct{ Payload string }
				var payload map[string]any
				if json.Unmarshal(body, &jws) == nil {
					raw, _ := base64.RawURLEncoding.DecodeString(jws.Payload)
					json.Unmarshal(raw, &payload)
				}
				f(payload)
			}
			next.ServeHTTP(rw, r)
		})
	}
}

// once puts a fault in the way of the first request to an endpoint only.
func once(e acmetest.Endpoint, fault acmetest.Fault) acmetest.Fault {
	var first sync.Once
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			h := next
			if strings.HasPrefix(r.URL.Path, string(e)) {
				first.Do(func() { h = fault(next) })
			}
			h.ServeHTTP(rw, r)
		})
	}
}

// setJSON sets one member of the objects in an endpoint's answers.
func setJSON(e acmetest.Endpoint, key string, value any) acmetest.Fault {
	return acmetest.ChangeJSON(e, func(doc map[string]any) { doc[key] = value })
}

// logBuffer collects logs from many goroutines.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// What lego's exec provider runs is this test binary.
func TestMain(m *testing.M) {
	if server := os.Getenv(playDNS); server != "" {
		if err := playDNSScript(server, os.Getenv(playDNSLog), os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}
