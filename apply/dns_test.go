package apply_test

import (
	"os"
	"path/filepath"
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

	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	rfc2136 := w.write("rfc2136.env", []byte(strings.Join([]string{
		"# written by a person",
		"RFC2136_NAMESERVER=" + w.ca.DNS.Addr,
		"export RFC2136_TSIG_KEY=" + acmetest.TSIGKey,
		"RFC2136_TSIG_ALGORITHM=" + acmetest.TSIGAlgorithm,
		`RFC2136_TSIG_SECRET="` + acmetest.TSIGSecret + `"`,
		"RFC2136_POLLING_INTERVAL=0",
		"RFC2136_SEQUENCE_INTERVAL=0",
	}, "\n")))
	updates := filepath.Join(w.dir, "exec-was-here")
	exec := w.write("exec.env", []byte(strings.Join([]string{
		"EXEC_PATH=" + exe,
		"EXEC_POLLING_INTERVAL=0",
		"EXEC_SEQUENCE_INTERVAL=0",
		playDNS + "=" + w.ca.DNS.Addr, // the script's own setting, and the proof that it gets them
		playDNSLog + "=" + updates,
	}, "\n")))
	certWith := func(name, provider, env, propagation string, domains ...string) config.Certificate {
		cert := w.cert(name, domains...)
		cert.Challenge = config.Challenge{DNS01: &config.DNS01{
			Provider: provider, EnvFile: env, Propagation: config.Propagation{Check: propagation},
		}}
		return cert
	}

	t.Run("rfc2136 with a wildcard and its apex", func(t *testing.T) {
		w := w.in(t)
		cert := certWith("wild", "rfc2136", rfc2136, "resolvers", "*.wild.example.com", "wild.example.com")
		w.mustRenew(cert, apply.Options{})
		if n := w.ca.DNS.Updates(); n < 4 {
			t.Errorf("%d updates, want at least two additions and two removals", n)
		}
	})
	t.Run("exec", func(t *testing.T) {
		w := w.in(t)
		cert := certWith("exec", "exec", exec, "none", "a.exec.example.com", "b.exec.example.com")
		w.mustRenew(cert, apply.Options{})
		log, err := os.ReadFile(updates)
		if err != nil || strings.Count(string(log), "present") != 2 || strings.Count(string(log), "cleanup") != 2 {
			t.Errorf("the script was called %q (%v), want two presents and two cleanups", log, err)
		}
	})
	t.Run("a provider's settings do not stay in the environment", func(t *testing.T) {
		for _, name := range []string{"RFC2136_TSIG_SECRET", playDNS} {
			if _, ok := os.LookupEnv(name); ok {
				t.Errorf("%s is set", name)
			}
		}
	})
	t.Run("no record is left behind", func(t *testing.T) {
		if n := w.ca.DNS.TXT(); n != 0 {
			t.Errorf("%d TXT records", n)
		}
	})
	t.Run("wrong credentials are the provider's error", func(t *testing.T) {
		w := w.in(t)
		bad := w.write("bad.env", []byte("RFC2136_NAMESERVER="+w.ca.DNS.Addr+"\nRFC2136_POLLING_INTERVAL=0\n"))
		rep := w.renew(certWith("bad", "rfc2136", bad, "none", "bad.example.com"), apply.Options{})
		if len(rep.Problems) != 1 || rep.Did(plan.Obtain) || !strings.Contains(problems(rep)[0], "REFUSED") {
			t.Errorf("problems %q, want the server's refusal", problems(rep))
		}
	})
	t.Run("a file that everybody may read is refused", func(t *testing.T) {
		w := w.in(t)
		if err := os.Chmod(rfc2136, 0o644); err != nil {
			t.Fatal(err)
		}
		rep := w.renew(certWith("open", "rfc2136", rfc2136, "none", "open.example.com"), apply.Options{})
		if len(rep.Problems) != 1 || !strings.Contains(problems(rep)[0], "chmod 600") || strings.Contains(problems(rep)[0], acmetest.TSIGSecret) {
			t.Errorf("problems %q, want one that says what to do and shows no secret", problems(rep))
		}
	})
}
