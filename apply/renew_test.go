package apply_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/internal/acmetest"
	"keepkey/pinset"
	"keepkey/plan"
)

var force = apply.Options{Force: true}

func TestThreeRenewalsKeepOnePinForEveryKeyType(t *testing.T) {
	t.Parallel()
	for _, kt := range pinset.KeyTypes() {
		t.Run(string(kt), func(t *testing.T) {
			t.Parallel()
			if testing.Short() && strings.HasPrefix(string(kt), "rsa") {
				t.Skip("such keys take seconds to make")
			}
			w := newWorld(t, acmetest.Options{})
			cert := w.cert(string(kt), string(kt)+".example.com")
			cert.KeyType = kt
			first := w.mustRenew(cert, apply.Options{})
			if got := pinset.TypeOf(first.PublicKey); got != kt {
				t.Errorf("the certificate is for a key of type %s", got)
			}
			serials := map[string]bool{first.SerialNumber.String(): true}
			for range 3 {
				next := w.mustRenew(cert, force)
				if pinset.OfCertificate(next) != pinset.OfCertificate(first) {
					t.Fatal("the pin changed")
				}
				serials[next.SerialNumber.String()] = true
			}
			if len(serials) != 4 {
				t.Errorf("%d different certificates, want 4", len(serials))
			}
			if keys := w.state(cert).Keys; len(keys) != 2 {
				t.Errorf("%d keys, want an active and a backup: %+v", len(keys), keys)
			}
		})
	}
}

func TestKeysAreOnDiskBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	w.ca.Misbehave(acmetest.Respond(acmetest.Directory, 503, nil, nil))
	cert := w.cert("api", "api.example.com")
	if rep := w.renew(cert, apply.Options{}); len(rep.Problems) == 0 {
		t.Fatal("a CA that is down went unnoticed")
	}
	keys, err := filepath.Glob(filepath.Join(w.dir, "state/lineages/api/keys/*.pem"))
	if err != nil || len(keys) != 2 {
		t.Fatalf("%d keys (%v), want an active and a backup", len(keys), err)
	}
	before := w.state(cert).Pins()
	w.ca.Misbehave(nil)
	live := w.mustRenew(cert, force)
	if pinset.OfCertificate(live) != before[0] {
		t.Error("the certificate is not for the key that was there first")
	}
}

func TestNothingDueAsksNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.cert("api", "api.example.com")
	w.mustRenew(cert, apply.Options{})
	before := w.snapshot(cert)
	w.ca.Requests()
	w.mustRenew(cert, apply.Options{})
	if r := w.ca.Requests(); len(r) != 0 {
		t.Errorf("the CA was asked: %q", r)
	}
	if after := w.snapshot(cert); after != before {
		t.Error("files were touched")
	}
}

func TestRequestsForARenewal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	r := w.runner()
	for i := range 2 {
		cert := w.cert(fmt.Sprintf("api%d", i), fmt.Sprintf("api%d.example.com", i))
		if rep := r.Renew(t.Context(), cert, apply.Options{}); len(rep.Problems) > 0 {
			t.Fatal(problems(rep))
		}
	}
	single := map[string]int{}
	w.ca.Requests()
	w.mustRenew(w.cert("api0", "api0.example.com"), force)
	for _, req := range w.ca.Requests() {
		method, path, _ := strings.Cut(req, " ")
		single[method+" "+strings.Split(path, "/")[1]]++
	}
	// A poll more than these is the scheduler's doing, any other request is ours.
	for _, poll := range []string{"POST authZ", "POST my-order"} {
		if single[poll] > 0 {
			single[poll] = 1
		}
	}
	want := "map[GET dir:1 HEAD nonce-plz:1 POST authZ:1 POST certZ:1 POST chalZ:1 POST finalize-order:1 POST my-order:1 POST order-plz:1]"
	if got := fmt.Sprint(single); got != want {
		t.Errorf("a single run asked\n%s, want\n%s", got, want)
	}
}

func TestRenewalWindowThatSaysNow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.cert("api", "api.example.com")
	first := w.mustRenew(cert, apply.Options{})
	now := time.Now()
	if err := w.ca.SetRenewalInfo(first, acmetest.Window(now.Add(-2*time.Hour), now.Add(-time.Hour))); err != nil {
		t.Fatal(err)
	}
	w.offset = 8 * time.Hour // past the pause in which a fresh certificate is not asked about
	w.ca.Requests()
	rep := w.renew(cert, apply.Options{})
	if len(rep.Problems) > 0 || !rep.Did(plan.Obtain) {
		t.Fatalf("done %v, problems %q: want a renewal", rep.Done, problems(rep))
	}
	second := w.live(cert)
	if pinset.OfCertificate(first) != pinset.OfCertificate(second) {
		t.Error("the pin changed")
	}
	// The next certificate's window says the same; that must not go on for ever.
	if err := w.ca.SetRenewalInfo(second, acmetest.Window(now.Add(-2*time.Hour), now.Add(-time.Hour))); err != nil {
		t.Fatal(err)
	}
	w.offset += 8 * time.Hour
	if rep := w.renew(cert, apply.Options{}); rep.Did(plan.Obtain) {
		t.Error("renewed again within a day because the CA keeps saying so")
	}
}

