package apply_test

import (
	"context"
	"fmt"
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
	"keepkey/plan"
	"keepkey/report"
)

// hear has a runner hear one report.
func (w *world) hear(certs []config.Certificate, rep report.Report, source string) []string {
	w.t.Helper()
	news, err := w.runner().Hear(w.t.Context(), certs, []apply.Received{{Report: rep, Source: source, At: w.now()}})
	if err != nil {
		w.t.Fatal(err)
	}
	return news
}

// about is a report from a client that holds a pin set.
func about(cert config.Certificate, served pinset.Pin, pins ...pinset.Pin) report.Report {
	slices.SortFunc(pins, func(a, b pinset.Pin) int { return slices.Compare(a[:], b[:]) })
	return report.Report{Host: cert.Domains[0], Known: pins, Served: served, Matched: slices.Contains(pins, served)}
}

func TestAReportClosesTheGateUntilAPersonHasDecided(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{Profiles: map[string]time.Duration{"default": 400 * day}})
	cert := w.afterRollover("api")
	w.offset = 8 * day // the old pin leaves the pin set
	w.mustRenew(cert, apply.Options{})
	w.offset = 60 * day // the lifetime of the first pin set is over
	w.mustRenew(cert, apply.Options{})
	first := w.found(cert).Ledger.Published()[0].Pins

	news := w.hear([]config.Certificate{cert}, about(cert, w.state(cert).Active().Pin, first...), "a")
	if !slices.Equal(news, []string{"api"}) {
		t.Errorf("news of %q", news)
	}
	if news := w.hear([]config.Certificate{cert}, about(cert, w.state(cert).Active().Pin, first...), "b"); len(news) > 0 {
		t.Errorf("the same once more is news of %q", news)
	}
	before := w.snapshot(cert)
	told := refusal(w.runner().Rotate(t.Context(), cert, apply.RotateOptions{}), plan.GateClosed)
	if !strings.Contains(told, "clients report that they enforce version 1 of the pin set of channel app, whose lifetime ended at") || !strings.Contains(told, "keepkey report dismiss --name api --id ") {
		t.Errorf("the rollover is refused with %q", told)
	}
	if w.snapshot(cert) != before {
		t.Error("something was changed")
	}
	// A renewal goes on, and so does one that waits for the gate.
	if rep := w.renew(cert, apply.Options{Force: true}); !rep.Did(plan.Obtain) || !slices.Equal(codes(rep.Problems), []plan.Code{plan.ReportedInUse}) {
		t.Errorf("the renewal: %q", problems(rep))
	}
	if err := w.runner().Rotate(t.Context(), cert, apply.RotateOptions{WhenOpen: true}); err != nil {
		t.Fatal(err)
	}
	active, found := w.state(cert).Active().Pin, w.found(cert)
	if rep := w.renew(cert, apply.Options{}); w.state(cert).Active().Pin != active || !slices.Contains(codes(rep.Notes), plan.RolloverWaits) {
		t.Errorf("the key was switched: %+v", rep.Notes)
	}
	w.mustHold(cert, w.found(cert), found)

	r := w.runner()
	ctx := apply.For(t.Context(), apply.Caller{Log: r.Log, By: "person ann"})
	id := w.input(cert).Reports.Groups[0].ID
	if n, err := r.DismissReports(ctx, cert, []string{id}); err != nil || n != 1 {
		t.Fatalf("%d, %v", n, err)
	}
	if events := w.events("api"); events[len(events)-1] != "dismiss-report app person ann" {
		t.Errorf("the journal ends with %q", events[len(events)-1])
	}
	w.mustRenew(cert, apply.Options{})
	if w.state(cert).Active().Pin == active {
		t.Error("the key was not switched")
	}
}

// atWork is a hook that lasts until it is released.
type atWork struct{ begun, release chan struct{} }

func (atWork) ID() string     { return "at work" }
func (atWork) String() string { return "at work" }
func (h atWork) Run(context.Context, hooks.Event) error {
	close(h.begun)
	<-h.release
	return nil
}

func TestReportsAreHeardWhileTheLineageIsWorkedOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.pinned("api")
	hook := atWork{make(chan struct{}), make(chan struct{})}
	cert.Deploy = []hooks.Hook{hook}
	r, ended := w.runner(), make(chan apply.Report)
	go func() { ended <- r.Renew(t.Context(), cert, apply.Options{}) }()
	<-hook.begun
	if _, err := r.Hear(t.Context(), []config.Certificate{cert}, []apply.Received{{Report: about(cert, pinset.Pin{77}, pinset.Pin{1}), Source: "a", At: w.now()}}); err != nil {
		t.Error(err)
	}
	close(hook.release)
	if rep := <-ended; !slices.Equal(codes(rep.Problems), []plan.Code{plan.ReportedInterception, plan.ReportedUnknownPins}) {
		t.Errorf("the run ends with %q", problems(rep))
	}
}

