package apply_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/internal/acmetest"
	"keepkey/keystore"
	"keepkey/pinset"
	"keepkey/plan"
	"keepkey/status"
)

// TestHostileCAChangesNothingThatIsLive lets a CA, or whoever sits in front of
// it, answer a renewal with everything but a good certificate. What is live must
// not even be touched, the problem must say what was wrong, and once the CA is
// itself again the next run must succeed with the same key. (The modes here are some
// from each stage; package acme tests them all.)
func TestHostileCAChangesNothingThatIsLive(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		fault acmetest.Fault
		want  string // in the problem
	}{
		{"HTML for a certificate", acmetest.Respond(acmetest.Certificate, 200, nil, []byte("<html>\x1b[31m</html>")), "not a certificate chain in PEM"},
		{"an empty certificate", acmetest.Respond(acmetest.Certificate, 200, nil, nil), "is empty"},
		{"a certificate without its chain", acmetest.Change(acmetest.Certificate, func(_ http.Header, b []byte) []byte {
			_, rest := pem.Decode(b)
			return bytes.TrimSuffix(b, rest)
		}), "without its issuer"},
		{"half a certificate", acmetest.Cut(acmetest.Certificate, 300), "certificate"},

		{"a directory that is null", acmetest.Respond(acmetest.Directory, 200, nil, []byte("null")), "directory"},
		{"an error that paints the terminal", acmetest.Respond(acmetest.NewOrder, 400, http.Header{"Content-Type": {"application/problem+json"}},
			[]byte(`{"type":"x","detail":"\u001b[2Jgone\nkeepkey: all is well"}`)), `\x1b[2Jgone\nkeepkey`},
		{"an error of 300 MiB", acmetest.Flood(acmetest.NewOrder, 500, 300<<20), "more than 1048576 bytes"},
		{"an answer that stalls", acmetest.Stall(acmetest.Finalize), "did not answer within"},
		{"an answer that is lost", acmetest.Lose(acmetest.NewOrder), "new order"},
		{"a signed request redirected", acmetest.Redirect(acmetest.NewOrder, 307, "https://evil.example/order"), "redirects a signed request"},
		{"an authorization for another name", acmetest.ChangeJSON(acmetest.Authorization, func(doc map[string]any) {
			doc["identifier"] = map[string]string{"type": "dns", "value": "evil\x1b.example.com"}
		}), `"evil\x1b.example.com", which nobody asked for`},
		{"an order that becomes invalid", acmetest.ChangeJSON(acmetest.Order, func(doc map[string]any) {
			doc["status"], doc["error"] = "invalid", map[string]any{"type": "x", "detail": "we changed our mind"}
		}), "we changed our mind"},
		{"an order that vanishes", acmetest.Problem(acmetest.Order, 404, "malformed", "no such order", ""), "no such order"},
		{"too many requests", acmetest.Problem(acmetest.NewOrder, 429, "rateLimited", "too many certificates", "7200"), "2h0m0s"},
		{"a blocked key", acmetest.Problem(acmetest.Finalize, 400, "badPublicKey", "key is blocked", ""), "key is blocked"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, acmetest.Options{})
			cert := w.cert("api", "api.example.com")
			w.mustRenew(cert, apply.Options{})
			w.requestTimeout = 2 * time.Second
			if strings.Contains(tt.name, "MiB") {
				w.requestTimeout = 20 * time.Second
			}
			w.survives(cert, tt.fault, tt.want)
		})
	}
}

// survives renews while a fault is there, and checks that it did no harm.
func (w *world) survives(cert config.Certificate, fault acmetest.Fault, want string) {
	w.t.Helper()
	before := w.snapshot(cert)
	pin := pinset.OfCertificate(w.live(cert))
	w.ca.Misbehave(fault)
	rep := w.renew(cert, force)
	if after := w.snapshot(cert); after != before {
		w.t.Error("files of the lineage were touched")
	}
	switch told := problems(rep); {
	case len(told) != 1 || !strings.Contains(told[0], want):
		w.t.Errorf("problems %.600q, want one that says %q", told, want)
	case len(told[0]) > 2000 || strings.ContainsRune(told[0], '\x1b') || slices.ContainsFunc(status.ProblemOf(cert.Name, rep.Problems[0]).Lines(), func(line string) bool { return strings.Contains(line, "\n") }):
		w.t.Errorf("the problem is not fit to be shown: %.600q", told[0])
	case !strings.Contains(told[0], "safe: the server keeps the certificate and key that it has"):
		w.t.Errorf("the problem does not say what is still safe: %q", told[0])
	}
	w.ca.Misbehave(nil)
	w.requestTimeout = 20 * time.Second
	if next := w.mustRenew(cert, force); pinset.OfCertificate(next) != pin {
		w.t.Error("the pin changed after the CA was itself again")
	}
}

