// Package apply carries out plans: one action at a time, its intent on record
// before and its result after, then it looks at the disk and plans again. Whatever
// stops it, the next run goes on from what it finds.
package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"keepkey/acme"
	"keepkey/acme/dns"
	"keepkey/config"
	"keepkey/keystore"
	"keepkey/pinset"
	"keepkey/plan"
)

// Runner carries out plans for the lineages of one store. It is safe for
// concurrent use with different lineages; they share connections, accounts and
// challenge listeners. Close it in the end.
type Runner struct {
	Store     *keystore.Store
	Now       func() time.Time
	Log       *slog.Logger
	UserAgent string
	DNS       dns.Providers // that dns-01 can use
	// RequestTimeout bounds one request to a CA; 0 for package acme's own bound.
	RequestTimeout time.Duration
	// CheckTime is how long a server may take to serve what was deployed; 0 for
	// fifteen seconds.
	CheckTime time.Duration
	// LookTime is how long a publication may take to show within one run; 0 for
	// twenty seconds.
	LookTime time.Duration
	// ObtainTime bounds obtaining one certificate; 0 for fifteen minutes.
	ObtainTime time.Duration

	mu      sync.Mutex
	clients map[string]*clientOnce // by CA and account

	accounts sync.Mutex // held while an account's key is looked for or made

	solvers map[string]*acme.Solver
}

// Options are what a person may ask for beyond what the plan says.
type Options struct {
	Force      bool // renew whether or not it is due
	NewLineage bool // begin although clients may know other keys
}

// Report is what became of one lineage in one run.
type Report struct {
	Name     string
	Done     []plan.Action // what was carried out, in order
	Problems []string      // what failed or needs a person; empty when all is well
	Notes    []string      // what is waited for
	State    *plan.State   // as it stands in the end; nil when it could not be read
	Next     *plan.Action  // the next action and its time, if any is foreseen
}

// Did reports whether an action of the kind was carried out.
func (r Report) Did(kind plan.Kind) bool {
	return slices.ContainsFunc(r.Done, func(a plan.Action) bool { return a.Kind == kind })
}

// maxSteps ends a run that makes no progress, should there be such a bug: a first
// run with ten channels and hooks takes some forty steps.
const maxSteps = 1000

// Renew does everything that is due for one certificate. A failure of one action
// does not keep others from being tried.
func (r *Runner) Renew(ctx context.Context, cert config.Certificate, o Options) Report {
	rep := Report{Name: cert.Name}
	problem := func(text string) {
		if !slices.Contains(rep.Problems, text) {
			rep.Problems = append(rep.Problems, text)
		}
	}
	tried := make(map[string]bool)
	log := r.Log.With("certificate", cert.Name)
	if err := r.tidy(cert); err != nil {
		problem(err.Error()) // it is in nobody's way
	}
	for range maxSteps {
		l, err := r.look(ctx, cert)
		if err != nil {
			problem(err.Error())
			return rep
		}
		in := l.input(o)
		in.Tried = tried
		p := plan.Next(in)
		rep.State, rep.Notes = l.state, p.Notes
		for _, pr := range p.Problems {
			problem(pr.Text)
		}
		a, due := p.Due(in.Now)
		if !due {
			if next, ok := plan.Next(l.input(Options{})).First(); ok {
				rep.Next = &next
			}
			return rep
		}
		if ctx.Err() != nil {
			problem(fmt.Sprintf("interrupted before: %s; the next run goes on from here", a.Kind))
			return rep
		}
		log.Debug("begin", "action", a.Kind, "reason", a.Reason, "channel", a.Channel)
		if err := l.do(ctx, a); err != nil {
			tried[a.ID()] = true
			// For the record only: the caller reports the problem itself.
			log.Info("failed", "action", a.Kind, "problem", err)
			problem(err.Error())
			if errors.Is(err, errCommit) {
				return rep
			}
			continue
		}
		log.Info("done", "action", a.Kind, "reason", a.Reason, "channel", a.Channel)
		rep.Done = append(rep.Done, a)
		if a.Kind == plan.Obtain || a.Kind == plan.Switch || a.Kind == plan.AskWindow {
			tried[a.ID()] = true // once a run, whatever the CA makes of it
		}
	}
	problem("gave up after many steps without an end; this is a bug in keepkey")
	return rep
}

