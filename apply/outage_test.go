package apply_test

import (
	"bytes"
	"context"
	"crypto"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/hooks"
	"keepkey/internal/acmetest"
	"keepkey/pinset"
	"keepkey/pinset/format"
	"keepkey/plan"
)

// atOnce is how many lineages the runs here work on at a time, see all.
const atOnce = 8

// crowd configures certificates of which each has a channel, has them obtained, and
// goes on to the day on which all are due. A second backup key then waits to be
// published.
func (w *world) crowd(n int) []config.Certificate {
	w.t.Helper()
	var certs []config.Certificate
	for i := range n {
		name := fmt.Sprintf("n%d", i)
		cert := w.cert(name, name+".example.com")
		cert.Channels = []config.Channel{{
			Name: "app", Format: format.JSON, Lifetime: pinset.Lifetime{Duration: day},
			Publish: []hooks.Hook{hooks.File{Path: filepath.Join(w.dir, name+".json")}},
		}}
		certs = append(certs, cert)
	}
	for _, rep := range all(w.t, w.runner(), certs, apply.Options{}) {
		if len(rep.Problems) > 0 {
			w.t.Fatalf("%s: %q", rep.Name, problems(rep))
		}
	}
	for i := range certs {
		certs[i].Backups++
	}
	w.offset = 63 * day
	w.ca.Requests()
	return certs
}

// asked counts requests to an endpoint since it was last called.
func asked(ca *acmetest.Server, e acmetest.Endpoint) int {
	n := 0
	for _, r := range ca.Requests() {
		if strings.HasSuffix(r, string(e)) {
			n++
		}
	}
	return n
}

// renewed counts the lineages that were renewed without any problem.
func renewed(reports []apply.Report) int {
	n := 0
	for _, rep := range reports {
		if rep.Did(plan.Obtain) && rep.Did(plan.Install) && len(rep.Problems) == 0 {
			n++
		}
	}
	return n
}

func TestACAThatDoesNotAnswerCostsOneTimeLimit(t *testing.T) {
	t.Parallel()
	certs, others := 40, 4
	if testing.Short() {
		certs, others = 14, 2
	}
	for _, tt := range []struct {
		name  string
		fault acmetest.Fault
		at    acmetest.Endpoint
		most  int // requests there in one run
	}{
		// All that are under way when it falls silent, and those that begin before the third
		// answer fails to come.
		{"new orders stall", acmetest.Stall(acmetest.NewOrder), acmetest.NewOrder, atOnce + 2},
		// Each is tried a second time without naming the certificate that it replaces.
		{"new orders fail", acmetest.Problem(acmetest.NewOrder, 503, "serverInternal", "down", ""), acmetest.NewOrder, 2 * (atOnce + 2)},
		{"the directory stalls", acmetest.Stall(acmetest.Directory), acmetest.Directory, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, acmetest.Options{})
			due := w.crowd(certs)
			elsewhere, err := acmetest.Start(acmetest.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(elsewhere.Close)
			elsewhere.SetClock(w.offset)
			bundle := w.write("elsewhere.pem", elsewhere.CAPEM)
			mixed := slices.Clone(due)
			for i := range others { // among the first, and among the last
				cert := w.cert(fmt.Sprintf("other%d", i), fmt.Sprintf("other%d.example.com", i))
				cert.ACME.Directory, cert.ACME.CABundle = elsewhere.Directory, bundle
				cert.Challenge = config.Challenge{HTTP01: &config.HTTP01{Listen: elsewhere.HTTPAddr}}
				mixed = slices.Insert(mixed, i*len(mixed)/(others-1), cert)
			}

			w.ca.Misbehave(tt.fault)
			w.requestTimeout = 3 * time.Second // longer than any answer takes on a busy machine
			r := w.runner()
			reports := all(t, r, mixed, apply.Options{})
			if n := asked(w.ca, tt.at); n > tt.most || n == 0 {
				t.Errorf("it was asked %d times, want at most %d", n, tt.most)
			}
			for i, rep := range reports {
				if mixed[i].ACME.Directory == elsewhere.Directory {
					if !rep.Did(plan.Install) || len(rep.Problems) > 0 {
						t.Errorf("%s, of another CA: done %q, problems %q", rep.Name, brief(rep.Done), problems(rep))
					}
					continue
				}
				if got := codes(rep.Problems); !slices.Equal(got, []plan.Code{plan.CAUnreachable}) {
					t.Errorf("%s: problems %q, want that the CA does not answer", rep.Name, problems(rep))
				}
				if w.published(mixed[i]).Version != 2 {
					t.Errorf("%s: version %d is published, want 2", rep.Name, w.published(mixed[i]).Version)
				}
			}

			// The same process, as a daemon's: before the minute is over it asks nobody, and
			// then it finds that the CA is back.
			w.ca.Misbehave(nil)
			w.requestTimeout = 20 * time.Second
			w.offset += 30 * time.Second
			all(t, r, due, apply.Options{})
			if n := asked(w.ca, acmetest.NewOrder); n > 0 {
				t.Errorf("%d new orders within the minute", n)
			}
			w.offset += 50 * time.Second // the attempts that failed are spread a little
			reports = all(t, r, due, apply.Options{})
			if n := renewed(reports); n != certs {
				t.Errorf("%d of %d were renewed when the CA was back", n, certs)
				for _, rep := range reports {
					t.Logf("%s: %q, %q", rep.Name, brief(rep.Done), problems(rep))
				}
			}
		})
	}
}

