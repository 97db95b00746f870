package apply_test

import (
	"encoding/base64"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/internal/acmetest"
)

// What the configuration says of a CA and of challenges reaches package acme, which
// tests what comes of it.

func TestConfigurationOfACAReachesIt(t *testing.T) {
	t.Parallel()
	secret := base64.RawURLEncoding.EncodeToString([]byte("an hmac key of thirty-two octets"))
	w := newWorld(t, acmetest.Options{
		EAB: map[string]string{"kid-1": secret}, AlternateRoots: 2,
		Profiles: map[string]time.Duration{"classic": 90 * 24 * time.Hour, "shortlived": 6 * 24 * time.Hour},
	})
	root, err := w.ca.Root(2)
	if err != nil {
		t.Fatal(err)
	}
	cert := w.cert("api", "api.example.com")
	cert.ACME.Profile, cert.ACME.PreferredChain = "shortlived", root.Subject.CommonName
	rep := w.renew(cert, apply.Options{})
	if len(rep.Problems) != 1 || !strings.Contains(problems(rep)[0], "acme.eab") {
		t.Errorf("without a binding: %q, want a problem that says what to set", problems(rep))
	}
	cert.ACME.EAB = &config.EAB{KID: "kid-1", HMACFile: w.write("no-hmac", []byte("the <secret>\n"))}
	rep = w.renew(cert, force)
	if len(rep.Problems) != 1 || !strings.Contains(problems(rep)[0], "no-hmac does not hold a key in base64url") || strings.Contains(problems(rep)[0], "<secret>") {
		t.Errorf("with a key that is none: %q", problems(rep))
	}
	cert.ACME.EAB = &config.EAB{KID: "kid-1", HMACFile: w.write("hmac", []byte(secret+"\n"))}
	live := w.mustRenew(cert, force)
	if got := live.NotAfter.Sub(live.NotBefore).Round(time.Hour); got != 6*24*time.Hour {
		t.Errorf("the certificate lives for %s", got)
	}
	chain, err := os.ReadFile(filepath.Join(w.dir, "state/lineages/api/live/chain.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if got := decodePEM(t, chain).Issuer.CommonName; got != root.Subject.CommonName {
		t.Errorf("the chain ends with %q, want %q", got, root.Subject.CommonName)
	}

	other := w.cert("other", "other.example.com")
	other.ACME.AcceptTerms = false // for an account without a binding, which is another one
	rep = w.renew(other, apply.Options{})
	if len(rep.Problems) != 1 || !strings.Contains(problems(rep)[0], "accept_terms") {
		t.Errorf("problems %q, want one that says what to set", problems(rep))
	}
}

func TestEachWayToAnswerChallenges(t *testing.T) {
	t.Parallel()
	for name, challenge := range map[string]func(w *world, root string) config.Challenge{
		"http-01": func(w *world, _ string) config.Challenge {
			return config.Challenge{HTTP01: &config.HTTP01{Listen: w.ca.HTTPAddr}}
		},
		"tls-alpn-01": func(w *world, _ string) config.Challenge {
			return config.Challenge{TLSALPN01: &config.TLSALPN01{Listen: w.ca.TLSAddr}}
		},
		"webroot": func(w *world, root string) config.Challenge {
			l, err := net.Listen("tcp", w.ca.HTTPAddr)
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{Handler: http.FileServer(http.Dir(root))}
			go server.Serve(l)
			t.Cleanup(func() { server.Close() })
			return config.Challenge{HTTP01: &config.HTTP01{Webroot: root}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, acmetest.Options{})
			cert := w.cert(name, name+".example.com", "second."+name+".example.com")
			cert.Challenge = challenge(w, t.TempDir())
			w.mustRenew(cert, apply.Options{})
			w.mustRenew(cert, force)
		})
	}
}