func TestWrongCertificatesThatChainProperly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{RSA: true})
	stranger, err := keystore.GenerateKey(pinset.EC256)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		otherKey bool
		change   func(*x509.Certificate)
		want     string
	}{
		"for another key":          {true, nil, "for another key"},
		"for another name":         {false, func(c *x509.Certificate) { c.DNSNames = []string{"evil.example.com"} }, "other names"},
		"for a name too many":      {false, func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, "evil.example.com") }, "other names"},
		"expired":                  {false, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, "expired"},
		"not valid yet":            {false, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }, "look at the clock"},
		"a CA's":                   {false, func(c *x509.Certificate) { c.IsCA = true }, "is a CA's"},
		"for clients, not servers": {false, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, "serverAuth"},
	}
	i := 0
	for name, tt := range tests {
		i++
		// One CA for all: its faults are told apart by who asks, so one after the other.
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			cert := w.cert(fmt.Sprintf("api%d", i), fmt.Sprintf("api%d.example.com", i))
			leaf := w.mustRenew(cert, apply.Options{})
			pub := leaf.PublicKey
			if tt.otherKey {
				pub = stranger.Public()
			}
			chain, err := w.ca.Mint(pub, cert.Domains, tt.change)
			if err != nil {
				t.Fatal(err)
			}
			w.survives(cert, acmetest.Respond(acmetest.Certificate, 200, http.Header{"Content-Type": {"application/pem-certificate-chain"}}, chain), tt.want)
		})
	}
	t.Run("two leaves", func(t *testing.T) {
		w := w.in(t)
		cert := w.cert("two", "two.example.com")
		leaf := w.mustRenew(cert, apply.Options{})
		chain, err := w.ca.Mint(leaf.PublicKey, cert.Domains, nil)
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(chain)
		w.survives(cert, acmetest.Respond(acmetest.Certificate, 200, nil, append(pem.EncodeToMemory(block), chain...)), "does not link up")
	})
	t.Run("the one that is live already", func(t *testing.T) {
		w := w.in(t)
		cert := w.cert("again", "again.example.com")
		leaf := w.mustRenew(cert, apply.Options{})
		issuer, _, err := w.ca.Issuer()
		if err != nil {
			t.Fatal(err)
		}
		w.survives(cert, acmetest.Respond(acmetest.Certificate, 200, nil, keystore.Chain{leaf, issuer}.PEM()), "there already")
	})
	t.Run("the good one that is minted is taken", func(t *testing.T) {
		w := w.in(t)
		cert := w.cert("good", "good.example.com")
		leaf := w.mustRenew(cert, apply.Options{})
		chain, err := w.ca.Mint(leaf.PublicKey, cert.Domains, nil)
		if err != nil {
			t.Fatal(err)
		}
		w.ca.Misbehave(acmetest.Respond(acmetest.Certificate, 200, nil, chain))
		defer w.ca.Misbehave(nil)
		next := w.mustRenew(cert, force)
		if next.SerialNumber.Cmp(decodePEM(t, chain).SerialNumber) != 0 {
			t.Error("not the minted one: the tests beside this one prove nothing")
		}
	})
}

func TestAbsurdRenewalInformationIsIgnored(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"empty":            ``,
		"an empty object":  `{}`,
		"null":             `null`,
		"not JSON":         `<html>`,
		"the year 1":       `{"suggestedWindow":{"start":"0001-01-01T00:00:00Z","end":"0001-01-02T00:00:00Z"}}`,
		"the year 2999":    `{"suggestedWindow":{"start":"2999-01-01T00:00:00Z","end":"2999-01-02T00:00:00Z"}}`,
		"end before start": acmetest.Window(time.Now().Add(-time.Hour), time.Now().Add(-2*time.Hour)),
		"of no length":     acmetest.Window(time.Unix(1e9, 0), time.Unix(1e9, 0)),
		"a novel":          `{"explanationURL":"` + strings.Repeat("https://", 1<<18) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, acmetest.Options{})
			cert := w.cert("api", "api.example.com")
			live := w.mustRenew(cert, apply.Options{})
			if err := w.ca.SetRenewalInfo(live, answer); err != nil {
				t.Fatal(err)
			}
			w.offset = 8 * time.Hour
			rep := w.renew(cert, apply.Options{})
			if len(rep.Problems) > 0 || !rep.Did(plan.AskWindow) || rep.Did(plan.Obtain) {
				t.Errorf("done %v, problems %q: want the question, and no renewal", rep.Done, problems(rep))
			}
			w.offset = 63 * 24 * time.Hour
			if rep := w.renew(cert, apply.Options{}); !rep.Did(plan.Obtain) {
				t.Errorf("done %v, problems %q: the lifetime should have decided", rep.Done, problems(rep))
			}
		})
	}
}

