package apply_test

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// pinned is a certificate whose pin sets go out on one channel, as a file.
func (w *world) pinned(name string) config.Certificate {
	cert := w.cert(name, name+".example.com")
	cert.KeepOldPin = 7 * 24 * time.Hour
	cert.Channels = []config.Channel{{
		Name: "app", Format: format.JSON, Lifetime: pinset.Lifetime{Duration: 30 * 24 * time.Hour},
		Publish: []hooks.Hook{hooks.File{Path: filepath.Join(w.dir, name+".json")}},
	}}
	return cert
}

// published reads the pin set that clients download.
func (w *world) published(cert config.Certificate) pinset.Set {
	w.t.Helper()
	data, err := os.ReadFile(cert.Channels[0].Publish[0].(hooks.File).Path)
	if err != nil {
		w.t.Fatal(err)
	}
	found, err := format.JSON.Decode(data)
	if err != nil {
		w.t.Fatal(err)
	}
	return pinset.Set{Version: found.Version, Pins: found.Pins}
}

func (w *world) revoked(cert *x509.Certificate) bool {
	w.t.Helper()
	revoked, reason, err := w.ca.Revoked(cert)
	if err != nil {
		w.t.Fatal(err)
	}
	if revoked && reason != 1 {
		w.t.Errorf("revoked for reason %d, want keyCompromise (1)", reason)
	}
	return revoked
}

func (w *world) keyFile(cert config.Certificate, pin pinset.Pin) string {
	return filepath.Join(w.dir, "state", "lineages", cert.Name, "keys", pin.Hex()+".pem")
}

func TestACompromisedKeyIsGoneInOneRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.pinned("api")
	cert.Deploy = []hooks.Hook{hooks.Command{Args: []string{"true"}, Timeout: time.Minute}}
	first := w.mustRenew(cert, apply.Options{})
	second := w.mustRenew(cert, apply.Options{Force: true})
	bad, backup := w.state(cert).Active().Pin, w.state(cert).Backups()[0].Pin

	start := time.Now()
	r := w.runner()
	if err := r.Rotate(t.Context(), cert, apply.RotateOptions{Compromised: true}); err != nil {
		t.Fatal(err)
	}
	rep := r.Renew(t.Context(), cert, apply.Options{})
	took := time.Since(start)
	if len(rep.Problems) > 0 {
		t.Fatal(problems(rep))
	}
	t.Logf("from the command to the end: %s", took)

	live := pinset.OfCertificate(w.live(cert))
	if live != backup {
		t.Errorf("the key %s is live, want the backup key %s", live, backup)
	}
	set := w.published(cert)
	if slices.Contains(set.Pins, bad) {
		t.Error("the compromised key's pin is still published")
	}
	s := w.state(cert)
	if next := s.Backups(); len(next) != 1 || !slices.Contains(set.Pins, next[0].Pin) || !slices.Contains(set.Pins, live) {
		t.Errorf("published %v, want %s and a new backup key of %v", set.Pins, live, next)
	}
	if !w.revoked(first) || !w.revoked(second) {
		t.Error("not every certificate of the compromised key is revoked")
	}
	if w.revoked(w.live(cert)) {
		t.Error("the new certificate is revoked, too")
	}
	if _, err := os.Stat(w.keyFile(cert, bad)); err != nil {
		t.Errorf("the compromised key's file: %v", err)
	}
	if rep := w.renew(cert, apply.Options{}); len(rep.Done)+len(rep.Problems) > 0 {
		t.Errorf("another run had to do %v, %q", rep.Done, problems(rep))
	}
	if err := w.runner().Rotate(t.Context(), cert, apply.RotateOptions{Undo: true}); err == nil {
		t.Error("there is a way back to a compromised key")
	}
}

