package apply_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"keepkey/apply"
	"keepkey/hooks"
	"keepkey/internal/acmetest"
	"keepkey/pinset"
	"keepkey/plan"
)

// events are what a journal says, in a line each.
func (w *world) events(name string) []string {
	w.t.Helper()
	events, err := w.runner().Journal(name)
	if err != nil {
		w.t.Fatal(err)
	}
	var lines []string
	for _, e := range events {
		line := string(e.Action)
		for _, s := range []string{string(e.Reason), string(e.Role), e.Channel, e.By} {
			if s != "" {
				line += " " + s
			}
		}
		if e.Entry > 0 {
			line += " in the ledger"
		}
		if e.Error != "" {
			line += " failed"
		}
		lines = append(lines, line)
	}
	return lines
}

func TestTheJournalSaysWhatWasDoneAndForWhom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.pinned("api")
	r := w.runner()
	r.By = plan.AskedByRun
	if rep := r.Renew(t.Context(), cert, apply.Options{}); len(rep.Problems) > 0 {
		t.Fatal(problems(rep))
	}
	w.offset += time.Minute
	ctx := apply.For(t.Context(), apply.Caller{Log: r.Log, By: "person ann"})
	if err := r.Rotate(ctx, cert, apply.RotateOptions{}); err != nil {
		t.Fatal(err)
	}
	// A hook that fails at every run is one failure.
	cert.Deploy = []hooks.Hook{hooks.Command{Args: []string{"false"}}}
	for range 3 {
		r.Renew(t.Context(), cert, apply.Options{})
		w.offset += time.Minute
	}
	want := []string{
		"begin-lineage new-lineage run", "generate-key no-active-key active run", "generate-key too-few-backups backup run",
		"publish never-published app run in the ledger", "obtain first-certificate run", "install nothing-installed run",
		"begin-rollover person ann", "generate-key too-few-backups backup run", "publish outdated-pin-set app run in the ledger",
		"deploy not-deployed run failed", "switch-key rollover-asked run", "install newer-certificate run",
	}
	if got := w.events("api"); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the journal says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	events, err := r.Journal("api")
	if err != nil {
		t.Fatal(err)
	}
	s := w.state(cert)
	for _, e := range events {
		switch e.Action {
		case plan.SwitchKey:
			if e.From != s.Rollover.From || e.Pin != s.Rollover.To || e.Serial != s.Certificate.Serial || !e.Expires.Equal(s.Certificate.NotAfter) {
				t.Errorf("the switch is %+v", e)
			}
		case plan.GenerateKey:
			if e.Pin.IsZero() {
				t.Errorf("a key without a pin: %+v", e)
			}
		}
	}
}

func TestTheJournalHasWhatAPersonDeclared(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.pinned("api")
	w.mustRenew(cert, apply.Options{})
	s := w.state(cert)
	active, backup := s.Active().Pin, s.Backups()[0].Pin
	r := w.runner()
	r.By = plan.AskedByPerson + " ann"
	if err := r.Rotate(t.Context(), cert, apply.RotateOptions{Compromised: true, Key: apply.BackupKeys}); err != nil {
		t.Fatal(err)
	}
	if err := r.Rotate(t.Context(), cert, apply.RotateOptions{Compromised: true, AcceptBreakage: true}); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(w.dir, "state/lineages/api/ledger.jsonl")); err != nil {
		t.Fatal(err)
	}
	if err := r.RestartLedger(t.Context(), cert); err != nil {
		t.Fatal(err)
	}
	events, err := r.Journal("api")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range events {
		if e.By == r.By && (e.Action == plan.DeclareCompromise || e.Action == plan.RestartLedger) {
			got = append(got, fmt.Sprint(e.Action, e.Keys))
		}
	}
	if want := []string{fmt.Sprint(plan.DeclareCompromise, []pinset.Pin{backup}), fmt.Sprint(plan.DeclareCompromise, []pinset.Pin{active}), fmt.Sprint(plan.RestartLedger, []pinset.Pin(nil))}; !slices.Equal(got, want) {
		t.Errorf("the journal has %q, want %q", got, want)
	}
}

// It is for people alone.
func TestWithoutAJournalEverythingGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.pinned("api")
	w.mustRenew(cert, apply.Options{})
	journal := filepath.Join(w.dir, "state/lineages/api/journal.jsonl")
	if err := errors.Join(os.Remove(journal), os.Mkdir(journal, 0o700)); err != nil {
		t.Fatal(err)
	}
	w.mustRenew(cert, apply.Options{Force: true})
	if s := w.state(cert); s.Certificate.Version != 2 {
		t.Errorf("version %d", s.Certificate.Version)
	}
	if text := w.log.String(); !strings.Contains(text, "the journal can't be written") {
		t.Errorf("nobody is told: %s", text)
	}
}
