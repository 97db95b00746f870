package apply_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/internal/acmetest"
	"keepkey/plan"
)

// otherHost is the ID of a second host, whose records are shared and whose live
// directory is elsewhere.
const otherHost = "0123456789abcdef"

// addHost puts on record what another host did.
func (w *world) addHost(cert config.Certificate, id string, h plan.Host) {
	w.t.Helper()
	l, err := w.store.Lineage(cert.Name)
	if err != nil {
		w.t.Fatal(err)
	}
	records, err := l.Records.Load()
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := plan.ParseState(cert.Name, records.State)
	if err != nil {
		w.t.Fatal(err)
	}
	if s.Hosts == nil {
		s.Hosts = make(map[string]plan.Host)
	}
	s.Hosts[id] = h
	data, err := s.Marshal("keepkey/test")
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := l.Records.Swap(records, data, nil); err != nil {
		w.t.Fatal(err)
	}
}

// A rollover is over when every host on record serves the new key: until then clients
// that meet the old one there must find its pin.
func TestTheOldPinStaysUntilEveryHostServesTheNewKey(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		ends func(w *world, cert config.Certificate) error // the wait for the other host
	}{
		{"it catches up", func(w *world, cert config.Certificate) error {
			w.addHost(cert, otherHost, plan.Host{Hostname: "web2", Installed: w.state(cert).Certificate.Version})
			return nil
		}},
		{"it is forgotten", func(w *world, cert config.Certificate) error {
			return w.runner().ForgetHost(w.t.Context(), cert, otherHost)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, acmetest.Options{})
			cert := w.pinned("api")
			w.mustRenew(cert, apply.Options{})
			old := w.state(cert).Active().Pin
			w.addHost(cert, otherHost, plan.Host{Hostname: "web2", Installed: 1})
			if err := w.runner().Rotate(t.Context(), cert, apply.RotateOptions{}); err != nil {
				t.Fatal(err)
			}
			w.mustRenew(cert, apply.Options{})
			for range 3 { // far beyond the time for which the old pin is kept
				w.offset += 9 * day
				rep := w.renew(cert, apply.Options{})
				if rep.Did(plan.RetirePin) || len(rep.Problems) > 0 || !slices.Contains(w.published(cert).Pins, old) {
					t.Fatalf("done %q, problems %q, published %v: want the old pin %s to stay", brief(rep.Done), problems(rep), w.published(cert).Pins, old)
				}
				if len(rep.Notes) != 1 || rep.Notes[0].Code != plan.OldPinKept || !slices.Equal(rep.Notes[0].Hosts, []string{"0123456789abcdef (web2)"}) {
					t.Errorf("notes %q, want that web2 is waited for, and nobody else", texts("api", rep.Notes))
				}
			}
			if err := tt.ends(w, cert); err != nil {
				t.Fatal(err)
			}
			rep := w.renew(cert, apply.Options{})
			if !rep.Did(plan.RetirePin) || slices.Contains(w.published(cert).Pins, old) {
				t.Errorf("done %q, problems %q, published %v: want the old pin %s to be gone", brief(rep.Done), problems(rep), w.published(cert).Pins, old)
			}
		})
	}
}

func TestOnlyAnotherHostThatIsOnRecordIsForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.pinned("api")
	if told := refusal(w.runner().ForgetHost(t.Context(), cert, otherHost), plan.NothingYet); told == "" {
		t.Error("a host of a lineage that was never begun was forgotten")
	}
	w.mustRenew(cert, apply.Options{})
	this := w.store.Host()
	before := w.state(cert).Hosts
	if _, there := before[this]; !there || len(before) != 1 {
		t.Fatalf("hosts on record: %v, want this one (%s)", before, this)
	}
	if told := refusal(w.runner().ForgetHost(t.Context(), cert, this), plan.ThisHost); !strings.Contains(told, "this host") {
		t.Errorf("%q, want a refusal: this host is not gone", told)
	}
	if told := refusal(w.runner().ForgetHost(t.Context(), cert, otherHost), plan.NoSuchHost); !strings.Contains(told, this) {
		t.Errorf("%q, want a refusal that names the hosts there are", told)
	}
	if after := w.state(cert).Hosts; !slices.Equal(slices.Collect(maps.Keys(after)), []string{this}) {
		t.Errorf("hosts on record: %v", after)
	}
}