// A crash, or a lost answer, after the certificate was issued must not cost
// another of the CA's weekly five.
func TestOrderIsGoneOnWithAfterItsAnswerWasLost(t *testing.T) {
	t.Parallel()
	for _, e := range []acmetest.Endpoint{acmetest.Finalize, acmetest.Order, acmetest.Certificate} {
		t.Run(strings.Trim(string(e), "/"), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, acmetest.Options{})
			cert := w.cert("api", "api.example.com")
			w.mustRenew(cert, apply.Options{})
			w.ca.Misbehave(acmetest.Lose(e))
			if rep := w.renew(cert, force); len(rep.Problems) == 0 {
				t.Fatal("a lost answer went unnoticed")
			}
			w.ca.Misbehave(nil)
			w.ca.Requests()
			w.mustRenew(cert, force)
			w.madeNoOrder()
		})
	}
}

func TestOrderThatIsStuckIsLeftAndGoneOnWithLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.cert("api", "api.example.com")
	w.mustRenew(cert, apply.Options{})
	w.ca.Misbehave(acmetest.ChangeJSON(acmetest.Order, func(doc map[string]any) { doc["status"] = "processing" }))
	before := w.snapshot(cert)
	r := w.runner()
	r.ObtainTime = 2 * time.Second
	rep := r.Renew(t.Context(), cert, force)
	if len(rep.Problems) != 1 || !strings.Contains(problems(rep)[0], "did not finish within 2s") {
		t.Errorf("problems %q, want one that says how long it took", problems(rep))
	}
	if w.snapshot(cert) != before {
		t.Error("files of the lineage were touched")
	}
	if n := len(w.ca.Requests()); n > 60 { // polls grow rarer
		t.Errorf("%d requests in two seconds", n)
	}
	w.ca.Misbehave(nil)
	w.mustRenew(cert, force)
	w.madeNoOrder()
}

// madeNoOrder expects that no order was begun since the requests were last looked at.
func (w *world) madeNoOrder() {
	w.t.Helper()
	for _, r := range w.ca.Requests() {
		if strings.HasSuffix(r, string(acmetest.NewOrder)) {
			w.t.Error("another order was made")
		}
	}
}

func TestCAThatIsDownForSixtyDays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.cert("api", "api.example.com")
	pin := pinset.OfCertificate(w.mustRenew(cert, apply.Options{}))
	w.ca.Misbehave(acmetest.Problem(acmetest.Directory, 503, "serverInternal", "down", ""))
	before := w.snapshot(cert)
	w.ca.Requests()
	every := 6 * time.Hour // as a timer would
	if testing.Short() {
		every = 24 * time.Hour
	}
	for w.offset < 85*24*time.Hour {
		w.offset += every
		rep := w.renew(cert, apply.Options{})
		due := w.offset > 63*24*time.Hour
		if due && len(rep.Problems) != 1 {
			t.Fatalf("after %s: problems %q, want one", w.offset, problems(rep))
		}
	}
	// A question about the window each six hours, and an attempt a day.
	if n := len(w.ca.Requests()); n > 4*85+40 {
		t.Errorf("%d requests in 85 days to a CA that is down", n)
	}
	if w.snapshot(cert) != before {
		t.Error("files of the lineage were touched")
	}
	w.ca.Misbehave(nil)
	w.offset += 24 * time.Hour
	w.renew(cert, apply.Options{})
	if got := pinset.OfCertificate(w.live(cert)); got != pin || w.snapshot(cert) == before {
		t.Error("the certificate should have been renewed, with its key")
	}
}

func TestOrderOnRecordThatIsGoneIsMadeAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.cert("api", "api.example.com")
	first := w.mustRenew(cert, apply.Options{})
	w.ca.Misbehave(acmetest.Lose(acmetest.Finalize))
	w.renew(cert, force)
	if err := w.ca.Restart(acmetest.Options{}); err != nil { // the CA forgets it all
		t.Fatal(err)
	}
	w.ca.Misbehave(nil)
	if second := w.mustRenew(cert, force); pinset.OfCertificate(first) != pinset.OfCertificate(second) {
		t.Error("the pin changed")
	}
}

func TestFailuresAreSpacedOutAndHonourRetryAfter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.cert("api", "api.example.com")
	w.mustRenew(cert, apply.Options{})
	w.offset = 63 * 24 * time.Hour // due
	w.ca.Misbehave(acmetest.Problem(acmetest.NewOrder, 429, "rateLimited", "slow down", "7200"))
	if rep := w.renew(cert, apply.Options{}); len(rep.Problems) == 0 {
		t.Fatal("no problem")
	}
	w.ca.Requests()
	w.offset += 119 * time.Minute
	rep := w.renew(cert, apply.Options{})
	if told := w.only(rep, plan.CAPaused); !strings.Contains(told, "due at "+status.Time(rep.Next.At)) {
		t.Errorf("problem %q, want one that says when it is tried again", told)
	}
	for _, r := range w.ca.Requests() {
		if strings.HasSuffix(r, string(acmetest.NewOrder)) {
			t.Error("the CA was asked before its Retry-After had passed")
		}
	}
	w.ca.Misbehave(nil)
	w.offset += 2 * time.Minute
	w.mustRenew(cert, apply.Options{})
}
