package apply_test

import (
	"context"
	"strings"
	"testing"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/hooks"
	"keepkey/internal/acmetest"
	"keepkey/plan"
)

// bug is a hook with one.
type bug struct{}

func (bug) ID() string                             { return "bug" }
func (bug) String() string                         { return "a bug" }
func (bug) Run(context.Context, hooks.Event) error { panic("index out of range") }

func TestABugConcernsOneLineage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	bad, good := w.pinned("bad"), w.pinned("good")
	bad.Deploy = []hooks.Hook{bug{}}
	reports := all(t, w.runner(), []config.Certificate{bad, good}, apply.Options{})
	if p := reports[0].Problems; len(p) != 1 || p[0].Code != plan.BrokeDown || p[0].Reason != "index out of range" {
		t.Errorf("problems %+v", p)
	}
	if len(reports[1].Problems) > 0 || w.live(good) == nil {
		t.Errorf("another lineage: %+v", reports[1].Problems)
	}
	if log := w.log.String(); !strings.Contains(log, "panic_test.go") {
		t.Errorf("the log does not say where:\n%s", log)
	}
	// Once it is mended, all goes on.
	bad.Deploy = nil
	w.mustRenew(bad, apply.Options{})
}
