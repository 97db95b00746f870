package apply_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/hooks"
	"keepkey/internal/acmetest"
	"keepkey/pinset"
	"keepkey/plan"
)

// presents is what a server presents at each handshake.
type presents = func() (*tls.Certificate, error)

// files present what is in a directory.
func files(dir string) presents {
	return func() (*tls.Certificate, error) {
		c, err := tls.LoadX509KeyPair(filepath.Join(dir, "fullchain.pem"), filepath.Join(dir, "privkey.pem"))
		return &c, err
	}
}

// pool has the servers of one host answer, each at an IP of its own: 127.0.0.2, ::1, 127.0.0.3,
// and so on. Nobody is where there is nil.
func (w *world) pool(host string, servers ...presents) (addr string) {
	w.t.Helper()
	listeners, addr, err := w.ca.DNS.Pool(host, len(servers))
	if err != nil {
		w.t.Fatal(err)
	}
	for i, l := range listeners {
		if servers[i] == nil {
			l.Close()
			continue
		}
		w.t.Cleanup(func() { l.Close() })
		go accept(l, func(conn net.Conn) { handshake(conn, servers[i]) })
	}
	return addr
}

func accept(l net.Listener, talk func(net.Conn)) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			talk(conn)
		}()
	}
}

func handshake(conn net.Conn, get presents) {
	_ = tls.Server(conn, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return get() }}).Handshake()
}

// lastMonths is a certificate of the lineage that is not the newest any more.
func (w *world) lastMonths(cert config.Certificate) (older, newest string) {
	w.t.Helper()
	w.mustRenew(cert, apply.Options{})
	w.mustRenew(cert, force)
	certs := filepath.Join(w.dir, "state/lineages", cert.Name, "certs")
	return filepath.Join(certs, "1"), filepath.Join(certs, "2")
}

func TestOneStaleServerOfAPoolIsFound(t *testing.T) {
	t.Parallel()
	other := stranger(t)
	foreign := func() (*tls.Certificate, error) { return other, nil }
	broken := func() (*tls.Certificate, error) { return nil, errors.New("broken") }
	for _, tt := range []struct {
		name    string
		servers func(older, newest presents) []presents
		code    plan.Code
		text    []string // each says where
		not     []string // these are right
	}{
		{"one has last month's certificate", func(older, newest presents) []presents { return []presents{newest, newest, older} },
			plan.ServedCertificateOld, []string{"127.0.0.3: it serves certificate version 1, with serial"}, []string{"127.0.0.2", "::1"}},
		{"the one for IPv6 has", func(older, newest presents) []presents { return []presents{newest, older} },
			plan.ServedCertificateOld, []string{"::1: it serves certificate version 1"}, []string{"127.0.0.2"}},
		{"one has another key, and another last month's certificate", func(older, newest presents) []presents { return []presents{older, newest, foreign} },
			plan.ServedKeyUnknown, []string{"127.0.0.3: it serves a key with pin " + pinset.OfCertificate(other.Leaf).String(), "127.0.0.2: it serves certificate version 1"}, []string{"::1"}},
		{"one does not answer", func(_, newest presents) []presents { return []presents{newest, broken, newest} },
			plan.ServerUnreachable, []string{"::1: remote error: tls: internal error"}, []string{"127.0.0.2", "127.0.0.3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, acmetest.Options{})
			cert := w.cert("api", "api.example.com")
			older, newest := w.lastMonths(cert)
			var changed atomic.Bool
			var servers []presents
			for _, later := range tt.servers(files(older), files(newest)) {
				servers = append(servers, func() (*tls.Certificate, error) {
					if changed.Load() {
						return later()
					}
					return files(newest)()
				})
			}
			cert.Resolvers = []string{w.ca.DNS.Addr}
			cert.Check = []string{w.pool("pool.example.com", servers...)}
			w.mustRenew(cert, apply.Options{})
			changed.Store(true)
			w.mustRenew(cert, apply.Options{})
			w.offset += 25 * time.Hour // it is looked at once a day
			got := w.only(w.renew(cert, apply.Options{}), tt.code)
			for _, text := range append(tt.text, cert.Check[0]) {
				if !strings.Contains(got, text) {
					t.Errorf("problem %q, want %q", got, text)
				}
			}
			for _, right := range tt.not {
				if strings.Contains(got, right) {
					t.Errorf("problem %q, and %s is right", got, right)
				}
			}
			changed.Store(false)
			w.mustRenew(cert, apply.Options{})
		})
	}
}