// Two certificates, of an elliptic curve and of RSA, can have one name. A report is about the one
// whose pins the client holds, and the key of the other is no stranger's.
func TestAReportIsAboutTheLineageThatPublishedThePins(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	one, two := w.pinned("one"), w.pinned("two")
	two.Domains = one.Domains
	w.mustRenew(one, apply.Options{})
	w.mustRenew(two, apply.Options{NewLineage: true})
	unborn := w.pinned("three")
	unborn.Domains = one.Domains
	certs := []config.Certificate{unborn, one, two}
	pins := func(cert config.Certificate) []pinset.Pin { return w.state(cert).Pins() }

	w.hear(certs, about(two, w.state(one).Active().Pin, pins(two)...), "a")
	if g := w.input(two).Reports.Groups; len(g) != 1 || len(g[0].Served) != 0 {
		t.Errorf("the reports of the second are %+v", g)
	}
	if g := w.input(one).Reports.Groups; len(g) != 0 {
		t.Errorf("the reports of the first are %+v", g)
	}
	w.hear(certs, about(two, w.state(two).Active().Pin, pinset.Pin{1}), "a")
	if g := w.input(two).Reports.Groups; len(g) != 2 || len(g[1].Served) != 1 {
		t.Errorf("with a key of the second the reports of the second are %+v", g)
	}
	w.hear(certs, about(two, pinset.Pin{77}, pinset.Pin{1}), "a")
	if g := w.input(one).Reports.Groups; len(g) != 1 || len(g[0].Served) != 1 {
		t.Errorf("with a stranger's key the reports of the first are %+v", g)
	}
}

func TestNothingIsHeardWhereNobodyCanTellWhatItMeans(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	for _, tt := range []struct {
		name  string
		wrong func(path string)
		want  plan.Code
	}{
		{"there is no lineage yet", nil, plan.NothingYet},
		{"the ledger is damaged", func(path string) { os.Truncate(filepath.Join(path, "ledger.jsonl"), 100) }, plan.LedgerDamaged},
		{"the reports are damaged", func(path string) { os.Truncate(filepath.Join(path, "reports.json"), 10) }, plan.ReportsDamaged},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := w.in(t)
			cert := w.pinned(string(tt.want))
			rep := about(cert, pinset.Pin{77}, pinset.Pin{1})
			path := filepath.Join(w.dir, "state/lineages", cert.Name)
			if tt.wrong != nil {
				w.mustRenew(cert, apply.Options{})
				w.hear([]config.Certificate{cert}, rep, "a")
				tt.wrong(path)
			}
			before, _ := os.ReadFile(filepath.Join(path, "reports.json"))
			_, err := w.runner().Hear(t.Context(), []config.Certificate{cert}, []apply.Received{{Report: rep, Source: "a", At: w.now()}})
			if refusal(err, tt.want) == "" {
				t.Errorf("%v, want %s", err, tt.want)
			}
			if _, err := w.runner().DismissReports(t.Context(), cert, nil); refusal(err, tt.want) == "" {
				t.Errorf("a dismissal: %v, want %s", err, tt.want)
			}
			if after, _ := os.ReadFile(filepath.Join(path, "reports.json")); string(after) != string(before) {
				t.Error("the file was changed")
			}
		})
	}
}

// However much clients say, it can be stored and read back.
func TestTheMostThatClientsCanSayIsStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.pinned("api")
	w.mustRenew(cert, apply.Options{})
	r := w.runner()
	var flood []apply.Received
	for i := range 100 {
		for j := range 40 {
			rep := report.Report{Host: strings.Repeat("h", 240) + fmt.Sprintf(".%d.example", j), App: strings.Repeat(`"`, 145) + fmt.Sprint(j), Served: pinset.Pin{1, byte(i), byte(j)}}
			for k := range 32 {
				rep.Known = append(rep.Known, pinset.Pin{2, byte(i), byte(k)})
			}
			flood = append(flood, apply.Received{Report: rep, Source: fmt.Sprint(i, " ", j), At: w.now()})
		}
	}
	ctx := apply.For(t.Context(), apply.Caller{Log: r.Log, By: strings.Repeat(`"`, 1000)})
	for range 2 {
		if _, err := r.Hear(t.Context(), []config.Certificate{cert}, flood); err != nil {
			t.Fatal(err)
		}
		w.offset += 10 * day
		if n, err := r.DismissReports(ctx, cert, nil); err != nil || n != 100 {
			t.Fatalf("%d, %v", n, err)
		}
		for i := range flood {
			flood[i].At, flood[i].Source = w.now().Add(8*day), flood[i].Source+" again"
		}
	}
	if g := w.input(cert).Reports.Groups; len(g) != 100 || g[0].Count != 80 {
		t.Errorf("%d groups", len(g))
	}
	info, err := os.Stat(filepath.Join(w.dir, "state/lineages/api/reports.json"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", info.Size())
}
