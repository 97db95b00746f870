package apply_test

import (
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/internal/acmetest"
	"keepkey/invariant"
	"keepkey/plan"
)

// passing is a world with a CA that goes along when time passes. It knows nothing of its
// certificates' serials, so it revokes whatever it is asked to, unless it refuses.
type passing struct {
	*world
	cert    config.Certificate
	ahead   atomic.Int64
	refuses atomic.Bool // revocations
}

func newPassing(t *testing.T, lifetime time.Duration) *passing {
	p := &passing{world: newWorld(t, acmetest.Options{RSA: true, Profiles: map[string]time.Duration{"default": lifetime}})}
	p.cert = p.pinned("api")
	p.cert.KeepOldPin = 0
	shift := p.ca.Shift(func() time.Duration { return time.Duration(p.ahead.Load()) })
	p.ca.Misbehave(func(next http.Handler) http.Handler {
		revokes := acmetest.Respond(acmetest.RevokeCert, http.StatusOK, nil, nil)(next)
		refuses := acmetest.Problem(acmetest.RevokeCert, 403, "unauthorized", "no", "")(next)
		return shift(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if p.refuses.Load() {
				refuses.ServeHTTP(w, r)
				return
			}
			revokes.ServeHTTP(w, r)
		}))
	})
	return p
}

func (p *passing) pass(d time.Duration) {
	p.offset += d
	p.ahead.Store(int64(p.offset))
}

// runs expects a run that leaves certain certificate versions, and no invariant broken.
func (p *passing) runs(o apply.Options, want ...int) apply.Report {
	p.t.Helper()
	before := p.found(p.cert)
	rep := p.renew(p.cert, o)
	after := p.found(p.cert)
	for _, v := range after.Check(invariant.Outside{Now: p.now(), Before: &before, Run: &invariant.Run{Undisturbed: len(rep.Problems) == 0, Asked: true}}) {
		p.t.Error(v)
	}
	var got []int
	for n := range after.Versions {
		got = append(got, n)
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		p.t.Errorf("certificate versions %v are there, want %v (done %q, problems %q)", got, want, brief(rep.Done), problems(rep))
	}
	p.live(p.cert)
	return rep
}

// upTo are the numbers of the first versions.
func upTo(n int) []int {
	var all []int
	for i := range n {
		all = append(all, i+1)
	}
	return all
}

func TestExpiredCertificatesArePrunedButForTheNewest(t *testing.T) {
	t.Parallel()
	p := newPassing(t, 6*day)
	p.mustRenew(p.cert, apply.Options{})
	for n := 2; n <= 9; n++ {
		p.pass(7 * day)
		p.runs(apply.Options{}, upTo(n)[max(0, n-5):]...)
	}
}

// Another host may still serve what it installed last, however long ago that was.
func TestWhatAnotherHostServesIsNotPruned(t *testing.T) {
	t.Parallel()
	p := newPassing(t, 6*day)
	p.mustRenew(p.cert, apply.Options{})
	p.addHost(p.cert, otherHost, plan.Host{Hostname: "web2", Installed: 1})
	for n := 2; n <= 7; n++ {
		p.pass(7 * day)
		want := upTo(n)[max(0, n-5):]
		if want[0] != 1 {
			want = append([]int{1}, want...)
		}
		p.runs(apply.Options{}, want...)
	}
	if err := p.runner().ForgetHost(t.Context(), p.cert, otherHost); err != nil {
		t.Fatal(err)
	}
	p.runs(apply.Options{}, 3, 4, 5, 6, 7)
}

// A certificate that has not expired may have to be revoked, which takes its file.
func TestACertificateOfACompromisedKeyStaysUntilItExpired(t *testing.T) {
	t.Parallel()
	p := newPassing(t, 90*day)
	p.mustRenew(p.cert, apply.Options{})
	for n := 2; n <= 8; n++ {
		p.runs(force, upTo(n)...)
	}
	p.refuses.Store(true)
	if err := p.runner().Rotate(t.Context(), p.cert, apply.RotateOptions{Compromised: true}); err != nil {
		t.Fatal(err)
	}
	if rep := p.runs(apply.Options{}, upTo(9)...); len(rep.Problems) != 8 {
		t.Errorf("problems %q, want that 8 certificates are not revoked", problems(rep))
	}
	p.pass(63 * day)
	p.runs(apply.Options{}, upTo(10)...) // a renewal, and the eight are valid still
	p.refuses.Store(false)
	if rep := p.runs(apply.Options{}, upTo(10)...); len(rep.Problems) > 0 || fmt.Sprint(kinds(rep)) != "[revoke revoke revoke revoke revoke revoke revoke revoke]" {
		t.Errorf("done %q, problems %q: want eight revocations", brief(rep.Done), problems(rep))
	}
	p.pass(29 * day) // they are past their end
	p.runs(apply.Options{}, 6, 7, 8, 9, 10)
}

func kinds(rep apply.Report) []plan.Kind {
	var all []plan.Kind
	for _, a := range rep.Done {
		all = append(all, a.Kind)
	}
	return all
}

// The run that obtains the first version too many removes the oldest, and the forecast
// says so before.
func TestTheFirstPruningIsForeseen(t *testing.T) {
	t.Parallel()
	p := newPassing(t, 6*day)
	p.mustRenew(p.cert, apply.Options{})
	for range plan.KeepVersions - 1 {
		p.pass(7 * day)
		p.mustRenew(p.cert, apply.Options{})
	}
	p.pass(7 * day)
	_, forecast, err := p.runner().Plan(t.Context(), p.cert, apply.Options{})
	if err != nil {
		t.Fatal(err)
	}
	foreseen := slices.ContainsFunc(forecast.Actions, func(a plan.Action) bool { return a.Kind == plan.Prune && a.Version == 1 })
	if rep := p.runs(apply.Options{}, 2, 3, 4, 5, 6); !foreseen || !rep.Did(plan.Prune) {
		t.Errorf("foreseen %q, done %q: want version 1 to be removed, as foreseen", brief(forecast.Actions), brief(rep.Done))
	}
}
