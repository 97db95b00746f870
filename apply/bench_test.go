package apply_test

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-acme/lego/v4/certificate"
	"github.com/go-acme/lego/v4/lego"
	"github.com/go-acme/lego/v4/registration"
	"gopkg.in/yaml.v3"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/internal/acmetest"
	"keepkey/keystore"
	"keepkey/pinset"
	"keepkey/plan"
)

// The benchmarks do a thing with keepkey and the same thing with lego's Certifier,
// against the same CA in the same run, and report how many times faster keepkey
// is. lego waits for seconds at a time, so it does each thing a few times at most.

// legoUser is lego's idea of an account.
type legoUser struct {
	key crypto.PrivateKey
	reg *registration.Resource
}

func (u *legoUser) GetEmail() string                        { return "" }
func (u *legoUser) GetRegistration() *registration.Resource { return u.reg }
func (u *legoUser) GetPrivateKey() crypto.PrivateKey        { return u.key }

// tokens answers HTTP-01 for any number of orders, which lego's own server can't.
type tokens struct{ m sync.Map }

func (p *tokens) Present(_, token, keyAuth string) error { p.m.Store(token, keyAuth); return nil }
func (p *tokens) CleanUp(_, token, _ string) error       { p.m.Delete(token); return nil }
func (p *tokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if keyAuth, ok := p.m.Load(filepath.Base(r.URL.Path)); ok {
		fmt.Fprint(w, keyAuth)
	}
}

// legoClient registers with the world's CA.
func legoClient(b *testing.B, w *world, answers *tokens) *lego.Client {
	b.Helper()
	key, err := keystore.GenerateKey(pinset.EC256)
	if err != nil {
		b.Fatal(err)
	}
	user := &legoUser{key: key}
	cfg := lego.NewConfig(user)
	cfg.CADirURL = w.ca.Directory
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(w.ca.CAPEM)
	cfg.HTTPClient.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	client, err := lego.NewClient(cfg)
	if err != nil {
		b.Fatal(err)
	}
	if user.reg, err = client.Registration.Register(registration.RegisterOptions{TermsOfServiceAgreed: true}); err != nil {
		b.Fatal(err)
	}
	if err := client.Challenge.SetHTTP01Provider(answers); err != nil {
		b.Fatal(err)
	}
	return client
}

// serveTokens answers lego's challenges.
func serveTokens(b *testing.B, w *world, answers *tokens) {
	b.Helper()
	l, err := net.Listen("tcp", w.ca.HTTPAddr)
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: answers}
	go server.Serve(l)
	b.Cleanup(func() { server.Close() })
}

// legoObtain gets a certificate for a stored key as lego does.
func legoObtain(b *testing.B, client *lego.Client, domains ...string) {
	key, err := keystore.GenerateKey(pinset.EC256)
	if err != nil {
		b.Error(err)
		return
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: domains}, key)
	if err != nil {
		b.Error(err)
		return
	}
	parsed, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		b.Error(err)
		return
	}
	if _, err := client.Certificate.ObtainForCSR(certificate.ObtainForCSRRequest{CSR: parsed, Bundle: true}); err != nil {
		b.Error(err)
	}
}

func quiet(w *world) *apply.Runner {
	r := w.runner()
	r.Log = slog.New(slog.DiscardHandler)
	return r
}

// compare reports the metrics that all of these benchmarks have.
func compare(b *testing.B, ours, legos time.Duration, ourRequests, legoRequests float64) {
	b.ReportMetric(ours.Seconds()*1000, "ms")
	b.ReportMetric(legos.Seconds()/ours.Seconds(), "x-faster-than-lego")
	b.ReportMetric(ourRequests, "requests")
	b.ReportMetric(legoRequests, "lego-requests")
}

func benchmarkNames(b *testing.B, names int) {
	w := newWorld(b, acmetest.Options{})
	var domains []string
	for i := range names {
		domains = append(domains, fmt.Sprintf("n%d.example.com", i))
	}
	cert := w.cert("api", domains...)
	r := quiet(w)
	if rep := r.Renew(b.Context(), cert, apply.Options{}); len(rep.Problems) > 0 {
		b.Fatal(problems(rep))
	}
	w.ca.Requests()
	n := 0
	start := time.Now()
	for b.Loop() {
		if rep := r.Renew(b.Context(), cert, force); len(rep.Problems) > 0 {
			b.Fatal(problems(rep))
		}
		n++
	}
	ours := time.Since(start) / time.Duration(n)
	ourRequests := float64(len(w.ca.Requests())) / float64(n)

	answers := &tokens{}
	serveTokens(b, w, answers)
	client := legoClient(b, w, answers)
	w.ca.Requests()
	times := max(3/names, 1) // with one name it depends on luck
	start = time.Now()
	for range times {
		legoObtain(b, client, domains...)
	}
	compare(b, ours, time.Since(start)/time.Duration(times), ourRequests, float64(len(w.ca.Requests())/times))
}

func BenchmarkRenewal(b *testing.B)  { benchmarkNames(b, 1) }
func BenchmarkTenNames(b *testing.B) { benchmarkNames(b, 10) }

