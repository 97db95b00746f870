// Package apply carries out plans: one action at a time, its intent on record before
// and its result after, then it looks at the disk and plans again. Whatever stops it,
// the next run goes on from what it finds.
package apply

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"keepkey/acme"
	"keepkey/acme/dns"
	"keepkey/config"
	"keepkey/hooks"
	"keepkey/keystore"
	"keepkey/pinset"
	"keepkey/plan"
)

// Runner carries out plans for the lineages of one store. It is safe for concurrent
// use: one thing at a time is done with a lineage, and different ones share connections,
// accounts and challenge listeners. It may live as long as the process does. Close it when
// it is done.
type Runner struct {
	Store     *keystore.Store
	Now       func() time.Time
	Log       *slog.Logger
	UserAgent string        // of this version of keepkey; states are signed with it, too
	DNS       dns.Providers // for DNS-01 challenges
	Hostname  string        // of this host, for people
	By        string        // who has it work, for the journal: see [plan.AskedByDaemon]
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
	// Observe, if there is one, is told of what was done. Several call it at a time.
	Observe func(Observed)

	mu      sync.Mutex              // guards the maps below
	cas     map[string]*ca          // by CA and account
	solvers map[string]*acme.Solver // by what they need
	held    map[string]*held        // by lineage
	names   []string                // of all certificates that are configured, sorted; see Configure

	accounts sync.Mutex // held while an account's key is looked for or made

	hearing sync.Mutex // held while what clients reported is changed

	reading sync.Mutex // held while all lineages are read; guards the next
	found   *relatives
}

// Observed is an action that a run is through with, or one hook of an action.
type Observed struct {
	Kind plan.Kind
	Hook bool
	Err  error // nil: it was done
}

// Notified is the kind of a notify hook, for which there is no action.
const Notified plan.Kind = hooks.Notify

// observe tells of an action or a hook, unless it was interrupted.
func (r *Runner) observe(ctx context.Context, o Observed) {
	if r.Observe != nil && (o.Err == nil || ctx.Err() == nil) {
		r.Observe(o)
	}
}

// Options are what a person may ask for beyond what the plan says.
type Options struct {
	Force      bool // renew whether or not it is due
	Asked      bool // by name, so that no back-off is waited for
	NewLineage bool // begin although clients may know other keys

	began time.Time // when the run over all lineages began
}

// Report is what became of one lineage in one run.
type Report struct {
	Name     string
	Done     []plan.Action  // what was carried out, in order
	Problems []plan.Finding // what failed or needs a person; empty when all is well
	Notes    []plan.Finding // what is waited for
	Input    plan.Input     // as it is now; nothing but the goal when the state could not be read
	Next     *plan.Action   // the next action and its time, if any is foreseen
	Wake     time.Time      // when to work on it again; zero when its state could not be read
}

// Did reports whether an action of the kind was carried out.
func (r Report) Did(kind plan.Kind) bool {
	return slices.ContainsFunc(r.Done, func(a plan.Action) bool { return a.Kind == kind })
}

// maxSteps ends a run that makes no progress, should there be such a bug: a first
// run with ten channels and hooks takes some forty steps.
const maxSteps = 1000

// run is one run over one lineage.
type run struct {
	*Runner
	cert    config.Certificate
	goal    plan.Goal
	options Options
	checks  checks
	tried   map[string]bool
	again   map[string]bool // channels that were looked at a second time
	told    map[string]bool // what looks found wrong, so that it is logged once
	dials   chan struct{}   // holds one for each server that is being looked at
	began   time.Time
	hurry   bool // this is an emergency
	log     *slog.Logger
	by      string // who asked, for the journal
}

// checks is what was proved already in this run, so that no key is opened twice.
type checks struct {
	keys   map[pinset.Pin]error
	stored keystore.Version // the version that was verified
	// granted is the version that was given to whom it is for, and ungranted why that
	// could not be done.
	granted   int
	ungranted error
}

func (r *Runner) newRun(ctx context.Context, cert config.Certificate, o Options) *run {
	began, caller := o.began, r.callerOf(ctx)
	if began.IsZero() {
		began = r.Now()
	}
	return &run{
		Runner: r, cert: cert, goal: Goal(cert), options: o, began: began,
		checks: checks{keys: make(map[pinset.Pin]error)}, tried: make(map[string]bool), again: make(map[string]bool), told: make(map[string]bool),
		dials: make(chan struct{}, maxDials),
		log:   caller.Log.With("certificate", cert.Name), by: caller.By,
	}
}