// afterRollover is a lineage whose clients may still hold a pin set that lacks the
// backup key.
func (w *world) afterRollover(name string) config.Certificate {
	w.t.Helper()
	cert := w.pinned(name)
	w.mustRenew(cert, apply.Options{})
	if err := w.runner().Rotate(w.t.Context(), cert, apply.RotateOptions{}); err != nil {
		w.t.Fatal(err)
	}
	w.mustRenew(cert, apply.Options{})
	return cert
}

func TestACompromisedKeyIsReplacedAtAPriceOnlyWhenThatIsAccepted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.afterRollover("api")
	bad, old := w.state(cert).Active().Pin, w.live(cert)
	before := w.snapshot(cert)

	// It has to be said which key it is: the active one, or the one before.
	err := w.runner().Rotate(t.Context(), cert, apply.RotateOptions{Compromised: true})
	if refusal(err, plan.WhichKey) == "" || w.snapshot(cert) != before {
		t.Fatalf("%v, want a refusal that asks which key", err)
	}
	err = w.runner().Rotate(t.Context(), cert, apply.RotateOptions{Compromised: true, Key: apply.ActiveKey})
	if told := refusal(err, plan.GateClosed); !strings.Contains(told, "version 1 on channel app lacks the key's pin") || !strings.Contains(told, "--accept-breakage") {
		t.Fatalf("%v: %q, want a refusal that says who would be locked out", err, told)
	}
	if w.snapshot(cert) != before || w.state(cert).Rollover.Compromised {
		t.Error("something was changed all the same")
	}

	r := w.runner()
	if err := r.Rotate(t.Context(), cert, apply.RotateOptions{Compromised: true, Key: apply.ActiveKey, AcceptBreakage: true}); err != nil {
		t.Fatal(err)
	}
	if rep := r.Renew(t.Context(), cert, apply.Options{}); len(rep.Problems) > 0 {
		t.Fatal(problems(rep))
	}
	if live := pinset.OfCertificate(w.live(cert)); live == bad || slices.Contains(w.published(cert).Pins, bad) || !w.revoked(old) {
		t.Errorf("%s is live, %v published", live, w.published(cert).Pins)
	}
	ledger, err := os.ReadFile(filepath.Join(w.dir, "state", "lineages", "api", "ledger.jsonl"))
	if err != nil || !strings.Contains(string(ledger), `"kind":"abandon","channel":"app","version":1,"by":"person"`) {
		t.Errorf("who was given up is not on record (%v):\n%s", err, ledger)
	}
}

// While the new key is not deployed, clients may be presented with the compromised
// one: a pin set without it would lock them out, and one with it is not to go out.
func TestNothingIsPublishedUntilACompromisedKeyIsOutOfUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.pinned("api")
	reloaded := filepath.Join(w.dir, "reloaded")
	cert.Deploy = []hooks.Hook{hooks.Command{Args: []string{"test", "-e", reloaded}, Timeout: time.Minute}}
	w.write("reloaded", nil)
	old := w.mustRenew(cert, apply.Options{})
	bad := w.state(cert).Active().Pin
	if err := os.Remove(reloaded); err != nil {
		t.Fatal(err)
	}
	r := w.runner()
	if err := r.Rotate(t.Context(), cert, apply.RotateOptions{Compromised: true}); err != nil {
		t.Fatal(err)
	}
	rep := r.Renew(t.Context(), cert, apply.Options{})
	w.only(rep, plan.DeployFailing)
	if notes := texts("api", rep.Notes); !slices.ContainsFunc(notes, func(n string) bool { return strings.Contains(n, "leaves the pin set once the new key is deployed") }) {
		t.Errorf("notes %q", notes)
	}
	if set := w.published(cert); set.Version != 1 || w.revoked(old) {
		t.Errorf("version %d was published, revoked: %v", set.Version, w.revoked(old))
	}
	w.write("reloaded", nil)
	w.mustRenew(cert, apply.Options{})
	if set := w.published(cert); slices.Contains(set.Pins, bad) || !w.revoked(old) {
		t.Errorf("published %v, revoked: %v", set.Pins, w.revoked(old))
	}
}

func TestARevocationThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.pinned("api")
	old := w.mustRenew(cert, apply.Options{})
	w.ca.Misbehave(acmetest.Problem(acmetest.RevokeCert, http.StatusInternalServerError, "serverInternal", "out of order", ""))
	r := w.runner()
	if err := r.Rotate(t.Context(), cert, apply.RotateOptions{Compromised: true}); err != nil {
		t.Fatal(err)
	}
	rep := r.Renew(t.Context(), cert, apply.Options{})
	if told := w.only(rep, plan.RevocationFailing); !strings.Contains(told, "whose key is compromised, is not revoked") || !strings.Contains(told, "every run tries again") {
		t.Errorf("problem %q", told)
	}
	if set := w.published(cert); slices.Contains(set.Pins, pinset.OfCertificate(old)) {
		t.Error("the compromised key's pin is still published")
	}
	w.ca.Misbehave(nil)
	w.mustRenew(cert, apply.Options{})
	if !w.revoked(old) {
		t.Error("not revoked")
	}
}

func TestALostKeyGivesWayToTheBackupKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	for _, tt := range []struct {
		name string
		o    apply.RotateOptions
	}{
		{"rotate", apply.RotateOptions{}},
		{"compromised", apply.RotateOptions{Compromised: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := w.in(t)
			cert := w.pinned(tt.name)
			old := w.mustRenew(cert, apply.Options{})
			active, backup := w.state(cert).Active().Pin, w.state(cert).Backups()[0].Pin
			if err := os.Remove(w.keyFile(cert, active)); err != nil {
				t.Fatal(err)
			}
			rep := w.renew(cert, apply.Options{Force: true})
			if told := w.only(rep, plan.KeyMissing); !strings.Contains(told, "let the backup key take over: keepkey rotate --name "+tt.name) {
				t.Errorf("problem %q", told)
			}
			r := w.runner()
			if err := r.Rotate(t.Context(), cert, tt.o); err != nil {
				t.Fatal(err)
			}
			r.Renew(t.Context(), cert, apply.Options{}) // it goes on about the lost key while that is the active one
			if rep := w.renew(cert, apply.Options{}); len(rep.Problems) > 0 {
				t.Errorf("afterwards: %q", problems(rep))
			}
			if live := pinset.OfCertificate(w.live(cert)); live != backup {
				t.Errorf("%s is live, want the backup key", live)
			}
			if got := w.revoked(old); got != tt.o.Compromised {
				t.Errorf("revoked: %v", got)
			}
		})
	}
}

func TestWithoutAnyBackupKeyANewOneTakesOverOnlyAtAPrice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.pinned("api")
	w.mustRenew(cert, apply.Options{})
	s := w.state(cert)
	bad, backup := s.Active().Pin, s.Backups()[0].Pin
	if err := os.Remove(w.keyFile(cert, backup)); err != nil {
		t.Fatal(err)
	}
	err := w.runner().Rotate(t.Context(), cert, apply.RotateOptions{Compromised: true})
	if told := refusal(err, plan.NoSuccessor); !strings.Contains(told, "no backup key can take over") {
		t.Errorf("%v: %q", err, told)
	}
	if n := len(w.state(cert).Keys); n != 2 {
		t.Fatalf("there are %d keys now", n)
	}
	r := w.runner()
	if err := r.Rotate(t.Context(), cert, apply.RotateOptions{Compromised: true, Key: apply.ActiveKey, AcceptBreakage: true}); err != nil {
		t.Fatal(err)
	}
	rep := r.Renew(t.Context(), cert, apply.Options{})
	live := pinset.OfCertificate(w.live(cert))
	if live == bad || live == backup {
		t.Errorf("%s is live (%q)", live, problems(rep))
	}
	if pins := w.published(cert).Pins; slices.Contains(pins, bad) || !slices.Contains(pins, live) {
		t.Errorf("published %v", pins)
	}
}