func TestACAThatAsksToBeLeftAloneIs(t *testing.T) {
	t.Parallel()
	certs := 50
	if testing.Short() {
		certs = 20
	}
	w := newWorld(t, acmetest.Options{})
	due := w.crowd(certs)
	w.ca.Misbehave(acmetest.Problem(acmetest.NewOrder, 429, "rateLimited", "too many new orders", "3600"))
	wave := func(o apply.Options, want ...int) {
		t.Helper()
		reports := all(t, w.runner(), due, o) // of a new process
		if n := asked(w.ca, acmetest.NewOrder); n < want[0] || n > want[1] {
			t.Errorf("%d new orders, want from %d to %d", n, want[0], want[1])
		}
		for _, rep := range reports {
			if got := codes(rep.Problems); !slices.Equal(got, []plan.Code{plan.CAPaused}) {
				t.Errorf("%s: problems %q, want that the CA asks to be left alone", rep.Name, problems(rep))
			}
		}
	}
	wave(apply.Options{}, 1, atOnce)
	w.offset += 20 * time.Minute
	wave(apply.Options{}, 0, 0)
	w.offset += 30 * time.Minute
	wave(force, 1, atOnce) // who insists is told once more, for another hour
	w.offset += 50 * time.Minute
	wave(apply.Options{}, 0, 0)
	w.ca.Misbehave(nil)
	w.offset += 11 * time.Minute
	if n := renewed(all(t, w.runner(), due, apply.Options{})); n != certs {
		t.Errorf("%d of %d were renewed when the time was over", n, certs)
	}
}

func TestALimitForANameConcernsOnlyItsCertificates(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	certs := w.crowd(6)
	certs[3].Domains = []string{"n3.example.com", "www.n1.example.com"}
	limited := []int{1, 3} // those with names at or below n1.example.com
	body := `{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many certificates","subproblems":[` +
		`{"type":"urn:ietf:params:acme:error:rateLimited","detail":"for this name","identifier":{"type":"dns","value":"n1.example.com"}}]}`
	refused := acmetest.Respond(acmetest.NewOrder, 429, http.Header{"Content-Type": {"application/problem+json"}, "Retry-After": {"3600"}}, []byte(body))
	var said atomic.Int64
	w.ca.Misbehave(func(next http.Handler) http.Handler {
		refusing := refused(next)
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == string(acmetest.NewOrder) && bytes.Contains(acmetest.Signed(r), []byte("n1.example.com")) {
				said.Add(1)
				refusing.ServeHTTP(rw, r)
				return
			}
			next.ServeHTTP(rw, r)
		})
	})
	r := w.runner()
	for i, cert := range certs { // one after the other: the second is put off without asking
		rep := r.Renew(t.Context(), cert, apply.Options{})
		if slices.Contains(limited, i) {
			w.only(rep, plan.CAPaused)
		} else if len(rep.Problems) > 0 || !rep.Did(plan.Install) {
			t.Errorf("%s: done %q, problems %q", rep.Name, brief(rep.Done), problems(rep))
		}
	}
	if n := said.Load(); n != 1 {
		t.Errorf("the CA was asked %d times for n1.example.com, and had said no the first time", n)
	}
	w.ca.Misbehave(nil)
	w.offset += time.Hour + time.Minute
	for _, i := range limited {
		w.mustRenew(certs[i], apply.Options{})
	}
}

