package apply_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"keepkey/acme"
	"keepkey/apply"
	"keepkey/config"
	"keepkey/internal/acmetest"
	"keepkey/keystore"
	"keepkey/pinset"
	"keepkey/plan"
	"keepkey/status"
)

// world is a state directory and a CA.
type world struct {
	t     testing.TB
	ca    *acmetest.Server
	dir   string
	store *keystore.Store
	log   *logBuffer
	// offset moves keepkey's clock; the CA's stays.
	offset         time.Duration
	requestTimeout time.Duration
}

func newWorld(t testing.TB, o acmetest.Options) *world {
	t.Helper()
	ca, err := acmetest.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ca.Close)
	w := &world{t: t, ca: ca, dir: fastDir(t), log: &logBuffer{}, requestTimeout: 20 * time.Second}
	w.write("ca.pem", ca.CAPEM)
	w.store, err = keystore.OpenLocked(filepath.Join(w.dir, "state"), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
	return w
}

// fastDir is a directory in memory, where there is such a thing: each run syncs some
// dozens of files.
func fastDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "keepkey-apply-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// texts is what a person reads of findings: for each its lines.
func texts(name string, findings []plan.Finding) []string {
	var all []string
	for _, f := range findings {
		all = append(all, strings.Join(status.ProblemOf(name, f).Lines(), "\n"))
	}
	return all
}

// codes are the codes of findings, in order.
func codes(findings []plan.Finding) []plan.Code {
	var all []plan.Code
	for _, f := range findings {
		all = append(all, f.Code)
	}
	return all
}

// problems is what a person reads of a report's problems.
func problems(rep apply.Report) []string { return texts(rep.Name, rep.Problems) }

// only returns the text of the one problem of a run that failed in one way, or "" with
// an error of the test.
func (w *world) only(rep apply.Report, code plan.Code) string {
	w.t.Helper()
	if len(rep.Problems) != 1 || rep.Problems[0].Code != code {
		w.t.Errorf("problems %q, want one with the code %s", problems(rep), code)
		return ""
	}
	return problems(rep)[0]
}

// refusal returns what a person reads of a refusal with a code, or "" when the error is
// not one.
func refusal(err error, code plan.Code) string {
	var refused *plan.Refusal
	if !errors.As(err, &refused) || refused.Finding.Code != code {
		return ""
	}
	return texts(refused.Lineage, []plan.Finding{refused.Finding})[0]
}

// in is the world as a subtest sees it.
func (w *world) in(t *testing.T) *world {
	c := *w
	c.t = t
	return &c
}

func (w *world) write(name string, data []byte) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

func (w *world) now() time.Time { return time.Now().Add(w.offset) }

// cert configures a certificate, answered by HTTP-01 from keepkey's listener.
func (w *world) cert(name string, domains ...string) config.Certificate {
	return config.Certificate{
		Name: name, Domains: domains, KeyType: pinset.EC256, Backups: 1, NobodyPins: true,
		ACME:      config.ACME{Directory: w.ca.Directory, AcceptTerms: true, CABundle: filepath.Join(w.dir, "ca.pem")},
		Challenge: config.Challenge{HTTP01: &config.HTTP01{Listen: w.ca.HTTPAddr}},
	}
}

// runner is what a new process would have.
func (w *world) runner() *apply.Runner {
	w.ca.SetClock(w.offset)
	r := &apply.Runner{
		Store: w.store, Now: w.now, UserAgent: "keepkey/test", RequestTimeout: w.requestTimeout,
		Log: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	w.t.Cleanup(r.Close)
	return r
}

// renew is one run of a new process.
func (w *world) renew(cert config.Certificate, o apply.Options) apply.Report {
	return w.runner().Renew(w.t.Context(), cert, o)
}

// all is one run over many certificates, eight at a time.
func all(t testing.TB, r *apply.Runner, certs []config.Certificate, o apply.Options) []apply.Report {
	watch := &reports{all: make([]apply.Report, len(certs))}
	r.All(t.Context(), certs, o, 8, watch)
	return watch.all
}

// reports collects the reports of a run over many certificates.
type reports struct{ all []apply.Report }

func (r *reports) Begin(string)                {}
func (r *reports) End(i int, rep apply.Report) { r.all[i] = rep }

// mustRenew expects a run without problems, and returns what is live then.
func (w *world) mustRenew(cert config.Certificate, o apply.Options) *x509.Certificate {
	w.t.Helper()
	rep := w.renew(cert, o)
	if len(rep.Problems) > 0 {
		w.t.Fatalf("%s: %q\n%s", cert.Name, problems(rep), w.log)
	}
	return w.live(cert)
}

// live reads what a server would, and proves that certificate and key match (I3).
func (w *world) live(cert config.Certificate) *x509.Certificate {
	w.t.Helper()
	l, err := w.store.Lineage(cert.Name)
	if err != nil {
		w.t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(l.Live.Dir(), "fullchain.pem"))
	if err != nil {
		w.t.Fatal(err)
	}
	keyPEM, err := os.ReadFile(filepath.Join(l.Live.Dir(), "privkey.pem"))
	if err != nil {
		w.t.Fatal(err)
	}
	key, err := keystore.ParseKey(keyPEM)
	if err != nil {
		w.t.Fatal(err)
	}
	pin, err := pinset.Of(key.Public())
	if err != nil {
		w.t.Fatal(err)
	}
	chain, err := keystore.CheckChain(data, keystore.Want{Pin: pin, Domains: cert.Domains, Now: w.now()})
	if err != nil {
		w.t.Fatal(err)
	}
	return chain.Leaf()
}

func (w *world) state(cert config.Certificate) plan.State {
	w.t.Helper()
	in, _, err := w.runner().Plan(context.Background(), cert, apply.Options{})
	if err != nil || in.State.IsZero() {
		w.t.Fatalf("state of %s: %v", cert.Name, err)
	}
	return in.State
}

// snapshot describes all files of a lineage but its state: names, modes, times
// and content.
func (w *world) snapshot(cert config.Certificate) string {
	w.t.Helper()
	var b strings.Builder
	root := filepath.Join(w.dir, "state", "lineages", cert.Name)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root || d.Name() == "state.json" || d.Name() == "journal.jsonl" {
			return err // where failures are noted
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		b.WriteString(path + " " + info.Mode().String() + " " + info.ModTime().String())
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			b.Write(data)
		}
		b.WriteString("\n")
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return b.String()
}

func decodePEM(t *testing.T, data []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(data)
	if block == nil {
		t.Fatalf("no PEM block: %q", data)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
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

func TestMain(m *testing.M) {
	acme.SetLogger(slog.New(slog.DiscardHandler))
	flag.Set("rapid.checks", "40") // unless the command line says otherwise
	os.Exit(m.Run())
}
