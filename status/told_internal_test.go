package status

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"keepkey/plan"
)

// The model: a problem that comes, gets worse and goes as it likes, seen at times of its
// choosing; two hooks that fail as they like; a process that dies between telling a hook and
// putting that on record. Every state that can be reached is looked at.

// node is a record, and what the hooks really heard.
type node struct {
	told Told
	// open is what each hook has to believe: how bad the problem is; 0 when it heard of none, or
	// that it is over.
	open map[string]level
	// unsure are the hooks of which nobody knows whether they were told: the process died.
	unsure map[string]bool
	lasts  time.Duration // for how long the problem has been there at every look; -1 when it is not
}

// sighting is how the problem looks.
type sighting struct {
	name    string
	there   bool
	problem Problem
	blind   bool
	again   time.Duration
}

var sightings = []sighting{
	{name: "none"},
	{name: "cannot tell", blind: true},
	{name: "a warning", there: true, problem: Problem{Severity: Warning, level: levelWarning}},
	{name: "a late warning", there: true, problem: Problem{Severity: Warning, level: levelLate}},
	{name: "critical", there: true, problem: Problem{Severity: Critical, level: levelCritical}},
	{name: "critical at first", there: true, problem: Problem{Severity: Critical, level: levelCritical, attempts: 1}, again: time.Minute},
	{name: "the CA's", there: true, problem: Problem{Severity: Warning, level: levelWarning, ofCA: true}},
}

var modelHooks = []string{"a", "b"}

// at is when everything is looked at: only what has passed since matters.
var at = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// key is all that matters of a node.
func (n node) key() string {
	var b strings.Builder
	for _, k := range n.told.problems {
		fmt.Fprint(&b, k.ID, k.Worst, k.Over, min(at.Sub(k.Since), patience), k.Hooks)
	}
	return fmt.Sprint(b.String(), n.open, n.unsure, min(n.lasts, patience))
}

// step looks, and tells what is owed: fails is the hook that fails, dies the one at which the
// process dies.
func (n node) step(t *testing.T, s sighting, passed time.Duration, fails, dies string) node {
	t.Helper()
	next := node{told: Told{}, open: maps.Clone(n.open), unsure: maps.Clone(n.unsure), lasts: n.lasts}
	for _, k := range n.told.problems { // time passes
		k.Since, k.Hooks = k.Since.Add(-passed), maps.Clone(k.Hooks)
		next.told.problems = append(next.told.problems, k)
	}
	switch {
	case s.there && n.lasts < 0:
		next.lasts = 0
	case s.there:
		next.lasts += passed
	case !s.blind:
		next.lasts = -1
	}
	c := Condition{Name: "api", Blind: s.blind}
	if s.again > 0 {
		c.Again = at.Add(s.again)
	}
	if s.there {
		p := s.problem
		p.ID, p.Code, p.Subject = "p", plan.DeployFailing, "it fails"
		c.Problems = []Problem{p}
	}
	where := fmt.Sprintf("%s: %s after %s, %q fails, it dies at %q", n.key(), s.name, passed, fails, dies)
	var owed []Notice
	var ripe time.Time
	next.told, owed, ripe = next.told.Next(c, modelHooks, Moment{Now: at})
	for _, notice := range owed {
		next.told = next.told.Begin(notice)
	}
	for i, notice := range owed {
		if notice.Hook == fails {
			next.told = next.told.Failed(notice)
			continue
		}
		next.hear(t, where, notice)
		if notice.Hook == dies {
			for _, n := range owed[i:] {
				next.unsure[n.Hook] = true
			}
			return next
		}
		next.told = next.told.After(notice)
		delete(next.unsure, notice.Hook)
	}
	for _, h := range modelHooks {
		next.owes(t, where, s, h, h == fails, ripe)
	}
	return next
}

// hear has a hook hear a notice.
func (n *node) hear(t *testing.T, where string, notice Notice) {
	t.Helper()
	h, unsure := notice.Hook, n.unsure[notice.Hook]
	switch notice.State {
	case Appeared:
		if n.open[h] > 0 && !unsure {
			t.Errorf("%s: %s is told twice that it appeared", where, h)
		}
	case Worse:
		if (n.open[h] == 0 || n.open[h] >= notice.level) && !unsure {
			t.Errorf("%s: %s knows of level %d, and is told that it is worse: %d", where, h, n.open[h], notice.level)
		}
	case Over:
		if n.open[h] == 0 && !unsure {
			t.Errorf("%s: %s is told that something is over of which it never heard", where, h)
		}
	}
	n.open[h] = notice.level
}

// owes is what must hold once all hooks were tried.
func (n *node) owes(t *testing.T, where string, s sighting, h string, failed bool, ripe time.Time) {
	t.Helper()
	knows := n.open[h] > 0
	switch {
	case failed:
	case s.there && !s.problem.ofCA && n.lasts >= patience && !knows:
		t.Errorf("%s: %s was not told of what has lasted for %s", where, h, n.lasts)
	case s.there && !s.problem.ofCA && !knows && (ripe.IsZero() || ripe.After(at.Add(patience))):
		t.Errorf("%s: nobody looks again, at %s", where, ripe)
	case s.name == "critical" && !knows:
		t.Errorf("%s: %s was not told at once", where, h)
	case s.there && knows && n.open[h] < s.problem.level && (!n.unsure[h] || n.lasts >= patience) && !s.problem.ofCA:
		t.Errorf("%s: %s was not told that it is worse", where, h)
	case !s.there && !s.blind && knows:
		t.Errorf("%s: %s was not told that it is over", where, h)
	}
	if !failed && !s.there && !s.blind && !slices.ContainsFunc(modelHooks, func(h string) bool { return n.open[h] > 0 }) && !n.told.IsZero() {
		for _, k := range n.told.problems {
			if _, knows := k.Hooks[h]; knows {
				t.Errorf("%s: it is over for %s, and still on record", where, h)
			}
		}
	}
}

func TestEachHookIsToldOfWhatLastsOnceAndThatItIsOver(t *testing.T) {
	t.Parallel()
	first := node{open: map[string]level{"a": 0, "b": 0}, unsure: map[string]bool{}, lasts: -1}
	seen := map[string]bool{first.key(): true}
	todo := []node{first}
	for len(todo) > 0 && !t.Failed() {
		n := todo[0]
		todo = todo[1:]
		for _, s := range sightings {
			for _, passed := range []time.Duration{20 * time.Minute, 2 * time.Hour} {
				for _, fails := range []string{"", "a", "b"} {
					for _, dies := range []string{"", "a"} {
						next := n.step(t, s, passed, fails, dies)
						if k := next.key(); !seen[k] {
							seen[k] = true
							todo = append(todo, next)
						}
					}
				}
			}
		}
	}
	t.Logf("%d states", len(seen))
	if len(seen) < 200 {
		t.Errorf("only %d states were reached", len(seen))
	}
}
