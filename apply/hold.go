package apply

import (
	"context"
	"log/slog"
	"sync"
)

// hold keeps a lineage from others of the process until it is released. Each run over a
// lineage, and each request of a person, holds it: what one has read, no other changes.
func (r *Runner) hold(name string) (release func()) {
	r.mu.Lock()
	if r.held == nil {
		r.held = make(map[string]*sync.Mutex)
	}
	m := r.held[name]
	if m == nil {
		m = new(sync.Mutex)
		r.held[name] = m
	}
	r.mu.Unlock()
	m.Lock()
	return m.Unlock
}

// Caller is who has something done: a runner that lives on serves many people, and each
// wants to see what becomes of their request.
type Caller struct {
	Log *slog.Logger
	By  string // for the journal: see [plan.AskedByDaemon]
}

type callerKey struct{}

// For has what is done under the context done for somebody else than the runner's own caller.
func For(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

func (r *Runner) callerOf(ctx context.Context) Caller {
	if c, ok := ctx.Value(callerKey{}).(Caller); ok {
		return c
	}
	return Caller{Log: r.Log, By: r.By}
}
