package apply

import (
	"context"
	"fmt"
	"slices"
	"time"

	"keepkey/config"
	"keepkey/plan"
)

// LeftOver is a lineage in the state directory that the configuration does not name.
type LeftOver struct {
	Input   plan.Input // as far as it is known
	Problem plan.Finding
}

// LeftOver returns the lineages in the state directory that the configuration does not
// name. Clients may still know their keys, so that they must not be forgotten.
func (r *Runner) LeftOver(ctx context.Context) ([]LeftOver, error) {
	names, err := r.Store.Names()
	if err != nil {
		return nil, err
	}
	var left []LeftOver
	for _, name := range names {
		if r.configured(name) {
			continue
		}
		cert := config.Certificate{Name: name}
		found := LeftOver{Input: plan.Input{Goal: Goal(cert), Now: r.Now()}, Problem: plan.Finding{Code: plan.LineageLeft}}
		if l, err := r.newRun(ctx, cert, Options{}).look(ctx); err == nil {
			found.Input = l.input()
			if l.disk.LedgerProblem == nil {
				found.Problem.Gate = plan.AnyEnforced(found.Input)
			}
			if c := l.state.Certificate; c != nil {
				found.Input.Goal.Domains = c.Domains
			}
		} else {
			found.Problem = plan.Finding{Code: plan.StateUnreadable, Err: err}
		}
		left = append(left, found)
	}
	return left, nil
}

// Drop takes a lineage that the configuration does not name out of the state directory,
// and returns where its files are kept. It is refused while clients may be enforcing a pin
// set of it.
func (r *Runner) Drop(ctx context.Context, name string) (kept string, err error) {
	refuse := func(f plan.Finding) (string, error) { return "", &plan.Refusal{Lineage: name, Finding: f} }
	defer r.hold(name)()
	if r.configured(name) {
		return refuse(plan.Finding{Code: plan.LineageConfigured})
	}
	l, err := r.newRun(ctx, config.Certificate{Name: name}, Options{}).look(ctx)
	if err != nil {
		return "", err
	}
	if l.disk.LedgerProblem != nil {
		return refuse(plan.Finding{Code: plan.LedgerDamaged, Err: l.disk.LedgerProblem})
	}
	if v := plan.AnyEnforced(l.input()); len(v.Obstacles) > 0 {
		return refuse(plan.Finding{Code: plan.PinSetsEnforced, Gate: v})
	}
	return r.Store.Drop(name, r.Now())
}

// Configure says which certificates are configured, by their names: other lineages are left
// over. Before it is called that is not known, and none is.
func (r *Runner) Configure(names []string) {
	sorted := append([]string{}, names...) // not nil, which would say that it is not known
	slices.Sort(sorted)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names = sorted
}

func (r *Runner) configured(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.names == nil {
		return true
	}
	_, found := slices.BinarySearch(r.names, name)
	return found
}

// relatives is what the lineages in the state directory are for.
type relatives struct {
	built  time.Time
	left   []string              // those that the configuration does not name
	having map[string][]relative // by domain
}

type relative struct {
	name  string
	begun time.Time
}

// relatives reads all lineages, once for a run over many certificates.
func (r *Runner) relatives(since time.Time) (*relatives, error) {
	r.reading.Lock()
	defer r.reading.Unlock()
	if r.found != nil && !r.found.built.Before(since) {
		return r.found, nil
	}
	names, err := r.Store.Names()
	if err != nil {
		return nil, err
	}
	found := &relatives{built: r.Now(), having: make(map[string][]relative)}
	for _, name := range names {
		if !r.configured(name) {
			found.left = append(found.left, name)
		}
		l, err := r.Store.Lineage(name)
		if err != nil {
			return nil, err
		}
		records, err := l.Records.Load()
		if err != nil || records.State == nil {
			continue // that is its own problem
		}
		state, err := plan.ParseState(name, records.State)
		if err != nil || state.Certificate == nil {
			continue
		}
		for _, d := range state.Certificate.Domains {
			found.having[d] = append(found.having[d], relative{name, state.Begun})
		}
	}
	r.found = found
	return found, nil
}

// related looks for lineages that speak against a first run: the keys that clients know
// for these names may be theirs.
func (l *lineage) related() (signs, names []string, err error) {
	found, err := l.relatives(l.options.began)
	if err != nil {
		return nil, nil, err
	}
	for _, d := range l.cert.Domains {
		for _, other := range found.having[d] {
			// One that this very run began is no surprise.
			if other.name != l.cert.Name && other.begun.Before(l.began) && !slices.Contains(names, other.name) {
				signs = append(signs, fmt.Sprintf("the lineage %s has keys for %s", other.name, d))
				names = append(names, other.name)
			}
		}
	}
	for _, name := range found.left {
		if name != l.cert.Name && !slices.Contains(names, name) {
			signs = append(signs, fmt.Sprintf("the lineage %s is in the state directory, and the configuration does not name it any more", name))
			names = append(names, name)
		}
	}
	return signs, names, nil
}
