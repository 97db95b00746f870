package apply_test

import (
	"os"
	"strings"
	"testing"

	"keepkey/acme"
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
