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
// what it meant: testdata/state/v1 was written by keepkey itself and is not to be
// changed. Its README says how it came to be.

const goldenDir = "../testdata/state/v1"

// writeGolden makes the directory anew, for a new schema:
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

// golden are the certificates whose lineages are kept.
func golden(name string, failing *error) config.Certificate {
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

var goldenNames = []string{"compromised", "restarted", "rollover", "settled"}

func TestGoldenStateLoadsForEver(t *testing.T) {
	t.Parallel()
	if os.Getenv(writeGolden) != "" {
		makeGolden(t)
	}
	dir := filepath.Join(t.TempDir(), "state")
	copyPrivate(t, dir, filepath.Join(goldenDir, "state"))
	stamp, err := os.ReadFile(filepath.Join(goldenDir, "now.txt"))
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
	if err != nil || !slices.Equal(names, goldenNames) {
		t.Fatalf("lineages %q (%v), want %q", names, err, goldenNames)
	}
	roles := make(map[plan.Role]bool)
	entries := make(map[pinset.EntryKind]bool)
	var seen []status.Lineage
	for _, name := range names {
		cert := golden(name, nil)
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
	if len(roles) != 4 || len(entries) != 5 {
		t.Errorf("roles %v and entries %v: not all there are", roles, entries)
	}
	got, err := json.MarshalIndent(seen, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	expected := filepath.Join(goldenDir, "status.json")
	if os.Getenv(writeGolden) != "" {
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
	dir := filepath.Join(t.TempDir(), "state")
	copyPrivate(t, dir, filepath.Join(goldenDir, "state"))
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
	for _, name := range goldenNames {
		cert := golden(name, nil)
		cert.ACME = config.ACME{Directory: ca.Directory, AcceptTerms: true, CABundle: bundle}
		cert.Challenge = config.Challenge{HTTP01: &config.HTTP01{Listen: ca.HTTPAddr}}
		before, err := invariant.Look(store, apply.Goal(cert))
		if err != nil {
			t.Fatal(err)
		}
		rep := r.Renew(t.Context(), cert, apply.Options{Force: true})
		for _, p := range rep.Problems {
			if p.Code == plan.RevocationFailing {
				continue // the CA that issued it is gone
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
		return os.WriteFile(dest, data, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// makeGolden lives through what the golden state is to hold.
func makeGolden(t *testing.T) {
	acme.SetLogger(slog.New(slog.DiscardHandler))
	ca, err := acmetest.Start(acmetest.Options{Profiles: map[string]time.Duration{"default": 90 * day}})
	if err != nil {
		t.Fatal(err)
	}
	defer ca.Close()
	state := filepath.Join(goldenDir, "state")
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
		c := golden(name, nil)
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
	settled, rollover, compromised, restarted := cert("settled"), cert("rollover"), cert("compromised"), cert("restarted")
	for _, c := range []config.Certificate{settled, rollover, compromised, restarted} {
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
	must(r.Rotate(t.Context(), compromised, apply.RotateOptions{Compromised: true, AcceptBreakage: true}))
	compromised.Deploy = []hooks.Hook{named{"reload", &failing}}
	renew(compromised)

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
	must(os.WriteFile(filepath.Join(goldenDir, "now.txt"), []byte(time.Now().Add(offset).UTC().Format(time.RFC3339)+"\n"), 0o644))
}
