package invariant_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"keepkey/acme"
	"keepkey/apply"
	"keepkey/config"
	"keepkey/hooks"
	"keepkey/internal/acmetest"
	"keepkey/invariant"
	"keepkey/keystore"
	"keepkey/pinset"
	"keepkey/pinset/format"
	"keepkey/plan"
	"keepkey/report"
)

func TestMain(m *testing.M) {
	acme.SetLogger(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}

// scene is a lineage after its first run, and after a rollover if that was asked.
type scene struct {
	t     *testing.T
	dir   string // of the lineage
	store *keystore.Store
	cert  config.Certificate
	out   invariant.Outside
}

func newScene(t *testing.T, ca *acmetest.Server) *scene {
	t.Helper()
	dir := t.TempDir()
	bundle := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(bundle, ca.CAPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := keystore.OpenLocked(filepath.Join(dir, "state"), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	cert := config.Certificate{
		Name: "api", Domains: []string{"api.example.com"}, KeyType: pinset.EC256, Backups: 1, KeepOldPin: 24 * time.Hour,
		ACME:      config.ACME{Directory: ca.Directory, AcceptTerms: true, CABundle: bundle},
		Challenge: config.Challenge{HTTP01: &config.HTTP01{Listen: ca.HTTPAddr}},
		Channels: []config.Channel{{
			Name: "app", Format: format.JSON, Lifetime: pinset.Lifetime{Duration: 24 * time.Hour},
			Publish: []hooks.Hook{hooks.File{Path: filepath.Join(dir, "pins.json")}},
		}},
	}
	r := &apply.Runner{Store: store, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	defer r.Close()
	if rep := r.Renew(t.Context(), cert, apply.Options{}); len(rep.Problems) > 0 {
		t.Fatalf("%+v", rep.Problems)
	}
	s := &scene{t: t, dir: filepath.Join(dir, "state", "lineages", "api"), store: store, cert: cert}
	before := s.look()
	s.out = invariant.Outside{
		Now: time.Now(), Before: &before, Served: []pinset.Pin{before.LivePin},
		Run: &invariant.Run{Undisturbed: true},
	}
	newest, _ := before.Ledger.Channel("app")
	s.out.Held = []invariant.Held{{Channel: "app", Set: pinset.Set{Version: newest.Version, Pins: newest.Pins}}}
	return s
}

func (s *scene) look() invariant.Found {
	s.t.Helper()
	f, err := invariant.Look(s.store, apply.Goal(s.cert))
	if err != nil {
		s.t.Fatal(err)
	}
	return f
}

func (s *scene) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

func (s *scene) keyPath(p pinset.Pin) string { return s.path("keys", p.Hex()+".pem") }

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// changeState changes the state behind keepkey's back.
func (s *scene) changeState(change func(*plan.State)) {
	s.t.Helper()
	l, err := s.store.Lineage("api")
	s.must(err)
	records, err := l.Records.Load()
	s.must(err)
	state, err := plan.ParseState("api", records.State)
	s.must(err)
	change(&state)
	data, err := state.Marshal("keepkey/test")
	s.must(err)
	_, err = l.Records.Swap(records, data, nil)
	s.must(err)
}

// otherKeyLive makes a certificate for the backup key live, as a client would that
// does not know of any gate.
func (s *scene) otherKeyLive() {
	s.t.Helper()
	b := s.out.Before
	s.changeState(func(st *plan.State) {
		for i := range st.Keys {
			if st.Keys[i].Role == plan.Backup {
				st.Keys[i].Role = plan.Active
				// Which it is not for: so another is obtained.
				st.Certificate.Pin, st.Certificate.Digest = st.Keys[i].Pin, ""
			} else {
				st.Keys[i].Role = plan.Retired
			}
		}
	})
	r := &apply.Runner{Store: s.store, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	defer r.Close()
	r.Renew(s.t.Context(), s.cert, apply.Options{})
	if s.look().LivePin == b.LivePin {
		s.t.Fatal("the key is still the same")
	}
}

// newSet publishes a pin set that lacks the active key.
func (s *scene) newSet(state string) {
	s.t.Helper()
	other := pinset.Pin{1}
	s.appendLedger(pinset.Entry{Kind: pinset.Intent, Channel: "app", Version: 2, Pins: []pinset.Pin{other, {2}}, Lifetime: &s.cert.Channels[0].Lifetime})
	if state == "confirmed" {
		s.appendLedger(pinset.Entry{Kind: pinset.Confirm, Channel: "app", Version: 2, By: pinset.ByKeepkey})
	}
}

func (s *scene) appendLedger(e pinset.Entry) {
	s.t.Helper()
	l, err := s.store.Lineage("api")
	s.must(err)
	records, err := l.Records.Load()
	s.must(err)
	e.At = time.Now()
	_, err = l.Records.Swap(records, records.State, &e)
	s.must(err)
}

// TestWhatDoesNotHoldIsFound breaks each invariant, and nothing that goes unnoticed
// would make the other tests prove anything.
func TestWhatDoesNotHoldIsFound(t *testing.T) {
	t.Parallel()
	ca, err := acmetest.Start(acmetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ca.Close)
	backup := func(s *scene) pinset.Pin { return s.out.Before.State.Backups()[0].Pin }
	active := func(s *scene) pinset.Pin { return s.out.Before.State.Active().Pin }
	for _, tt := range []struct {
		invariant, what string
		harm            func(s *scene)
	}{
		{"", "nothing", func(*scene) {}},
		{"promise", "a server presents a key that clients do not know", func(s *scene) { s.out.Served = append(s.out.Served, pinset.Pin{9}) }},
		{"I1", "a published key is gone", func(s *scene) { s.must(os.Remove(s.keyPath(backup(s)))) }},
		{"I1", "a key file holds another key", func(s *scene) {
			data, err := os.ReadFile(s.keyPath(backup(s)))
			s.must(err)
			s.must(os.WriteFile(s.keyPath(active(s)), data, 0o600))
		}},
		{"I2", "a key file was written again", func(s *scene) {
			data, err := os.ReadFile(s.keyPath(active(s)))
			s.must(err)
			s.must(os.WriteFile(s.keyPath(active(s)), append(data, '\n'), 0o600))
		}},
		{"I3", "certificate and key do not match", func(s *scene) {
			data, err := os.ReadFile(s.keyPath(backup(s)))
			s.must(err)
			s.must(os.WriteFile(s.path("certs", "1", "privkey.pem"), data, 0o600))
		}},
		{"I3", "live leads nowhere", func(s *scene) { s.must(os.RemoveAll(s.path("certs", "1"))) }},
		{"I3", "live is half there", func(s *scene) { s.must(os.Truncate(s.path("certs", "1", "fullchain.pem"), 100)) }},
		{"I3", "a name is missing", func(s *scene) { s.cert.Domains = append(s.cert.Domains, "b.example.com") }},
		{"I4", "the newest confirmed pin set lacks the live key", func(s *scene) { s.newSet("confirmed") }},
		{"I5", "no backup key can be used", func(s *scene) { s.must(os.Chmod(s.keyPath(backup(s)), 0o644)) }},
		{"I5", "a backup key is missing", func(s *scene) { s.cert.Backups = 2 }},
		{"I6", "a pin set that may be out lacks the live key", func(s *scene) { s.newSet("intended") }},
		{"I7", "the ledger lost its lines, and the state forgot them", func(s *scene) {
			s.must(os.Remove(s.path("ledger.jsonl")))
			data, err := os.ReadFile(s.path("state.json"))
			s.must(err)
			old, empty := s.out.Before.Ledger.Head(), pinset.Ledger{}.Head()
			forgotten := strings.Replace(string(data), fmt.Sprintf(`"entries": %d,`, old.Entries), `"entries": 0,`, 1)
			forgotten = strings.Replace(forgotten, old.Hash, empty.Hash, 1)
			s.must(os.WriteFile(s.path("state.json"), []byte(forgotten), 0o600))
			if f := s.look(); f.LedgerProblem != nil || f.StateProblem != nil {
				t.Fatalf("it is noticed without the invariant: %v %v", f.LedgerProblem, f.StateProblem)
			}
		}},
		{"I7", "the ledger was edited", func(s *scene) {
			data, err := os.ReadFile(s.path("ledger.jsonl"))
			s.must(err)
			s.must(os.WriteFile(s.path("ledger.jsonl"), []byte(strings.Replace(string(data), `"app"`, `"web"`, 1)), 0o600))
		}},
		{"I7", "a compromised key is published again", func(s *scene) {
			for i, k := range s.out.Before.State.Keys {
				if k.Role == plan.Backup {
					s.out.Before.State.Keys[i].Role = plan.Compromised
					s.appendLedger(pinset.Entry{Kind: pinset.Intent, Channel: "app", Version: 2, Lifetime: &s.cert.Channels[0].Lifetime,
						Pins: []pinset.Pin{active(s), k.Pin}})
				}
			}
		}},
		{"I8", "the loser of the lock made a key", func(s *scene) {
			s.out.Run.Status = 4
			l, err := s.store.Lineage("api")
			s.must(err)
			_, err = l.Keys.Create(pinset.EC256)
			s.must(err)
		}},
		{"I9", "something is left to do", func(s *scene) { s.must(os.Remove(s.path("live"))) }},
		{"I9", "a file is left behind", func(s *scene) { s.must(os.WriteFile(s.path("keys", ".tmp-1"), nil, 0o600)) }},
		{"I10", "the state is cut short", func(s *scene) { s.must(os.Truncate(s.path("state.json"), 100)) }},
		{"I10", "a run made a new key for a lost one", func(s *scene) {
			delete(s.out.Before.Keys, active(s))
			s.out.Run = &invariant.Run{Status: 1}
		}},
		{"I10", "a run on a lineage without its key ended well", func(s *scene) {
			s.out.Before.KeyProblems[active(s)] = os.ErrPermission
			s.out.Run = &invariant.Run{}
		}},
		{"I11", "a key is in the log", func(s *scene) {
			data, err := os.ReadFile(s.keyPath(backup(s)))
			s.must(err)
			s.out.Run.Output = append([]byte("level=DEBUG key="), data...)
		}},
		{"I11", "others can read a key that is live", func(s *scene) { s.must(os.Chmod(s.path("certs", "1", "privkey.pem"), 0o644)) }},
		{"I11", "others can look into the lineage", func(s *scene) { s.must(os.Chmod(s.path("keys"), 0o755)) }},
		{"I12", "the CA is asked without end", func(s *scene) { s.out.Run.Requests = 1000 }},
		{"I12", "output without end", func(s *scene) { s.out.Run.Output = make([]byte, 2<<20) }},
		{"I13", "a stored certificate was changed", func(s *scene) {
			s.must(os.WriteFile(s.path("certs", "1", "chain.pem"), nil, 0o644))
		}},
		{"I13", "one of the newest certificates was removed", func(s *scene) { s.out.Before.Versions[2] = "some hash" }},
		{"I13", "an older certificate is live", func(s *scene) { s.out.Before.Live = 2 }},
		{"I14", "another key is live, and nobody asked", func(s *scene) { s.otherKeyLive() }},
		{"I14", "another key is active, and nobody asked", func(s *scene) {
			before := s.out.Before.State.Clone()
			for i, k := range before.Keys {
				switch k.Role {
				case plan.Active:
					before.Keys[i].Role = plan.Backup
				case plan.Backup:
					before.Keys[i].Role = plan.Active
				}
			}
			s.out.Before.State = before
		}},
		{"I15", "a switch before its time", func(s *scene) {
			for i, k := range s.out.Before.State.Keys {
				if k.Role == plan.Active {
					s.out.Before.State.Keys[i].Pin = pinset.Pin{7}
				}
			}
			s.newSet("intended")
		}},
		{"I16", "one event, told in two ways", func(s *scene) {
			s.out.Events = []invariant.Event{{ID: "a", Channel: "app", Version: 1}, {ID: "a", Channel: "app", Version: 2}}
		}},
		{"I16", "an older pin set after a newer one", func(s *scene) {
			s.out.Events = []invariant.Event{{ID: "a", Channel: "app", Version: 2}, {ID: "b", Channel: "app", Version: 1}}
		}},
		{"I17", "a switch to a key that clients refuse, as they report", func(s *scene) {
			s.newSet("confirmed")
			s.appendLedger(pinset.Entry{Kind: pinset.Intent, Channel: "app", Version: 3, Pins: []pinset.Pin{active(s), backup(s)}, Lifetime: &s.cert.Channels[0].Lifetime})
			s.appendLedger(pinset.Entry{Kind: pinset.Confirm, Channel: "app", Version: 3, By: pinset.ByKeepkey})
			s.appendLedger(pinset.Entry{Kind: pinset.Retire, Channel: "app", Version: 2, By: pinset.ByPerson})
			s.out.Now = time.Now().Add(time.Minute)
			in := plan.Input{State: s.out.Before.State, Ledger: s.look().Ledger}
			reports := plan.NewReports("salt").Add(in, report.Report{Host: "api.example.com", Known: []pinset.Pin{{1}, {2}}}, "a", s.out.Now)
			data, err := reports.Marshal()
			s.must(err)
			l, err := s.store.Lineage("api")
			s.must(err)
			s.must(l.Reports.Save(data))
			s.out.Before.Reports = reports
			for i, k := range s.out.Before.State.Keys {
				if k.Role == plan.Active {
					s.out.Before.State.Keys[i].Pin = pinset.Pin{7}
				}
			}
		}},
	} {
		t.Run(tt.invariant+" "+tt.what, func(t *testing.T) {
			s := newScene(t, ca)
			tt.harm(s)
			got := s.look().Check(s.out)
			if tt.invariant == "" && len(got) > 0 {
				t.Errorf("found %v", got)
			}
			if tt.invariant != "" && !slices.ContainsFunc(got, func(v invariant.Violation) bool { return v.Invariant == tt.invariant }) {
				t.Errorf("found %v, and not %s", got, tt.invariant)
			}
		})
	}
}