// Renew does everything that is due for one certificate. A failure of one action
// does not keep others from being tried, and a panic is this lineage's problem alone.
func (r *Runner) Renew(ctx context.Context, cert config.Certificate, o Options) (rep Report) {
	defer func() {
		if p := recover(); p != nil {
			r.callerOf(ctx).Log.Error("keepkey broke down; this is a bug", "certificate", cert.Name, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			rep = Report{Name: cert.Name, Problems: []plan.Finding{{Code: plan.BrokeDown, Reason: fmt.Sprint(p)}}}
		}
	}()
	defer r.hold(cert.Name)()
	return r.newRun(ctx, cert, o).renew(ctx)
}

func (r *run) renew(ctx context.Context) Report {
	rep := Report{Name: r.cert.Name, Input: plan.Input{Goal: r.goal}}
	for i := range maxSteps {
		l, err := r.look(ctx)
		if err != nil {
			rep.Problems = append(rep.Problems, plan.Finding{Code: plan.StateUnreadable, Err: err, Blocks: true})
			return rep
		}
		if i == 0 {
			if err := hooks.Tidy(l.store.Live.HookPath()); err != nil {
				l.log.Warn("what a hook left can't be removed; it does no harm", "problem", err)
			}
			if err := hooks.Unserve(l.store.Live.ServePath(), l.cert.Serves); err != nil {
				l.log.Warn("what the daemon served of a channel can't be removed; it is not served any more", "problem", err)
			}
		}
		l.grant()
		in := l.input()
		p := plan.Next(in)
		a, due := p.Due(in.Now)
		if !due {
			rep.end(l, p)
			return rep
		}
		if stopped := l.step(ctx, a, &rep); stopped != nil {
			rep.end(l, plan.Next(l.input()))
			rep.Problems = append(rep.Problems, *stopped)
			return rep
		}
	}
	rep.Problems = append(rep.Problems, plan.Finding{Code: plan.Endless})
	return rep
}

// end fills in what is left to do and to know.
func (rep *Report) end(l *lineage, p plan.Plan) {
	in := l.input()
	in.Force, in.Asked, in.Tried = false, false, nil
	rep.Input, rep.Problems, rep.Notes = in, p.Problems, p.Notes
	if next, ok := plan.Next(in).First(); ok {
		rep.Next = &next
	}
	rep.Wake = plan.Wake(in)
}

// step carries out one action. What keeps the run from going on is returned.
func (l *lineage) step(ctx context.Context, a plan.Action, rep *Report) *plan.Finding {
	if ctx.Err() != nil {
		return &plan.Finding{Code: plan.Interrupted, Action: a.Kind}
	}
	log := l.log.With("action", a.Kind)
	if a.Channel != "" {
		log = log.With("channel", a.Channel)
	}
	log.Debug("begin", "reason", a.Why.Code)
	err := l.do(ctx, a)
	l.observe(ctx, Observed{Kind: a.Kind, Err: err})
	if err == nil {
		level := slog.LevelInfo
		if a.Kind.Upkeep() {
			level = slog.LevelDebug // nobody wants mail about that twice a day
		}
		log.Log(ctx, level, "done", "reason", a.Why.Code)
		rep.Done = append(rep.Done, a)
		if a.AsksCA() || a.Kind == plan.Look {
			l.tried[a.ID()] = true // once a run, whatever came of it
		}
		look := plan.Action{Kind: plan.Look, Channel: a.Channel}
		if (a.Kind == plan.Publish || a.Kind == plan.ReadBack) && l.state.Failing(look) && !l.again[a.Channel] {
			l.again[a.Channel] = true
			delete(l.tried, look.ID()) // what was wrong there may be settled now
		}
		if a.Kind == plan.Obtain || a.Kind == plan.SwitchKey {
			l.options.Force = false // this is the certificate that was asked for
		}
		return nil
	}
	l.tried[a.ID()] = true
	log.Debug("failed", "problem", err) // the caller reports it
	if ctx.Err() != nil {
		return &plan.Finding{Code: plan.Interrupted, Action: a.Kind, Err: err}
	}
	if errors.Is(err, errCommit) {
		return &plan.Finding{Code: plan.StateUnwritten, Action: a.Kind, Err: err}
	}
	if unrecorded := l.failed(a, err); unrecorded != nil {
		return &plan.Finding{Code: plan.StateUnwritten, Action: a.Kind, Err: errors.Join(err, unrecorded)}
	}
	return nil
}

func (l *lineage) do(ctx context.Context, a plan.Action) error {
	switch a.Kind {
	case plan.GenerateKey:
		return l.generateKey(ctx, a)
	case plan.Publish:
		return l.publish(ctx, a)
	case plan.ReadBack:
		return l.readBack(ctx, a)
	case plan.Obtain, plan.SwitchKey:
		return l.obtain(ctx, a)
	case plan.Revoke:
		return l.revoke(ctx, a)
	case plan.Collect:
		return l.collect(ctx, a)
	case plan.Install:
		return l.install(ctx, a)
	case plan.Deploy:
		return l.deploy(ctx, a)
	case plan.Check:
		return l.check(ctx, a)
	case plan.Look:
		return l.lookOut(ctx, a)
	case plan.AskWindow:
		return l.askWindow(ctx, a)
	case plan.Prune:
		if err := l.store.Live.Prune(a.Version); err != nil {
			return err
		}
	case plan.BeginLineage, plan.RetirePin, plan.Abandon, plan.BeginRollover, plan.WriteOff:
	default:
		return fmt.Errorf("no such action: %q", a.Kind)
	}
	return l.commit(ctx, a, plan.Result{})
}

func (l *lineage) generateKey(ctx context.Context, a plan.Action) error {
	pin, err := l.store.Keys.Create(a.KeyType)
	if err != nil {
		return err
	}
	digest, err := l.store.Keys.Digest(pin)
	if err != nil {
		return err
	}
	l.checks.keys[pin] = nil
	return l.commit(ctx, a, plan.Result{Pin: pin, Digest: digest})
}

// Plan looks at a lineage and says what would be done, now and later, without
// doing anything. With the plan comes what it was computed from.
func (r *Runner) Plan(ctx context.Context, cert config.Certificate, o Options) (plan.Input, plan.Plan, error) {
	l, err := r.newRun(ctx, cert, o).look(ctx)
	if err != nil {
		return plan.Input{}, plan.Plan{}, err
	}
	in := l.input()
	return in, plan.Forecast(in), nil
}

func jitter() float64 { return rand.Float64() }
