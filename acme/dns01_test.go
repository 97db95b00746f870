package acme_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"keepkey/acme"
	"keepkey/acme/dns"
	"keepkey/internal/acmetest"
)

// What the exec provider's script is told, by variables of its own.
const (
	playDNS    = "ACME_TEST_PLAY_DNS_SCRIPT"
	playDNSLog = "ACME_TEST_PLAY_DNS_LOG"
)

// playDNSScript is a script for lego's exec provider: its arguments are "present" or
// "cleanup", the record's name and its value. It speaks to the DNS server by a signed
// update, as the rfc2136 provider would.
func playDNSScript(server, log string, args []string) error {
	f, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	fmt.Fprintln(f, args)
	m := new(mdns.Msg)
	m.SetUpdate(acmetest.ZoneOf(args[1]))
	rr, err := mdns.NewRR(fmt.Sprintf("%s 1 IN TXT %q", args[1], args[2]))
	if err != nil {
		return err
	}
	if args[0] == "present" {
		m.Insert([]mdns.RR{rr})
	} else {
		m.Remove([]mdns.RR{rr})
	}
	m.SetTsig(acmetest.TSIGKey, acmetest.TSIGAlgorithm, 300, time.Now().Unix())
	c := &mdns.Client{TsigSecret: map[string]string{acmetest.TSIGKey: acmetest.TSIGSecret}}
	answer, _, err := c.Exchange(m, server)
	if err == nil && answer.Rcode != mdns.RcodeSuccess {
		err = fmt.Errorf("the server says %s", mdns.RcodeToString[answer.Rcode])
	}
	return err
}

