package status_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
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
	"keepkey/status"
)

// A state directory of each schema that there ever was must load for ever, and mean
// what it meant: those in testdata/state were written by keepkey itself and are not to be
// changed. The README there says how they came to be.

const goldenDir = "../testdata/state/"

// goldens are the schemas' directories, with how much of all that there is they hold.
var goldens = []struct {
	name           string
	lineages       []string
	roles, entries int
}{
	{"v1", []string{"compromised", "restarted", "rollover", "settled"}, 4, 5},
	{"v2", []string{"compromised", "places", "restarted", "rollover", "settled"}, 5, 9},
}

// writeGolden makes the last of the directories, for a new schema:
//
//	KEEPKEY_WRITE_GOLDEN=1 go test -run Golden ./status
const writeGolden = "KEEPKEY_WRITE_GOLDEN"

// named is a hook of a test: its name is its identity, and it does nothing but fail
// where it is told to.
type named struct {
	name string
	err  *error
}

func (n named) Run(context.Context, hooks.Event) error {
	if n.err == nil {
		return nil
	}
	return *n.err
}
func (n named) ID() string     { return n.name }
func (n named) String() string { return n.name }

const day = 24 * time.Hour

// configured are the certificates whose lineages are kept.
func configured(name string, failing *error) config.Certificate {
	return config.Certificate{
		Name: name, Domains: []string{name + ".example.com", "www." + name + ".example.com"}, KeyType: pinset.EC256, Backups: 1,
		KeepOldPin: 7 * day, RolloverEvery: 365 * day,
		Channels: []config.Channel{
			{Name: "app", Format: format.JSON, Lifetime: pinset.Lifetime{Duration: 30 * day}, Publish: []hooks.Hook{named{name: "upload"}}},
			{Name: "ios", Format: format.JSON, Lifetime: pinset.Lifetime{Forever: true}, Manual: true, Publish: []hooks.Hook{named{name: "mail"}}},
		},
		Deploy: []hooks.Hook{named{"reload", failing}},
	}
}

func TestGoldenStateLoadsForEver(t *testing.T) {
	t.Parallel()
	newest := goldens[len(goldens)-1].name
	if os.Getenv(writeGolden) != "" {
		makeGolden(t, goldenDir+newest)
	}
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			loads(t, goldenDir+g.name, g.lineages, g.roles, g.entries, os.Getenv(writeGolden) != "" && g.name == newest)
		})
	}
}

// loads reads a golden state directory, and holds it to what it meant.
func loads(t *testing.T, golden string, lineages []string, roleCount, entryCount int, write bool) {
	dir := filepath.Join(t.TempDir(), "state")
	copyPrivate(t, dir, filepath.Join(golden, "state"))
	stamp, err := os.ReadFile(filepath.Join(golden, "now.txt"))
	if err != nil {
		t.Fatal(err)
	}
	now, err := time.Parse(time.RFC3339, strings.TrimSpace(string(stamp)))
	if err != nil {
		t.Fatal(err)
	}
	store, err := keystore.OpenLocked(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	names, err := store.Names()
	if err != nil || !slices.Equal(names, lineages) {
		t.Fatalf("lineages %q (%v), want %q", names, err, lineages)
	}
	roles := make(map[plan.Role]bool)
	entries := make(map[pinset.EntryKind]bool)
	var seen []status.Lineage
	for _, name := range names {
		cert := configured(name, nil)
		found, err := invariant.Look(store, apply.Goal(cert))
		if err != nil || found.StateProblem != nil || found.LedgerProblem != nil {
			t.Fatalf("%s: %v, %v, %v", name, err, found.StateProblem, found.LedgerProblem)
		}
		for _, v := range found.Check(invariant.Outside{Now: now}) {
			t.Errorf("%s: %s", name, v)
		}
		for _, k := range found.State.Keys {
			roles[k.Role] = true
		}
		for _, e := range found.Ledger.Entries() {
			entries[e.Kind] = true
		}
		cert.ACME.Directory = found.State.Certificate.Directory
		r := &apply.Runner{Store: store, Now: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler)}
		in, p, err := r.Plan(t.Context(), cert, apply.Options{})
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, status.Of(in, p))
	}
	if len(roles) != roleCount || len(entries) != entryCount {
		t.Errorf("roles %v and entries %v: not all there are", roles, entries)
	}
	got, err := json.MarshalIndent(seen, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	expected := filepath.Join(golden, "status.json")
	if write {
		if err := os.WriteFile(expected, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(expected)
	if err != nil || !bytes.Equal(append(got, '\n'), want) {
		t.Errorf("it means something else now (%v):\n%s", err, got)
	}
}

// The lineages of the golden state can be resumed: what is due gets done.
func TestGoldenStateCanBeResumed(t *testing.T) {
	t.Parallel()
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			resumes(t, goldenDir+g.name, g.lineages)
		})
	}
}

