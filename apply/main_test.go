package apply_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/internal/acmetest"
	"keepkey/keystore"
	"keepkey/pinset"
	"keepkey/plan"
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
	w := &world{t: t, ca: ca, dir: t.TempDir(), log: &logBuffer{}, requestTimeout: 20 * time.Second}
	w.write("ca.pem", ca.CAPEM)
	w.store, err = keystore.OpenLocked(filepath.Join(w.dir, "state"), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
	return w
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
		Name: name, Domains: domains, KeyType: pinset.EC256, Backups: 1,
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

// mustRenew expects a run without problems, and returns what is live then.
func (w *world) mustRenew(cert config.Certificate, o apply.Options) *x509.Certificate {
	w.t.Helper()
	rep := w.renew(cert, o)
	if len(rep.Problems) > 0 {
		w.t.Fatalf("%s: %q\n%s", cert.Name, rep.Problems, w.log)
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
	data, err := os.ReadFile(filepath.Join(l.LiveDir(), "fullchain.pem"))
	if err != nil {
		w.t.Fatal(err)
	}
	keyPEM, err := os.ReadFile(filepath.Join(l.LiveDir(), "privkey.pem"))
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

func (w *world) state(cert config.Certificate) *plan.State {
	w.t.Helper()
	in, _, err := w.runner().Plan(context.Background(), cert, apply.Options{})
	if err != nil || in.State == nil {
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
		if err != nil || path == root || d.Name() == "state.json" {
			return err
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