// TestDNS01 is one test, and not parallel, since the resolvers are the process's.
func TestDNS01(t *testing.T) {
	w := newWorld(t, acmetest.Options{})
	acme.SetResolvers([]string{w.ca.DNS.Addr})
	c := w.client()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	rfc2136 := map[string]string{
		"RFC2136_NAMESERVER": w.ca.DNS.Addr, "RFC2136_POLLING_INTERVAL": "0", "RFC2136_SEQUENCE_INTERVAL": "0",
		"RFC2136_TSIG_KEY": acmetest.TSIGKey, "RFC2136_TSIG_ALGORITHM": acmetest.TSIGAlgorithm, "RFC2136_TSIG_SECRET": acmetest.TSIGSecret,
	}
	solver := func(t *testing.T, provider string, env map[string]string, p acme.Propagation) *acme.Solver {
		t.Helper()
		opened, err := dns.Providers{}.Open(provider, env)
		if err != nil {
			t.Fatal(err)
		}
		return acme.NewDNS01(opened, p)
	}

	t.Run("rfc2136 with a wildcard and its apex", func(t *testing.T) {
		r := w.request("*.wild.example.com", "wild.example.com")
		r.solver = solver(t, "rfc2136", rfc2136, acme.Propagation{Resolvers: true})
		w.mustObtain(c, r)
		if n := w.ca.DNS.Updates(); n < 4 {
			t.Errorf("%d updates, want at least two additions and two removals", n)
		}
	})
	t.Run("exec", func(t *testing.T) {
		updates := filepath.Join(t.TempDir(), "exec-was-here")
		r := w.request("a.exec.example.com", "b.exec.example.com")
		r.solver = solver(t, "exec", map[string]string{
			"EXEC_PATH": exe, "EXEC_POLLING_INTERVAL": "0", "EXEC_SEQUENCE_INTERVAL": "0",
			playDNS: w.ca.DNS.Addr, playDNSLog: updates, // the script's own settings
		}, acme.Propagation{})
		w.mustObtain(c, r)
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
	t.Run("wrong credentials are the provider's error", func(t *testing.T) {
		r := w.request("bad.example.com")
		r.solver = solver(t, "rfc2136", map[string]string{"RFC2136_NAMESERVER": w.ca.DNS.Addr, "RFC2136_POLLING_INTERVAL": "0"}, acme.Propagation{})
		_, err := obtain(t.Context(), c, r)
		wantError(t, err, "challenge for bad.example.com", "REFUSED")
	})
	t.Run("the zone's own name servers are found through the resolvers", func(t *testing.T) {
		_, port, err := net.SplitHostPort(w.ca.DNS.Addr)
		if err != nil {
			t.Fatal(err)
		}
		acme.SetNameServerPort(t, port)
		r := w.request("*.own.example.com", "own.example.com")
		r.solver = solver(t, "rfc2136", rfc2136, acme.Propagation{Authoritative: true})
		w.mustObtain(c, r)
	})
	brief := maps.Clone(rfc2136)
	brief["RFC2136_PROPAGATION_TIMEOUT"] = "1"
	t.Run("a name server that does not answer", func(t *testing.T) {
		acme.SetNameServerPort(t, "1")
		r := w.request("silent.example.com")
		r.solver = solver(t, "rfc2136", brief, acme.Propagation{Authoritative: true})
		_, err := obtain(t.Context(), c, r)
		wantError(t, err, "the name server ns1.example.com. of example.com. (127.0.0.1): it does not answer", "propagation under dns-01")
	})
	t.Run("no record is left behind", func(t *testing.T) {
		if n := w.ca.DNS.TXT(); n != 0 {
			t.Errorf("%d TXT records", n)
		}
	})
}

// records is a DNS provider that writes where the CA looks, and can be told to fail.
type records struct {
	dns  *acmetest.DNS
	fail string // the method that fails
}

func (p records) Present(domain, _, keyAuth string) error {
	if p.fail == "Present" {
		return fmt.Errorf("no\x1b[2J")
	}
	if p.fail == "panic" {
		panic("at the disco\x1b[2J")
	}
	name, value := record(domain, keyAuth)
	p.dns.SetTXT(name, value)
	return nil
}

// Timeout has lego look for the record at once.
func (p records) Timeout() (timeout, interval time.Duration) { return time.Minute, 0 }

func (p records) CleanUp(domain, _, keyAuth string) error {
	if p.fail == "CleanUp" {
		return fmt.Errorf("cannot remove it")
	}
	name, value := record(domain, keyAuth)
	p.dns.RemoveTXT(name, value)
	return nil
}

// record is what RFC 8555 section 8.4 asks for.
func record(domain, keyAuth string) (name, value string) {
	sum := sha256.Sum256([]byte(keyAuth))
	return "_acme-challenge." + domain, base64.RawURLEncoding.EncodeToString(sum[:])
}

// Not parallel, as TestDNS01.
func TestDNSProviderThatFails(t *testing.T) {
	w := newWorld(t, acmetest.Options{})
	acme.SetResolvers([]string{w.ca.DNS.Addr})
	c := w.client()
	for fail, want := range map[string]string{
		"":        "",
		"Present": `challenge for api.example.com: `,
		"panic":   `at the disco\x1b[2J`,
		"CleanUp": "", // the certificate does not depend on it
	} {
		r := w.request("api.example.com")
		r.solver = acme.NewDNS01(records{w.ca.DNS, fail}, acme.Propagation{Wait: time.Millisecond})
		_, err := obtain(t.Context(), c, r)
		if want != "" {
			wantError(t, err, want)
		} else if err != nil {
			t.Errorf("%q: %v", fail, err)
		}
	}
	if n := w.ca.DNS.TXT(); n != 1 || !strings.Contains(w.log.String(), "a challenge could not be cleaned up") {
		t.Errorf("%d records, want the one whose removal failed, and a warning", n)
	}
}

// A record that is not there yet, or not at all servers, is not seen.
func TestRecordThatIsNotThereIsNotSeen(t *testing.T) {
	w := newWorld(t, acmetest.Options{})
	acme.SetResolvers([]string{w.ca.DNS.Addr})
	_, port, err := net.SplitHostPort(w.ca.DNS.Addr)
	if err != nil {
		t.Fatal(err)
	}
	acme.SetNameServerPort(t, port)
	const name = "_acme-challenge.www.example.com."
	w.ca.DNS.SetTXT(name, "another")
	wantError(t, acme.SeenByAll(t.Context(), name, "value"), "ns1.example.com. of example.com. (127.0.0.1): it does not have the record")
	w.ca.DNS.SetTXT(name, "value")
	if err := acme.SeenByAll(t.Context(), name, "value"); err != nil {
		t.Error(err)
	}
}