// tidy removes what a run that was killed left unfinished.
func (r *Runner) tidy(cert config.Certificate) error {
	store, err := r.Store.Lineage(cert.Name)
	if err != nil {
		return err
	}
	return store.Tidy()
}

// Plan looks at a lineage and says what would be done, now and later, without
// doing anything. With the plan comes what it was computed from.
func (r *Runner) Plan(ctx context.Context, cert config.Certificate, o Options) (plan.Input, plan.Plan, error) {
	l, err := r.look(ctx, cert)
	if err != nil {
		return plan.Input{}, plan.Plan{}, err
	}
	in := l.input(o)
	return in, plan.Forecast(in), nil
}

// lineage is one lineage as it was found on disk, for the time of one action.
type lineage struct {
	*Runner
	config config.Certificate
	store  *keystore.Lineage
	state  *plan.State
	rev    keystore.Revision
	ledger pinset.Ledger
	disk   plan.Disk
	stored keystore.Chain // of the version that the state names, when it is sound
}

// input is what a plan is computed from.
func (l *lineage) input(o Options) plan.Input {
	return plan.Input{
		Config: l.config, State: l.state, Ledger: l.ledger, Disk: l.disk, Now: l.Now(),
		Force: o.Force, NewLineage: o.NewLineage,
	}
}

// look reads all that a plan depends on.
func (r *Runner) look(ctx context.Context, cert config.Certificate) (*lineage, error) {
	store, err := r.Store.Lineage(cert.Name)
	if err != nil {
		return nil, err
	}
	l := &lineage{Runner: r, config: cert, store: store}
	data, rev, err := store.State()
	switch {
	case errors.Is(err, keystore.ErrNoState):
		if l.disk.Keys, err = store.Keys(); err != nil {
			return nil, err
		}
		l.disk.Live, l.disk.LiveProblem = store.Live()
		if len(l.disk.Keys) == 0 && l.disk.Live == 0 {
			l.disk.Elsewhere = l.elsewhere(ctx)
		}
		return l, nil
	case err != nil:
		return nil, fmt.Errorf("%w; nothing was done", err)
	}
	l.rev = rev
	if l.state, err = plan.ParseState(cert.Name, data); err != nil {
		return nil, fmt.Errorf("the state of %s can't be used: state.json is %w; restore it from a backup; nothing was done, and what is live stays", cert.Name, err)
	}
	l.disk.Live, l.disk.LiveProblem = store.Live()
	lines, err := store.Ledger()
	if err == nil {
		l.ledger, _, err = pinset.ParseLedger(lines, l.state.Ledger)
	}
	if err != nil {
		l.disk.LedgerProblem = fmt.Errorf("%s: %w", store.LedgerPath(), err)
	}
	l.disk.Newer = l.newer(ctx)
	for _, k := range l.state.Keys {
		if _, err := store.Key(k.Pin); err != nil {
			if l.disk.KeyProblems == nil {
				l.disk.KeyProblems = make(map[pin]error)
			}
			l.disk.KeyProblems[k.Pin] = err
		}
	}
	if c := l.state.Certificate; c != nil {
		v, err := store.Version(c.Version, keystore.Want{Pin: c.Pin, Domains: c.Domains})
		l.disk.StoredProblem, l.stored = err, v.Chain
	}
	return l, nil
}

// errCommit marks a failed swap of the state: either content may be on disk, so
// the run ends for this lineage and the next one looks again.
var errCommit = errors.New("the state could not be written, this run stops here and the next goes on")

