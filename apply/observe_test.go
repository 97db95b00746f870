package apply_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/hooks"
	"keepkey/internal/acmetest"
	"keepkey/pinset"
	"keepkey/pinset/format"
)

// What is counted is what was done: each action and each hook, with how it came out.
func TestWhoeverObservesIsToldOfActionsAndHooks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.cert("api", "api.example.com")
	good, bad := &board{name: "in the hall"}, &board{name: "at the gate", broken: true}
	cert.Channels = []config.Channel{{
		Name: "boards", Format: format.JSON, Lifetime: pinset.Lifetime{Duration: time.Hour}, Publish: []hooks.Hook{good, bad},
	}}
	cert.Deploy = []hooks.Hook{good}
	var mu sync.Mutex
	var seen []string
	r := w.runner()
	r.Observe = func(o apply.Observed) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, fmt.Sprintf("%s hook=%v failed=%v", o.Kind, o.Hook, o.Err != nil))
	}
	r.Renew(t.Context(), cert, apply.Options{})
	slices.Sort(seen)
	want := []string{
		"begin-lineage hook=false failed=false",
		"deploy hook=false failed=false",
		"deploy hook=true failed=false",
		"generate-key hook=false failed=false",
		"generate-key hook=false failed=false",
		"install hook=false failed=false",
		"obtain hook=false failed=false",
		"publish hook=false failed=true",
		"publish hook=true failed=false",
		"publish hook=true failed=true",
	}
	kept := slices.DeleteFunc(slices.Clone(seen), func(s string) bool { return !slices.Contains(want, s) })
	if !slices.Equal(kept, want) {
		t.Errorf("observed %q, want %q", seen, want)
	}

	seen = nil
	ctx, cancel := context.WithCancel(t.Context())
	other := w.cert("other", "other.example.com")
	other.Deploy = []hooks.Hook{interrupted{cancel}}
	r.Renew(ctx, other, apply.Options{})
	if len(seen) == 0 || slices.ContainsFunc(seen, func(s string) bool { return strings.HasPrefix(s, "deploy") }) {
		t.Errorf("observed %q, and the hook was interrupted", seen)
	}
}

// interrupted is a hook during which keepkey is told to end.
type interrupted struct{ cancel context.CancelFunc }

func (interrupted) ID() string     { return "interrupted" }
func (interrupted) String() string { return "interrupted" }

func (h interrupted) Run(ctx context.Context, _ hooks.Event) error {
	h.cancel()
	return ctx.Err()
}