func TestRenewalReplacesItsPredecessor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.cert("api", "api.example.com")
	w.mustRenew(cert, apply.Options{})
	var replaces any
	w.ca.Misbehave(acmetest.ChangeJSON(acmetest.NewOrder, func(doc map[string]any) { replaces = doc["replaces"] }))
	w.mustRenew(cert, force)
	if s, _ := replaces.(string); !strings.Contains(s, ".") {
		t.Errorf("the order replaces %v, want a certificate's ID", replaces)
	}
}

func TestRenewalWindowThatSaysLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.cert("api", "api.example.com")
	first := w.mustRenew(cert, apply.Options{})
	day := 24 * time.Hour
	if err := w.ca.SetRenewalInfo(first, acmetest.Window(first.NotBefore.Add(70*day), first.NotBefore.Add(72*day))); err != nil {
		t.Fatal(err)
	}
	w.offset = 65 * day // by its lifetime it would be due
	rep := w.renew(cert, apply.Options{})
	if len(rep.Problems) > 0 || rep.Did(plan.Obtain) {
		t.Fatalf("done %v, problems %q: want no renewal", rep.Done, problems(rep))
	}
	w.ca.Requests()
	w.offset += time.Hour
	w.mustRenew(cert, apply.Options{})
	if r := w.ca.Requests(); len(r) != 0 {
		t.Errorf("the CA said to ask again in six hours, and was asked within one: %q", r)
	}
	w.offset = 73 * day
	if rep := w.renew(cert, apply.Options{}); !rep.Did(plan.Obtain) {
		t.Errorf("done %v, problems %q: want a renewal", rep.Done, problems(rep))
	}
}

func TestOneFailingCertificateDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	r := w.runner()
	bad := w.cert("bad", "bad.example.com")
	bad.Challenge = config.Challenge{HTTP01: &config.HTTP01{Webroot: w.dir}} // which nobody serves
	reports := make([]apply.Report, 3)
	var wg sync.WaitGroup
	for i, cert := range []config.Certificate{w.cert("a", "a.example.com"), bad, w.cert("c", "c.example.com")} {
		wg.Go(func() { reports[i] = r.Renew(t.Context(), cert, apply.Options{}) })
	}
	wg.Wait()
	for i, want := range []bool{true, false, true} {
		if got := reports[i].Did(plan.Install); got != want {
			t.Errorf("%s: installed %v, want %v (%q)", reports[i].Name, got, want, problems(reports[i]))
		}
	}
	if len(reports[1].Problems) != 1 || !strings.Contains(problems(reports[1])[0], "http-01 challenge for bad.example.com") {
		t.Errorf("problems %q, want one that says which challenge failed", problems(reports[1]))
	}
}

func TestAccountIsFoundAgainByItsKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.cert("api", "api.example.com")
	w.mustRenew(cert, apply.Options{})
	files, err := filepath.Glob(filepath.Join(w.dir, "state/accounts/*/*/account.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%q, %v", files, err)
	}
	before, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	w.mustRenew(cert, force)
	if after, err := os.ReadFile(files[0]); string(after) != string(before) || err != nil {
		t.Errorf("another account: %s (%v), was %s", after, err, before)
	}
}

func TestAnotherCAKeepsTheKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	other, err := acmetest.Start(acmetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	cert := w.cert("api", "api.example.com")
	first := w.mustRenew(cert, apply.Options{})
	cert.ACME.Directory, cert.ACME.CABundle = other.Directory, w.write("other.pem", other.CAPEM)
	cert.Challenge = config.Challenge{HTTP01: &config.HTTP01{Listen: other.HTTPAddr}}
	second := w.mustRenew(cert, apply.Options{}) // due, since the CA is another
	if first.Issuer.CommonName == second.Issuer.CommonName {
		t.Error("the certificate is still from the first CA")
	}
	if pinset.OfCertificate(first) != pinset.OfCertificate(second) {
		t.Error("the pin changed with the CA")
	}
}

func TestChangedNamesKeepTheKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	first := w.mustRenew(w.cert("api", "api.example.com"), apply.Options{})
	second := w.mustRenew(w.cert("api", "api.example.com", "www.example.com"), apply.Options{})
	if len(second.DNSNames) != 2 || pinset.OfCertificate(first) != pinset.OfCertificate(second) {
		t.Errorf("names %q; the pin must stay", second.DNSNames)
	}
}

// An order on record that does not fit the configuration any more is left alone: to go on
// with it would cost an attempt, since its certificate would be refused.
func TestOrderForOtherNamesIsNotGoneOnWith(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.cert("api", "api.example.com")
	w.ca.Misbehave(acmetest.Problem(acmetest.Finalize, 503, "serverInternal", "maintenance", ""))
	w.renew(cert, apply.Options{})
	if _, ordered := w.state(cert).Order(w.state(cert).Active().Pin); !ordered {
		t.Fatal("no order is on record")
	}
	w.ca.Misbehave(nil)
	w.offset = time.Hour
	cert.Domains = append(cert.Domains, "www.example.com")
	if rep := w.renew(cert, apply.Options{}); len(rep.Problems) > 0 || len(w.live(cert).DNSNames) != 2 {
		t.Errorf("problems %q", problems(rep))
	}
}