func resumes(t *testing.T, golden string, lineages []string) {
	dir := filepath.Join(t.TempDir(), "state")
	copyPrivate(t, dir, filepath.Join(golden, "state"))
	store, err := keystore.OpenLocked(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	ca, err := acmetest.Start(acmetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer ca.Close()
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(bundle, ca.CAPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	r := &apply.Runner{Store: store, Now: time.Now, Log: slog.New(slog.DiscardHandler), UserAgent: "keepkey/test"}
	defer r.Close()
	for _, name := range lineages {
		cert := configured(name, nil)
		cert.ACME = config.ACME{Directory: ca.Directory, AcceptTerms: true, CABundle: bundle}
		cert.Challenge = config.Challenge{HTTP01: &config.HTTP01{Listen: ca.HTTPAddr}}
		before, err := invariant.Look(store, apply.Goal(cert))
		if err != nil {
			t.Fatal(err)
		}
		rep := r.Renew(t.Context(), cert, apply.Options{Force: true})
		for _, p := range rep.Problems {
			if p.Code == plan.RevocationFailing || p.Code == plan.PlaceRemoved {
				continue // the CA that issued it is gone, and so is the place
			}
			t.Errorf("%s: %q", name, status.ProblemOf(name, p).Lines())
		}
		after, err := invariant.Look(store, apply.Goal(cert))
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range after.Check(invariant.Outside{Now: time.Now(), Before: &before, Run: &invariant.Run{Asked: true}}) {
			t.Errorf("%s: %s", name, v)
		}
	}
}

// copyPrivate copies a state directory, with the modes that version control forgets.
func copyPrivate(t *testing.T, to, from string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		dest := filepath.Join(to, strings.TrimPrefix(path, from))
		switch {
		case d.IsDir():
			return os.Mkdir(dest, 0o700)
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(target, dest)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o600)
		if slices.Contains([]string{"cert.pem", "chain.pem", "fullchain.pem"}, d.Name()) {
			mode = 0o644 // which a checkout does not keep
		}
		return os.WriteFile(dest, data, mode)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// makeGolden lives through what the golden state is to hold.
func makeGolden(t *testing.T, golden string) {
	acme.SetLogger(slog.New(slog.DiscardHandler))
	ca, err := acmetest.Start(acmetest.Options{Profiles: map[string]time.Duration{"default": 90 * day}})
	if err != nil {
		t.Fatal(err)
	}
	defer ca.Close()
	state := filepath.Join(golden, "state")
	if err := os.MkdirAll(golden, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(state); err != nil {
		t.Fatal(err)
	}
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(bundle, ca.CAPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := keystore.OpenLocked(state, "")
	if err != nil {
		t.Fatal(err)
	}
	var offset time.Duration
	r := &apply.Runner{
		Store: store, Now: func() time.Time { return time.Now().Add(offset) }, Log: slog.New(slog.DiscardHandler),
		UserAgent: "keepkey/golden", Hostname: "web1.example.com",
	}
	later := func(d time.Duration) {
		offset += d
		ca.SetClock(offset)
	}
	failing := errors.New("the server does not answer")
	cert := func(name string) config.Certificate {
		c := configured(name, nil)
		c.ACME = config.ACME{Directory: ca.Directory, AcceptTerms: true, CABundle: bundle}
		c.Challenge = config.Challenge{HTTP01: &config.HTTP01{Listen: ca.HTTPAddr}}
		return c
	}
	renew := func(c config.Certificate) apply.Report { return r.Renew(t.Context(), c, apply.Options{}) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	settled, rollover, compromised, restarted, places := cert("settled"), cert("rollover"), cert("compromised"), cert("restarted"), cert("places")
	for _, c := range []config.Certificate{settled, rollover, compromised, restarted, places} {
		renew(c)
		must(r.Confirm(t.Context(), c, "ios", 1))
	}

	// A rollover that is over, so that there is a retired key; then another, which waits
	// for the gate.
	must(r.Rotate(t.Context(), rollover, apply.RotateOptions{}))
	renew(rollover)
	must(r.Confirm(t.Context(), rollover, "ios", 2))
	later(8 * day)
	renew(rollover)
	must(r.Confirm(t.Context(), rollover, "ios", 3))
	must(r.Retire(t.Context(), rollover, "ios", 1))
	must(r.Rotate(t.Context(), rollover, apply.RotateOptions{WhenOpen: true}))
	renew(rollover)

	// A rollover that a compromise interrupts, at the price of clients; the server does
	// not take up the new key yet.
	must(r.Rotate(t.Context(), compromised, apply.RotateOptions{}))
	renew(compromised)
	must(r.Rotate(t.Context(), compromised, apply.RotateOptions{Compromised: true, Key: apply.ActiveKey, AcceptBreakage: true}))
	compromised.Deploy = []hooks.Hook{named{"reload", &failing}}
	renew(compromised)

	// An old document that comes back; places that come and go.
	app := &places.Channels[0]
	first := documentOf(t, store, "places")
	places.Backups = 2
	renew(places)
	app.ReadBack = shows{first}
	later(2 * day)
	renew(places)
	app.ReadBack = nil
	renew(places)
	app.Publish = append(app.Publish, named{name: "mirror"}, named{name: "old mirror"})
	renew(places)
	app.Publish = app.Publish[:1]
	must(r.ClosePlace(t.Context(), places, "app", "old mirror"))
	// A rollover at the price of clients, which is called off.
	ca.Misbehave(acmetest.Problem(acmetest.NewOrder, 503, "serverInternal", "maintenance", ""))
	must(r.Rotate(t.Context(), places, apply.RotateOptions{Compromised: true, Key: apply.ActiveKey, AcceptBreakage: true}))
	renew(places)
	must(r.Rotate(t.Context(), places, apply.RotateOptions{Undo: true}))
	ca.Misbehave(nil)
	// A backup key that is lost, and written off.
	lost := filepath.Join(state, "lineages", "places", "keys", backupOf(t, store, "places").Hex()+".pem")
	kept, err := os.ReadFile(lost)
	must(err)
	must(os.Remove(lost))
	renew(places)
	later(8 * day)
	renew(places)
	renew(places)
	must(os.WriteFile(lost, kept, 0o600)) // the oracle misses every key that was ever published

	// A ledger that was lost.
	l, err := store.Lineage("restarted")
	must(err)
	must(os.WriteFile(filepath.Join(filepath.Dir(l.Live.Dir()), "ledger.jsonl"), []byte("lost\n"), 0o600))
	must(r.RestartLedger(t.Context(), restarted))

	// An order under way, since the CA is down.
	ca.Misbehave(acmetest.Problem(acmetest.Finalize, 503, "serverInternal", "maintenance", ""))
	r.Renew(t.Context(), settled, apply.Options{Force: true})
	r.Close()
	must(store.Close())
	must(os.RemoveAll(filepath.Join(state, "accounts")))
	must(os.WriteFile(filepath.Join(golden, "now.txt"), []byte(time.Now().Add(offset).UTC().Format(time.RFC3339)+"\n"), 0o644))
}

// shows is where clients get a document.
type shows struct{ document string }

func (s shows) Read(context.Context, hooks.Event) ([]byte, error) { return []byte(s.document), nil }
func (s shows) String() string                                    { return "the mirror" }

func stateOf(t *testing.T, store *keystore.Store, name string) plan.State {
	t.Helper()
	l, err := store.Lineage(name)
	if err != nil {
		t.Fatal(err)
	}
	records, err := l.Records.Load()
	if err != nil {
		t.Fatal(err)
	}
	s, err := plan.ParseState(name, records.State)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func documentOf(t *testing.T, store *keystore.Store, name string) string {
	return stateOf(t, store, name).Channels["app"].Document
}

func backupOf(t *testing.T, store *keystore.Store, name string) pinset.Pin {
	return stateOf(t, store, name).Backups()[0].Pin
}