func TestRolloversOnSchedule(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{Profiles: map[string]time.Duration{"default": 4 * 365 * 24 * time.Hour}})
	cert := w.pinned("api")
	cert.RolloverEvery = 365 * 24 * time.Hour
	w.mustRenew(cert, apply.Options{})
	first := w.state(cert).Active().Pin

	w.offset = 364 * 24 * time.Hour
	if rep := w.renew(cert, apply.Options{}); rep.Did(plan.SwitchKey) || len(rep.Problems) > 0 {
		t.Errorf("a day too early: %v %q", rep.Done, problems(rep))
	}
	w.offset = 366 * 24 * time.Hour
	w.mustRenew(cert, apply.Options{})
	second := w.state(cert).Active().Pin
	if second == first {
		t.Fatal("no rollover after a year")
	}
	// A person takes it back: the schedule counts anew from there.
	if err := w.runner().Rotate(t.Context(), cert, apply.RotateOptions{Undo: true}); err != nil {
		t.Fatal(err)
	}
	w.mustRenew(cert, apply.Options{})
	w.offset = 700 * 24 * time.Hour
	w.mustRenew(cert, apply.Options{})
	if got := w.state(cert).Active().Pin; got != first {
		t.Error("a rollover that was undone came back")
	}
	w.offset = 733 * 24 * time.Hour
	w.mustRenew(cert, apply.Options{})
	if got := w.state(cert).Active().Pin; got == first {
		t.Error("no rollover a year after the undoing")
	}
}

// Where the stored certificates were deleted their numbers begin anew, and what was
// not revoked must not pass for it.
func TestACertificateThatIsGoneIsNotTakenForRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.pinned("api")
	lost := w.mustRenew(cert, apply.Options{})
	w.remove(&cert, "certs")
	kept := w.mustRenew(cert, apply.Options{})
	r := w.runner()
	if err := r.Rotate(t.Context(), cert, apply.RotateOptions{Compromised: true}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		rep := r.Renew(t.Context(), cert, apply.Options{})
		if told := w.only(rep, plan.RevocationFailing); !strings.Contains(told, fmt.Sprintf("(serial %x), whose key is compromised, is not revoked", lost.SerialNumber)) {
			t.Errorf("problem %q", told)
		}
	}
	if !w.revoked(kept) || w.revoked(lost) {
		t.Errorf("revoked: %v, and the one that is gone: %v", w.revoked(kept), w.revoked(lost))
	}
}

// A certificate that was finalized and never stored is fetched, so that it can be revoked
// with the others.
func TestACertificateThatWasNeverStoredIsRevokedToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.pinned("api")
	w.mustRenew(cert, apply.Options{})
	bad := w.state(cert).Active().Pin
	w.ca.Misbehave(acmetest.Problem(acmetest.Certificate, 500, "serverInternal", "try later", ""))
	if rep := w.renew(cert, apply.Options{Force: true}); len(rep.Problems) == 0 {
		t.Fatal("nothing went wrong")
	}
	if _, ordered := w.state(cert).Order(bad); !ordered {
		t.Fatal("no order is on record")
	}
	w.ca.Misbehave(nil)
	w.offset += time.Hour
	r := w.runner()
	if err := r.Rotate(t.Context(), cert, apply.RotateOptions{Compromised: true}); err != nil {
		t.Fatal(err)
	}
	rep := r.Renew(t.Context(), cert, apply.Options{})
	if len(rep.Problems) > 0 || !rep.Did(plan.Collect) {
		t.Errorf("done %v, problems %q", rep.Done, problems(rep))
	}
	revoked := 0
	for _, c := range w.state(cert).Issued {
		if c.Pin == bad && !c.Revoked.IsZero() {
			revoked++
		}
	}
	if _, ordered := w.state(cert).Order(bad); ordered || revoked != 2 {
		t.Errorf("%d certificates are revoked, want 2; the order is on record: %v", revoked, ordered)
	}
}
