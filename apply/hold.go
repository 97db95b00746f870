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
		r.held = make(map[string]*held)
	}
	h := r.held[name]
	if h == nil {
		h = new(held)
		r.held[name] = h
	}
	h.users++
	r.mu.Unlock()
	h.Lock()
	return func() {
		h.Unlock()
		r.mu.Lock()
		defer r.mu.Unlock()
		if h.users--; h.users == 0 {
			delete(r.held, name)
		}
	}
}

// held is a lineage that somebody holds, or waits for.
type held struct {
	sync.Mutex
	users int // guarded by the runner's lock
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