// refuseKey has the CA refuse all certificates for one key.
func refuseKey(pin pinset.Pin) acmetest.Fault {
	return acmetest.RefuseKey(func(key crypto.PublicKey) bool {
		p, err := pinset.Of(key)
		return err == nil && p == pin
	})
}

// Each purpose has its own back-off: a switch that the CA refuses, whatever is done,
// does not keep the certificate in use from being renewed.
func TestASwitchThatIsRefusedDoesNotStarveTheRenewal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.pinned("api")
	old := w.mustRenew(cert, apply.Options{})
	backup := w.state(cert).Backups()[0].Pin
	w.ca.Misbehave(refuseKey(backup))
	if err := w.runner().Rotate(t.Context(), cert, apply.RotateOptions{}); err != nil {
		t.Fatal(err)
	}
	rep := w.renew(cert, apply.Options{}) // it is not due yet: only the switch is tried
	if w.only(rep, plan.SwitchFailing); rep.Did(plan.Obtain) || rep.Did(plan.SwitchKey) {
		t.Errorf("done %q", brief(rep.Done))
	}
	for _, offset := range []time.Duration{63 * day, 64 * day} { // due, and then by force
		w.offset = offset
		rep := w.renew(cert, apply.Options{Force: offset == 62*day})
		if w.only(rep, plan.SwitchFailing); !rep.Did(plan.Obtain) || rep.Did(plan.SwitchKey) {
			t.Errorf("after %s: done %q, want the renewal", offset, brief(rep.Done))
		}
		next := w.live(cert)
		if next.SerialNumber.Cmp(old.SerialNumber) == 0 || pinset.OfCertificate(next) != pinset.OfCertificate(old) {
			t.Errorf("after %s: want a new certificate for the same key", offset)
		}
		old = next
	}
	if failed := w.state(cert).Failures; len(failed) != 1 || failed["switch-key"].Count != 3 {
		t.Errorf("failures on record: %+v, want those of the switch", failed)
	}
	w.ca.Misbehave(nil)
	w.offset += 2 * day
	w.mustRenew(cert, apply.Options{})
	if pinset.OfCertificate(w.live(cert)) == pinset.OfCertificate(old) {
		t.Error("the key was not switched when the CA took it")
	}
}

// endOf tells when a lineage's turn is over.
type endOf struct {
	name string
	over chan<- apply.Report
}

func (endOf) Begin(string) {}
func (e endOf) End(_ int, rep apply.Report) {
	if rep.Name == e.name {
		e.over <- rep
	}
}

// An order can take a quarter of an hour. As many as there are workers keep another CA's
// certificate from nothing.
func TestACAThatIsSlowKeepsNoOtherWaiting(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	quick, err := acmetest.Start(acmetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(quick.Close)
	var certs []config.Certificate
	for i := range atOnce {
		certs = append(certs, w.cert(fmt.Sprintf("slow%d", i), fmt.Sprintf("slow%d.example.com", i)))
	}
	last := w.cert("quick", "quick.example.com")
	last.ACME.Directory, last.ACME.CABundle = quick.Directory, w.write("quick.pem", quick.CAPEM)
	last.Challenge = config.Challenge{HTTP01: &config.HTTP01{Listen: quick.HTTPAddr}}
	certs = append(certs, last)
	w.ca.Misbehave(acmetest.Stall(acmetest.NewOrder))
	w.requestTimeout = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan apply.Report, 1)
	ended := make(chan struct{})
	go func() {
		w.runner().All(ctx, certs, apply.Options{}, atOnce, endOf{"quick", over})
		close(ended)
	}()
	if rep := <-over; len(rep.Problems) > 0 || !rep.Did(plan.Install) {
		t.Errorf("done %q, problems %q", brief(rep.Done), problems(rep))
	}
	cancel()
	<-ended
}
