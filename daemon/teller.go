package daemon

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"keepkey/apply"
	"keepkey/status"
)

// Teller has people told what is wrong, beside the schedule: however long that takes, no
// certificate waits for it. Make one with [NewTeller], and set its fields before
// [Teller.Run].
type Teller struct {
	// Tell tells what is owed by conditions. One call is made at a time.
	Tell func(context.Context, []status.Condition) apply.Told
	// Look has lineages looked at now; what is found comes by [Teller.Add].
	Look func(context.Context, ...string)
	Now  func() time.Time
	// Gather is how long others are waited for that may have the same cause as the first.
	Gather time.Duration

	mu    sync.Mutex
	news  map[string]status.Condition // not told yet, by lineage
	wrong map[string]status.Condition // those in which something is wrong
	woken chan struct{}               // holds a token when there is something to do
}

// NewTeller returns a teller that has nothing to tell yet.
func NewTeller() *Teller {
	return &Teller{news: make(map[string]status.Condition), wrong: make(map[string]status.Condition), woken: make(chan struct{}, 1)}
}

// Add tells of the condition of a lineage, soon. It never waits.
func (t *Teller) Add(c status.Condition) {
	t.mu.Lock()
	t.news[c.Name] = c
	delete(t.wrong, c.Name)
	if len(c.Problems) > 0 {
		t.wrong[c.Name] = c
	}
	t.mu.Unlock()
	t.wake()
}

// Again tells of all that is wrong: who is to be told may have changed.
func (t *Teller) Again() {
	t.mu.Lock()
	for name, c := range t.wrong {
		if _, newer := t.news[name]; !newer {
			t.news[name] = c
		}
	}
	t.mu.Unlock()
	t.wake()
}

func (t *Teller) wake() {
	select {
	case t.woken <- struct{}{}:
	default:
	}
}

// take returns what is not told yet.
func (t *Teller) take() map[string]status.Condition {
	t.mu.Lock()
	defer t.mu.Unlock()
	news := t.news
	t.news = make(map[string]status.Condition)
	return news
}

// Run tells until ctx ends.
func (t *Teller) Run(ctx context.Context) {
	p := pending{left: make(map[string]status.Condition), ripe: make(map[string]time.Time)}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for t.wait(ctx, timer.C) {
		if due := p.due(t.Now()); len(due) > 0 {
			t.Look(ctx, due...)
		}
		news := p.with(t.take(), t.Now())
		p.after(news, t.Tell(ctx, slices.Collect(maps.Values(news))), t.Now())
		timer.Reset(p.sleep(t.Now()))
	}
}

// wait returns when there is something to tell, or false when ctx ends.
func (t *Teller) wait(ctx context.Context, timer <-chan time.Time) bool {
	select {
	case <-timer:
	case <-t.woken:
		gathered := time.NewTimer(t.Gather)
		defer gathered.Stop()
		select {
		case <-gathered.C:
		case <-ctx.Done():
		}
		select {
		case <-t.woken: // by one that was waited for
		default:
		}
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// pending is what is to be told later.
type pending struct {
	left  map[string]status.Condition // some of which could not be told
	again time.Time                   // when to try that again; zero when there is nothing
	ripe  map[string]time.Time        // when lineages are to be looked at again; "" for keepkey as a whole
}

// due takes the lineages that are to be looked at now.
func (p *pending) due(now time.Time) []string {
	var names []string
	for name, at := range p.ripe {
		if at.After(now) {
			continue
		}
		delete(p.ripe, name)
		if name != "" { // that is told of each time
			names = append(names, name)
		}
	}
	return names
}

// with adds to what is new what is to be tried again, if it is time for that.
func (p *pending) with(news map[string]status.Condition, now time.Time) map[string]status.Condition {
	if p.again.IsZero() || p.again.After(now) {
		return news
	}
	all := maps.Clone(p.left)
	maps.Copy(all, news)
	return all
}

// after notes what came of telling.
func (p *pending) after(told map[string]status.Condition, t apply.Told, now time.Time) {
	for name := range told {
		delete(p.ripe, name)
		delete(p.left, name)
	}
	delete(p.ripe, "")
	maps.Copy(p.ripe, t.Ripe)
	maps.Copy(p.left, t.Left)
	if p.again = t.Again; p.again.IsZero() && len(p.left) > 0 {
		p.again = now
	}
}

// sleep is how long nothing is to be told.
func (p *pending) sleep(now time.Time) time.Duration {
	next := p.again
	for _, at := range p.ripe {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	if next.IsZero() {
		return 1<<63 - 1
	}
	return min(max(next.Sub(now), minPause), maxSleep)
}
