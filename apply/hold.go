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

type logKey struct{}

// WithLog has what is done under the context log to another logger than the runner's: one
// that lives on serves many people, and each wants to see what becomes of their request.
func WithLog(ctx context.Context, log *slog.Logger) context.Context {
	return context.WithValue(ctx, logKey{}, log)
}

func (r *Runner) logOf(ctx context.Context) *slog.Logger {
	if log, ok := ctx.Value(logKey{}).(*slog.Logger); ok {
		return log
	}
	return r.Log
}