// BenchmarkSingleRun is one renewal by a process that has just started, but for
// its start: it reads the directory, needs a first nonce, and connects.
func BenchmarkSingleRun(b *testing.B) {
	w := newWorld(b, acmetest.Options{})
	cert := w.cert("api", "api.example.com")
	if rep := quiet(w).Renew(b.Context(), cert, apply.Options{}); len(rep.Problems) > 0 {
		b.Fatal(problems(rep))
	}
	w.ca.Requests()
	n := 0
	start := time.Now()
	for b.Loop() {
		r := quiet(w)
		if rep := r.Renew(b.Context(), cert, force); len(rep.Problems) > 0 {
			b.Fatal(problems(rep))
		}
		r.Close()
		n++
	}
	ours := time.Since(start) / time.Duration(n)
	ourRequests := float64(len(w.ca.Requests())) / float64(n)

	const times = 3 // it depends on luck
	answers := &tokens{}
	serveTokens(b, w, answers)
	start = time.Now()
	for range times {
		legoObtain(b, legoClient(b, w, answers), "lego.example.com")
	}
	compare(b, ours, time.Since(start)/times, ourRequests, float64(len(w.ca.Requests())/times))
}

// BenchmarkEightAtATime renews many certificates, eight at a time; Pebble takes
// part of the same processors.
func BenchmarkEightAtATime(b *testing.B) {
	const at, certs, legoCerts = 8, 64, 16
	w := newWorld(b, acmetest.Options{})
	r := quiet(w)
	crowd := func(n int, do func(i int)) time.Duration {
		start := time.Now()
		next := make(chan int)
		var wg sync.WaitGroup
		for range at {
			wg.Go(func() {
				for i := range next {
					do(i)
				}
			})
		}
		for i := range n {
			next <- i
		}
		close(next)
		wg.Wait()
		return time.Since(start)
	}
	renew := func(i int) {
		cert := w.cert(fmt.Sprintf("n%d", i), fmt.Sprintf("n%d.example.com", i))
		if rep := r.Renew(b.Context(), cert, force); len(rep.Problems) > 0 {
			b.Error(problems(rep))
		}
	}
	crowd(certs, renew) // the keys and first certificates
	var total time.Duration
	n := 0
	for b.Loop() {
		total += crowd(certs, renew)
		n += certs
	}
	ours := float64(n) / total.Seconds()
	answers := &tokens{}
	serveTokens(b, w, answers)
	client := legoClient(b, w, answers)
	legos := float64(legoCerts) / crowd(legoCerts, func(i int) { legoObtain(b, client, fmt.Sprintf("l%d.example.com", i)) }).Seconds()
	b.ReportMetric(ours, "certificates/s")
	b.ReportMetric(ours/legos, "x-faster-than-lego")
}

// BenchmarkNothingDue looks at a thousand certificates of which none is due, as a
// timer's run does most of the time, and at the same files with a program that
// opens, reads and parses each and does nothing else.
func BenchmarkNothingDue(b *testing.B) {
	const certs = 1000
	w := newWorld(b, acmetest.Options{})
	var doc strings.Builder
	fmt.Fprintf(&doc, "state: state\nacme: {directory: %q, ca_bundle: ca.pem, accept_terms: true}\ndefaults: {challenge: {http-01: {listen: %q}}}\ncertificates:\n", w.ca.Directory, w.ca.HTTPAddr)
	for i := range certs {
		fmt.Fprintf(&doc, "  - {name: n%d, domains: [n%d.example.com]}\n", i, i)
	}
	file := w.write("config.yaml", []byte(doc.String()))
	run := func() *config.Config {
		cfg, err := config.Load(file, nil)
		if err != nil {
			b.Fatal(err)
		}
		for _, rep := range all(b, quiet(w), cfg.Certificates, apply.Options{}) {
			if len(rep.Problems) > 0 {
				b.Error(problems(rep))
			}
		}
		return cfg
	}
	cfg := run() // issues them all
	w.ca.Requests()
	var ours, bare time.Duration
	for b.Loop() {
		start := time.Now()
		run()
		ours += time.Since(start)
		start = time.Now()
		bareScan(b, file, filepath.Join(w.dir, "state"), cfg.Certificates)
		bare += time.Since(start)
	}
	if asked := w.ca.Requests(); len(asked) > 0 {
		b.Errorf("the CA was asked: %q", asked[0])
	}
	b.ReportMetric(float64(ours)/float64(bare), "x-bare-scan")
}

// bareScan opens, reads and parses what a run with nothing due has to look at.
func bareScan(b *testing.B, configFile, state string, certs []config.Certificate) {
	read := func(path string) []byte {
		data, err := os.ReadFile(path)
		if err != nil {
			b.Fatal(err)
		}
		return data
	}
	var anything any
	if err := yaml.Unmarshal(read(configFile), &anything); err != nil {
		b.Fatal(err)
	}
	for _, cert := range certs {
		dir := filepath.Join(state, "lineages", cert.Name)
		var records struct{ State plan.State }
		if err := json.Unmarshal(read(filepath.Join(dir, "state.json")), &records); err != nil {
			b.Fatal(err)
		}
		s := records.State
		files := []string{filepath.Join(dir, "live/privkey.pem")}
		for _, k := range s.Keys { // none is retired
			files = append(files, filepath.Join(dir, "keys", k.Pin.Hex()+".pem"))
		}
		for _, f := range files {
			if _, err := keystore.ParseKey(read(f)); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := keystore.CheckChain(read(filepath.Join(dir, "live/fullchain.pem")), keystore.Want{Pin: s.Certificate.Pin, Domains: s.Certificate.Domains}); err != nil {
			b.Fatal(err)
		}
	}
}
