package apply_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/go-acme/lego/v4/log"

	"keepkey/acme"
	"keepkey/acme/dns"
	"keepkey/apply"
	"keepkey/config"
	"keepkey/internal/acmetest"
	"keepkey/plan"
)

// TestDNS01 is one test, and not parallel, since the resolvers are the process's.
func TestDNS01(t *testing.T) {
	w := newWorld(t, acmetest.Options{})
	acme.SetResolvers([]string{w.ca.DNS.Addr})
	env := w.write("rfc2136.env", []byte(strings.Join([]string{
		"# written by a person",
		"RFC2136_NAMESERVER=" + w.ca.DNS.Addr,
		"export RFC2136_TSIG_KEY=" + acmetest.TSIGKey,
		"RFC2136_TSIG_ALGORITHM=" + acmetest.TSIGAlgorithm,
		`RFC2136_TSIG_SECRET="` + acmetest.TSIGSecret + `"`,
		"RFC2136_POLLING_INTERVAL=0",
		"RFC2136_SEQUENCE_INTERVAL=0",
	}, "\n")))
	certWith := func(name, provider, propagation string) config.Certificate {
		cert := w.cert(name, "*."+name+".example.com", name+".example.com")
		cert.Challenge = config.Challenge{DNS01: &config.DNS01{
			Provider: provider, EnvFile: env, Propagation: config.Propagation{Check: propagation},
		}}
		return cert
	}
	for _, propagation := range []string{"resolvers", "none"} {
		w.mustRenew(certWith(propagation, "rfc2136", propagation), apply.Options{})
	}
	if n := w.ca.DNS.TXT(); n != 0 {
		t.Errorf("%d TXT records were left behind", n)
	}
	rep := w.renew(certWith("big", "gcloud", "none"), apply.Options{})
	if len(rep.Problems) != 1 || rep.Did(plan.Obtain) || !strings.Contains(problems(rep)[0], "contrib/alldns") {
		t.Errorf("problems %q, want one that says how to get the provider", problems(rep))
	}
	if err := os.Chmod(env, 0o644); err != nil {
		t.Fatal(err)
	}
	rep = w.renew(certWith("open", "rfc2136", "none"), apply.Options{})
	if len(rep.Problems) != 1 || !strings.Contains(problems(rep)[0], "chmod o-r") || strings.Contains(problems(rep)[0], acmetest.TSIGSecret) {
		t.Errorf("problems %q, want one that says what to do and shows no secret", problems(rep))
	}
}

// chatty tells its token wherever it can, as lego's provider for DuckDNS does.
type chatty struct{ token string }

func (c chatty) Present(string, string, string) error {
	log.Warnf("asking https://dns.example/?token=%s", c.token)
	return fmt.Errorf("unexpected answer from https://dns.example/?token=%s", c.token)
}
func (c chatty) CleanUp(string, string, string) error { return errors.New("no such token: " + c.token) }

// Not parallel: lego's logger is the process's.
func TestAProvidersTokenIsNotShown(t *testing.T) {
	w := newWorld(t, acmetest.Options{})
	const token = "0b7f0f2e-token"
	r := w.runner()
	acme.SetLogger(r.Log)
	defer acme.SetLogger(slog.New(slog.DiscardHandler))
	r.DNS = dns.All(func(string) (chatty, error) { return chatty{os.Getenv("DUCKDNS_TOKEN")}, nil })
	cert := w.cert("api", "api.example.com")
	cert.Challenge = config.Challenge{DNS01: &config.DNS01{
		Provider: "duckdns", EnvFile: w.write("duckdns.env", []byte("DUCKDNS_TOKEN="+token)), Propagation: config.Propagation{Check: "none"},
	}}
	rep := r.Renew(t.Context(), cert, apply.Options{})
	if len(rep.Problems) != 1 || !strings.Contains(problems(rep)[0], "?token=...") {
		t.Errorf("problems %q", problems(rep))
	}
	if log := w.log.String(); strings.Contains(log, token) || !strings.Contains(log, "asking https") {
		t.Errorf("logged:\n%s", log)
	}
	if state, err := rep.Input.State.Marshal(""); err != nil || strings.Contains(string(state), token) {
		t.Errorf("it is in the state (%v)", err)
	}
}
