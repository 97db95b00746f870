package apply_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"keepkey/apply"
	"keepkey/internal/acmetest"
	"keepkey/pinset"
	"keepkey/plan"
)

// The CA's clock tells when this machine's is wrong. Nothing is published or
// confirmed then, and no key is switched, but renewals go on.

func TestNothingIsPublishedByAWrongClock(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	for _, tt := range []struct {
		name   string
		offset time.Duration
		want   string
	}{
		{"ahead", 10 * 24 * time.Hour, "this machine's clock is 10 days ahead of the CA's"},
		{"behind", -2 * time.Hour, "this machine's clock is 2h behind the CA's"},
		{"not set", -50 * 365 * 24 * time.Hour, " behind the CA's"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := w.in(t)
			cert := w.pinned(strings.ReplaceAll(tt.name, " ", "-"))
			old := w.mustRenew(cert, apply.Options{})
			cert.Backups = 2 // so that there is something to publish
			w.offset = tt.offset
			r := w.runner()
			w.ca.SetClock(0)
			rep := r.Renew(t.Context(), cert, apply.Options{Force: true})
			if !slices.ContainsFunc(problems(rep), func(p string) bool { return strings.Contains(p, tt.want) }) {
				t.Errorf("problems %q, want one with %q", problems(rep), tt.want)
			}
			if set := w.published(cert); set.Version != 1 {
				t.Errorf("version %d was published", set.Version)
			}
			if tt.offset < 0 {
				return // by that clock the new certificate is not valid yet
			}
			if w.live(cert).SerialNumber.Cmp(old.SerialNumber) == 0 {
				t.Error("the certificate was not renewed")
			}
			w.offset = 0
			w.mustRenew(cert, apply.Options{})
			if set := w.published(cert); set.Version != 2 {
				t.Errorf("version %d is published once the clock is right", set.Version)
			}
		})
	}
}

// Who lives on asks for the time again: what the CA said of it before the clock was set says
// nothing.
func TestAClockThatIsSetWhileKeepkeyRunsIsNoticed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	for _, offset := range []time.Duration{10 * 24 * time.Hour, -2 * time.Hour} {
		t.Run(offset.String(), func(t *testing.T) {
			w := w.in(t)
			cert := w.pinned(strings.Trim(offset.String(), "-"))
			r := w.runner()
			if rep := r.Renew(t.Context(), cert, apply.Options{}); len(rep.Problems) > 0 {
				t.Fatalf("problems %q", problems(rep))
			}
			cert.Backups = 2 // so that there is something to publish
			w.offset = offset
			r.Renew(t.Context(), cert, apply.Options{})
			if set := w.published(cert); set.Version != 1 {
				t.Errorf("version %d was published", set.Version)
			}
			w.offset = 0
			if rep := r.Renew(t.Context(), cert, apply.Options{}); len(rep.Problems) > 0 || w.published(cert).Version != 2 {
				t.Errorf("version %d is published once the clock is right, problems %q", w.published(cert).Version, problems(rep))
			}
		})
	}
}

// A private CA's clock can be the one that is wrong, and nobody may be able to mend it.
func TestACAsClockCanBeIgnored(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.pinned("api")
	w.mustRenew(cert, apply.Options{})
	cert.Backups = 2 // so that there is something to publish
	for _, ignore := range []bool{false, true} {
		cert.ACME.IgnoreClock = ignore
		r := w.runner()
		w.ca.SetClock(-10 * 24 * time.Hour)
		rep := r.Renew(t.Context(), cert, apply.Options{})
		if version := w.published(cert).Version; ignore != (version == 2) || ignore != (len(rep.Problems) == 0) {
			t.Errorf("ignored %v: version %d is published, problems %q", ignore, version, problems(rep))
		}
	}
}

func TestAClockThatIsAheadDoesNotOpenTheGate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.pinned("api")
	cert.KeepOldPin = 0
	w.mustRenew(cert, apply.Options{})
	rotate := func() {
		t.Helper()
		if err := w.runner().Rotate(t.Context(), cert, apply.RotateOptions{WhenOpen: true}); err != nil {
			t.Fatal(err)
		}
		w.mustRenew(cert, apply.Options{})
	}
	rotate()
	second := pinset.OfCertificate(w.live(cert))
	rotate() // waits: clients may still hold the first pin set, for 30 days

	w.offset = 31 * 24 * time.Hour
	r := w.runner()
	w.ca.SetClock(0)
	rep := r.Renew(t.Context(), cert, apply.Options{})
	if rep.Did(plan.SwitchKey) || pinset.OfCertificate(w.live(cert)) != second {
		t.Fatal("the key was switched by a clock that is a month ahead")
	}
	if told := strings.Join(problems(rep), "\n"); !strings.Contains(told, "by the CA's clock: this machine's is 744h0m0s ahead of it") {
		t.Errorf("problems %q", told)
	}
	w.offset = 31*24*time.Hour + time.Minute*2 // really so much later now, and the pause after the failure is over
	w.mustRenew(cert, apply.Options{})
	if pinset.OfCertificate(w.live(cert)) == second {
		t.Error("the key was not switched when it was time")
	}
}

// Without the CA, what is on record has to tell.
func TestAClockThatWentBackIsNoticedWithoutTheCA(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.pinned("api")
	w.mustRenew(cert, apply.Options{})
	cert.Backups = 2
	w.offset = -24 * time.Hour
	r := w.runner()
	cert.ACME.Directory = "https://127.0.0.1:1/dir"
	rep := r.Renew(t.Context(), cert, apply.Options{})
	if !slices.ContainsFunc(problems(rep), func(p string) bool { return strings.Contains(p, "but something on record happened at") }) {
		t.Errorf("problems %q", problems(rep))
	}
	if set := w.published(cert); set.Version != 1 {
		t.Errorf("version %d was published", set.Version)
	}
}