// What was deployed is looked for at every server, not at the first that answers.
func TestADeploymentIsOverWhenEveryServerHasIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.cert("api", "api.example.com")
	older, newest := w.lastMonths(cert)
	cert.Resolvers = []string{w.ca.DNS.Addr}
	cert.Check = []string{w.pool("pool.example.com", files(newest), nil, files(older))}
	r := w.runner()
	r.CheckTime = 5 * time.Second // for the first look, on a machine with much to do
	got := w.only(r.Renew(t.Context(), cert, apply.Options{}), plan.ServedCertificateOld)
	if !strings.Contains(got, "127.0.0.3: it serves certificate version 1") || !strings.Contains(got, "::1: connect: connection refused") {
		t.Errorf("problem %q", got)
	}
}

// Where a machine has no IPv6 it can't look at servers that have, and a rollover does not wait
// for that; but it does where there is nothing that it can look at.
func TestWhatThereIsNoRouteToIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.cert("api", "api.example.com")
	_, newest := w.lastMonths(cert)
	cert.Resolvers = []string{w.ca.DNS.Addr}
	cert.Check = []string{w.pool("pool.example.com", files(newest))}
	for _, record := range []string{"pool.example.com. AAAA fe80::1", "away.example.com. AAAA fe80::1"} {
		if err := w.ca.DNS.Add(record); err != nil {
			t.Fatal(err)
		}
	}
	w.mustRenew(cert, apply.Options{})
	_, port, _ := net.SplitHostPort(cert.Check[0])
	cert.Check = []string{"away.example.com:" + port}
	r := w.runner()
	r.CheckTime = 5 * time.Second
	if told := w.only(r.Renew(t.Context(), cert, apply.Options{}), plan.ServerUnreachable); !strings.Contains(told, "fe80::1: this machine has no route to it") {
		t.Errorf("problem %q", told)
	}
}

func TestAnAddressThatNobodyKnowsIsAProblem(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.cert("api", "api.example.com")
	w.mustRenew(cert, apply.Options{})
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	cert.Resolvers, cert.Check = []string{closed.LocalAddr().String()}, []string{"api.example.com:443"}
	r := w.runner()
	r.CheckTime = 5 * time.Second
	if told := w.only(r.Renew(t.Context(), cert, apply.Options{}), plan.ServerUnreachable); !strings.Contains(told, "addresses of api.example.com can't be looked up") {
		t.Errorf("problem %q", told)
	}
}

// Servers of mail are looked at after a deployment like any others.
func TestServersBehindSTARTTLSAreLookedAt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	live := filepath.Join(w.dir, "state/lineages/mail/live")
	loaded := filepath.Join(w.dir, "loaded")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go accept(l, func(conn net.Conn) {
		r := bufio.NewReader(conn)
		for i, answer := range []string{"220 mail.example.com ESMTP\r\n", "250 STARTTLS\r\n", "220 go ahead\r\n"} {
			if i > 0 {
				if _, err := r.ReadString('\n'); err != nil {
					return
				}
			}
			if _, err := io.WriteString(conn, answer); err != nil {
				return
			}
		}
		handshake(conn, files(loaded))
	})
	cert := w.cert("mail", "mail.example.com")
	reload := hooks.Command{Args: []string{"sh", "-c", "rm -rf " + loaded + "; cp -rL " + live + " " + loaded}}
	cert.Deploy = []hooks.Hook{reload}
	cert.Check = []string{"smtp://" + l.Addr().String()}
	w.mustRenew(cert, apply.Options{})
	if rep := w.renew(cert, force); len(rep.Problems) > 0 || !rep.Did(plan.Check) {
		t.Errorf("done %v, problems %q", rep.Done, problems(rep))
	}
	cert.Deploy = nil // nobody reloads it
	r := w.runner()
	r.CheckTime = 5 * time.Second
	rep := r.Renew(t.Context(), cert, force)
	if told := w.only(rep, plan.ServedCertificateOld); !strings.Contains(told, cert.Check[0]) {
		t.Errorf("problem %q", told)
	}
}
