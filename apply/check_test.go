package apply_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/internal/acmetest"
	"keepkey/keystore"
	"keepkey/pinset"
	"keepkey/plan"
)

// serveTLS is a server that presents what get returns at each handshake.
func serveTLS(t *testing.T, get func() (*tls.Certificate, error)) (addr string) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return get() },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func(c net.Conn) {
				defer c.Close()
				_ = c.(*tls.Conn).Handshake()
			}(conn)
		}
	}()
	return l.Addr().String()
}

// stranger is a self-signed certificate for a key that keepkey does not know.
func stranger(t *testing.T) *tls.Certificate {
	t.Helper()
	key, err := keystore.GenerateKey(pinset.EC256)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"api.example.com"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key.(crypto.PrivateKey).(*ecdsa.PrivateKey)}
}

func TestServerIsLookedAtAfterADeploy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	live := filepath.Join(w.dir, "state/lineages/api/live")
	cert := w.cert("api", "api.example.com")
	w.mustRenew(cert, apply.Options{})
	good := serveTLS(t, func() (*tls.Certificate, error) {
		c, err := tls.LoadX509KeyPair(filepath.Join(live, "fullchain.pem"), filepath.Join(live, "privkey.pem"))
		return &c, err
	})
	cert.Check = []string{good}
	if rep := w.renew(cert, force); len(rep.Problems) > 0 || !rep.Did(plan.Check) {
		t.Errorf("done %v, problems %q: want a look at the server", rep.Done, rep.Problems)
	}
	if rep := w.renew(cert, apply.Options{}); len(rep.Done) != 0 {
		t.Errorf("done %v: the server was seen to be right", rep.Done)
	}
}

func TestFirstRunStopsWhereClientsMayKnowAnotherKey(t *testing.T) {
	t.Parallel()
	other := stranger(t)
	addr := serveTLS(t, func() (*tls.Certificate, error) { return other, nil })
	for name, change := range map[string]func(w *world, cert *config.Certificate){
		"served already": func(_ *world, cert *config.Certificate) { cert.Check = []string{addr} },
		"published already": func(w *world, cert *config.Certificate) {
			cert.Channels = []config.Channel{{Name: "app", Format: "json", Lifetime: pinset.Lifetime{Duration: time.Hour},
				Publish: []config.Hook{{File: w.write("pins.json", []byte("{}"))}}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, acmetest.Options{})
			cert := w.cert("api", "api.example.com")
			change(w, &cert)
			rep := w.renew(cert, force)
			if len(rep.Done) != 0 || len(rep.Problems) != 1 || !strings.Contains(rep.Problems[0], "keepkey renew --name api --new-lineage") {
				t.Fatalf("done %v, problems %q: want a stop that says what to type", rep.Done, rep.Problems)
			}
			if asked := w.ca.Requests(); len(asked) != 0 {
				t.Errorf("the CA was asked: %q", asked)
			}
			cert.Check = nil // it will go on serving the other key, which is not this test's subject
			if rep := w.renew(cert, apply.Options{NewLineage: true}); !rep.Did(plan.Install) {
				t.Errorf("done %v, problems %q: want a fresh start, as it was asked for", rep.Done, rep.Problems)
			}
		})
	}
}

func TestFirstRunGoesAheadWhereNobodyAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cert := w.cert("api", "api.example.com")
	cert.Check = []string{l.Addr().String()}
	l.Close() // nobody is there any more
	r := w.runner()
	r.CheckTime = time.Nanosecond
	rep := r.Renew(t.Context(), cert, apply.Options{})
	if !rep.Did(plan.Install) || len(rep.Problems) != 1 || !strings.Contains(rep.Problems[0], "looking at what") {
		t.Errorf("done %v, problems %q: want the certificate, and the word that nobody serves it", rep.Done, rep.Problems)
	}
}

func TestAnotherKeyAtTheServerIsAProblem(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.cert("api", "api.example.com")
	w.mustRenew(cert, apply.Options{})
	other := stranger(t)
	cert.Check = []string{serveTLS(t, func() (*tls.Certificate, error) { return other, nil })}
	r := w.runner()
	r.CheckTime = 5 * time.Second // for the first look, on a machine with much to do
	rep := r.Renew(t.Context(), cert, apply.Options{})
	if len(rep.Problems) != 1 || !strings.Contains(rep.Problems[0], "it serves another key") {
		t.Errorf("problems %q, want one that says that another key is served", rep.Problems)
	}
}
