package cli

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"keepkey/apply"
	"keepkey/daemon"
	"keepkey/plan"
	"keepkey/status"
)

// alarm has notify hooks told of what a daemon finds.
type alarm struct {
	*service
	teller  *daemon.Teller
	invalid atomic.Pointer[error] // why the configuration could not be read again; nil if it could
	changed atomic.Bool           // it was read: other lineages may be left over

	// Of the teller's goroutine alone.
	notifier apply.Notifier
	unseen   map[string]bool             // lineages that nobody looked at yet
	wrong    map[string]status.Condition // those in which something is wrong
}

// gather is how long the alarm waits for others that may have the same cause as the first.
const gather = 2 * time.Second

func newAlarm(s *service) *alarm {
	a := &alarm{
		service: s, teller: daemon.NewTeller(), notifier: apply.Notifier{Runner: s.runner, Lives: true},
		unseen: make(map[string]bool), wrong: make(map[string]status.Condition),
	}
	for _, name := range namesOf(s.read.Load()) {
		a.unseen[name] = true
	}
	a.changed.Store(true)
	a.teller.Tell, a.teller.Look, a.teller.Now, a.teller.Gather = a.tell, a.look, s.g.env.Now, gather
	return a
}

// look has lineages looked at now.
func (a *alarm) look(ctx context.Context, names ...string) {
	a.changed.Store(true) // they may be left over, which the schedule knows nothing of
	a.daemon.Wake(ctx, names...)
}

// found has somebody told of what a run found.
func (a *alarm) found(rep apply.Report) {
	c := rep.Condition()
	c.Again = rep.Wake
	a.teller.Add(c)
}

// loaded has somebody told what came of reading the configuration again.
func (a *alarm) loaded(err error) {
	a.invalid.Store(nil)
	if err != nil {
		a.invalid.Store(&err)
	} else {
		a.changed.Store(true)
	}
	a.teller.Again() // the hooks may be others
}

// tell tells notify hooks what they are owed.
func (a *alarm) tell(ctx context.Context, news []status.Condition) apply.Told {
	for _, c := range news {
		delete(a.unseen, c.Name)
		if a.wrong[c.Name] = c; len(c.Problems) == 0 {
			delete(a.wrong, c.Name)
		}
	}
	cfg := a.read.Load()
	if len(cfg.Notify) == 0 {
		return apply.Told{}
	}
	if a.changed.Swap(false) {
		a.forget(namesOf(cfg))
		others, err := a.runner.Unconfigured(ctx)
		if err != nil {
			a.g.log.Error(unlisted, "problem", err)
		}
		news = append(news, others...)
	}
	told := a.notifier.Tell(ctx, cfg.Notify, append(news, a.whole()))
	for _, f := range told.Failed {
		logProblem(a.g.log, "", status.ProblemOf("", f))
	}
	return told
}

// forget forgets the lineages that are not configured any more.
func (a *alarm) forget(configured []string) {
	is := make(map[string]bool)
	for _, name := range configured {
		is[name] = true
	}
	maps.DeleteFunc(a.unseen, func(name string, _ bool) bool { return !is[name] })
	maps.DeleteFunc(a.wrong, func(name string, _ status.Condition) bool { return !is[name] })
}

// whole is what is wrong with keepkey as a whole.
func (a *alarm) whole() status.Condition {
	var findings []plan.Finding
	if err := a.invalid.Load(); err != nil {
		findings = append(findings, plan.Finding{Code: plan.ConfigurationInvalid, Err: *err})
	}
	whole := status.Whole(findings, slices.Collect(maps.Values(a.wrong)))
	whole.Blind = len(a.unseen) > 0
	return whole
}