// commit changes the state and swaps it.
func (l *lineage) commit(change func(*plan.State)) error {
	data, err := json.Marshal(l.state)
	if err != nil {
		return err
	}
	next := new(plan.State) // a copy: a failed swap leaves ours as it was read
	if err := json.Unmarshal(data, next); err != nil {
		return err
	}
	change(next)
	if data, err = next.Marshal(); err != nil {
		return err
	}
	if _, err := plan.ParseState(l.config.Name, data); err != nil {
		return fmt.Errorf("%w: it would be %w; this is a bug in keepkey", errCommit, err)
	}
	rev, err := l.store.SwapState(l.rev, data)
	if err != nil {
		return fmt.Errorf("%w: %w", errCommit, err)
	}
	l.state, l.rev = next, rev
	return nil
}

// record puts an entry into the ledger, and then, in one step with the change, its
// end into the state. After a crash in between, the entry counts.
func (l *lineage) record(ctx context.Context, e pinset.Entry, change func(*plan.State)) error {
	if l.disk.LedgerProblem != nil {
		return l.disk.LedgerProblem
	}
	if e.Kind == pinset.Intent || e.Kind == pinset.Confirm {
		skew, known := l.skew(ctx)
		if err := plan.CheckClock(l.input(Options{}), skew, known); err != nil {
			return err
		}
	}
	if l.ledger.Head() != l.state.Ledger {
		// The last entry was written before a crash. The state has to follow it first,
		// or it would come to be two entries behind.
		if err := l.commit(func(s *plan.State) { s.Ledger = l.ledger.Head() }); err != nil {
			return err
		}
	}
	e.At = l.Now()
	next, line, err := l.ledger.Append(e)
	if err != nil {
		return err
	}
	if err := l.store.AppendLedger(l.ledger.Size(), line); err != nil {
		return fmt.Errorf("%w: %w", errCommit, err)
	}
	l.ledger = next
	return l.commit(func(s *plan.State) {
		s.Ledger = next.Head()
		change(s)
	})
}

// skew asks the CA for its clock. One that can't be asked is no obstacle.
func (l *lineage) skew(ctx context.Context) (skew time.Duration, known bool) {
	client, err := l.client(ctx, l.config.ACME)
	if err != nil {
		return 0, false
	}
	return client.Skew()
}

func (l *lineage) do(ctx context.Context, a plan.Action) error {
	switch a.Kind {
	case plan.BeginLineage:
		l.state = plan.Begin(l.config.Name, l.Now())
		return l.commit(func(*plan.State) {})
	case plan.GenerateKey:
		return l.generateKey(a)
	case plan.Publish:
		return l.publish(ctx, a)
	case plan.ReadBack:
		return l.readBack(ctx, a)
	case plan.Obtain, plan.Switch:
		return l.obtain(ctx, a)
	case plan.RetireOld:
		return l.commit(func(s *plan.State) { s.Rollover = nil })
	case plan.Abandon:
		return l.record(ctx, pinset.Entry{Kind: pinset.Abandon, Channel: a.Channel, Version: a.Version, By: pinset.ByPerson}, func(*plan.State) {})
	case plan.BeginRollover:
		return l.beginRollover()
	case plan.Revoke:
		return l.revoke(ctx, a)
	case plan.Install:
		return l.store.Switch(a.Version)
	case plan.Deploy:
		return l.deploy(ctx, a)
	case plan.Check:
		return l.check(ctx, a)
	case plan.AskWindow:
		return l.askWindow(ctx)
	}
	return fmt.Errorf("no such action: %q", a.Kind)
}

func (l *lineage) generateKey(a plan.Action) error {
	created, err := l.store.CreateKey(l.config.KeyType)
	if err != nil {
		return err
	}
	return l.commit(func(s *plan.State) {
		s.Keys = append(s.Keys, plan.Key{Pin: created, Type: l.config.KeyType, Role: a.Role, Created: l.Now()})
		if a.Role == plan.Active {
			s.Since = l.Now()
		}
	})
}

func (l *lineage) beginRollover() error {
	next := *l.state
	if err := next.AskRollover(l.Now()); err != nil {
		return err
	}
	return l.commit(func(s *plan.State) { s.Rollover = next.Rollover })
}

func jitter() float64 { return rand.Float64() }
