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
	"keepkey/hooks"
	"keepkey/internal/acmetest"
	"keepkey/keystore"
	"keepkey/pinset"
	"keepkey/pinset/format"
	"keepkey/plan"
)

// serveTLS is a server that presents what get returns at each handshake.
func serveTLS(t testing.TB, get func() (*tls.Certificate, error)) (addr string) {
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
func stranger(t testing.TB) *tls.Certificate {
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
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key.(crypto.PrivateKey).(*ecdsa.PrivateKey), Leaf: leaf}
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
		t.Errorf("done %v, problems %q: want a look at the server", rep.Done, problems(rep))
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
			cert.Channels = []config.Channel{{Name: "app", Format: format.JSON, Lifetime: pinset.Lifetime{Duration: time.Hour},
				Publish: []hooks.Hook{hooks.File{Path: w.write("pins.json", []byte("{}"))}}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, acmetest.Options{})
			cert := w.cert("api", "api.example.com")
			change(w, &cert)
			rep := w.renew(cert, force)
			if told := w.only(rep, plan.KeysElsewhere); len(rep.Done) != 0 || !strings.Contains(told, "keepkey renew --name api --new-lineage") {
				t.Fatalf("done %v, problem %q: want a stop that says what to type", rep.Done, told)
			}
			if asked := w.ca.Requests(); len(asked) != 0 {
				t.Errorf("the CA was asked: %q", asked)
			}
			cert.Check = nil // it will go on serving the other key, which is not this test's subject
			if rep := w.renew(cert, apply.Options{NewLineage: true}); !rep.Did(plan.Install) {
				t.Errorf("done %v, problems %q: want a fresh start, as it was asked for", rep.Done, problems(rep))
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
	if told := w.only(rep, plan.ServerUnreachable); !rep.Did(plan.Install) || !strings.Contains(told, cert.Check[0]) {
		t.Errorf("done %v, problem %q: want the certificate, and the word that nobody serves it", rep.Done, told)
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
	if told := w.only(rep, plan.ServedKeyWrong); !strings.Contains(told, "it serves a key with pin "+pinset.OfCertificate(other.Leaf).String()) {
		t.Errorf("problem %q, want one that says that another key is served", told)
	}
}
