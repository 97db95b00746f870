package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"keepkey/acme"
	"keepkey/apply"
	"keepkey/config"
	"keepkey/daemon"
	"keepkey/internal/trusted"
	"keepkey/keystore"
	"keepkey/plan"
	"keepkey/status"
)

// concurrent is how many certificates are worked on at a time: enough to hide a
// CA's latency, few enough not to press it.
const concurrent = 8

type renewOptions struct {
	selection
	apply.Options
	dryRun bool
}

func renewCommand(g *globals) *cli.Command {
	var o renewOptions
	return &cli.Command{
		Name:  "renew",
		Usage: "renew what is due, publish what changed, run the hooks",
		Flags: o.flags(
			&cli.BoolFlag{Name: "force", Destination: &o.Force, Usage: "get a new certificate now, with the same key"},
			&cli.BoolFlag{Name: "dry-run", Destination: &o.dryRun, Usage: "show what would be done, and do nothing"},
			&cli.BoolFlag{Name: "new-lineage", Destination: &o.NewLineage, Usage: "start with new keys although clients may know others; needs --name or --domain"},
		),
		Action: func(c *cli.Context) error {
			if o.NewLineage && o.all() {
				return usagef("--new-lineage gives up keys that clients may know: say for which certificate, with --name or --domain")
			}
			if o.dryRun {
				return runPlan(c.Context, g, &o.selection, o.Options, false)
			}
			return runRenew(c.Context, g, &o)
		},
	}
}

func runRenew(ctx context.Context, g *globals, o *renewOptions) error {
	cfg, certs, err := g.toChange(ctx, &o.selection)
	if err != nil {
		return err
	}
	o.Asked = !o.all()
	return g.work(ctx, cfg, certs, o.Options, o.all(), func(context.Context, *apply.Runner) error { return nil })
}

// work does what is due for certificates, after something else that needs the lock
// too. With all it also tells of lineages that are not configured.
func (g *globals) work(ctx context.Context, cfg *config.Config, certs []config.Certificate, o apply.Options, all bool, first func(context.Context, *apply.Runner) error) error {
	p := newProgress(g.env, len(certs))
	return g.locked(ctx, cfg, p, func(ctx context.Context, runner *apply.Runner) error {
		if err := first(ctx, runner); err != nil {
			return err
		}
		w := &watcher{
			progress: p, certs: certs, outcomes: make([]*status.Outcome, len(certs)), quiet: g.env.Width == 0, one: len(certs) == 1,
			tells: g.notifies(cfg),
		}
		runner.All(ctx, certs, o, concurrent, w)
		p.finish()
		if all {
			if err := w.leftOver(ctx, runner); err != nil {
				return err
			}
		}
		return errors.Join(g.report(w), g.notify(ctx, cfg, runner, w, all))
	})
}

// leftOver tells of lineages that the configuration does not name.
func (w *watcher) leftOver(ctx context.Context, runner *apply.Runner) error {
	left, err := runner.LeftOver(ctx)
	if err != nil {
		return err
	}
	for _, l := range left {
		o := status.OutcomeOf(l.Input.Goal.Name, nil, []plan.Finding{l.Problem}, nil, l.Input.State, nil)
		w.certs, w.outcomes, w.failed = append(slices.Clip(w.certs), config.Certificate{Name: o.Name}), append(w.outcomes, &o), true
	}
	w.one = w.one && len(left) == 0
	return nil
}

// watcher keeps what is worth telling of a run over many certificates.
type watcher struct {
	*progress
	certs    []config.Certificate
	outcomes []*status.Outcome // by the certificate; nil where there is nothing to tell
	quiet    bool              // what had nothing due is not told
	one      bool
	failed   bool
	// tells says that conditions are what notify hooks are to be told of.
	tells      bool
	conditions []status.Condition
}

func (w *watcher) Begin(name string) { w.begin(name) }

func (w *watcher) End(i int, rep apply.Report) {
	w.end(rep.Name, len(rep.Problems) > 0)
	w.failed = w.failed || len(rep.Problems) > 0
	if w.tells {
		w.conditions = append(w.conditions, rep.Condition())
	}
	o := status.OutcomeOf(rep.Name, rep.Done, rep.Problems, rep.Notes, rep.Input.State, rep.Next)
	if o.Worked || len(o.Problems) > 0 || !w.quiet {
		w.outcomes[i] = &o
	}
}

// report tells what became of each certificate: the outcome on standard output, problems
// on standard error.
func (g *globals) report(w *watcher) error {
	if g.env.Width > 0 && !w.one {
		t := table{header: []string{"NAME", "RESULT", "EXPIRES", "NEXT"}}
		for _, o := range w.outcomes {
			t.add(status.Worst(o.Problems), o.Name, o.What, dateOf(o.Expires), nextIn(o, g.env.Now()))
		}
		t.print(g.env)
	}
	groups := groupProblems(w.certs, w.outcomes)
	for _, o := range w.outcomes {
		if o == nil {
			continue
		}
		if g.env.Width == 0 || w.one {
			fmt.Fprintln(g.env.Stdout, printable(o.String()))
			if g.env.Width > 0 {
				for _, did := range o.Did {
					printIndented(g.env, []string{"done: " + did})
				}
			}
			for _, note := range o.Notes {
				printIndented(g.env, note.Lines())
			}
		}
	}
	for _, group := range groups {
		if g.logFormat == "json" {
			logProblem(g.log, strings.Join(group.names, " "), group.problem)
			continue
		}
		complain(g.env, status.Several(group.names)+": "+strings.Join(group.problem.Lines(), "\n"))
	}
	if w.failed {
		return reportedError{}
	}
	return nil
}

// logProblem logs a problem as docs/json.md describes it.
func logProblem(log *slog.Logger, names string, p status.Problem) {
	log.Error("problem", "certificate", names, "code", p.Code, "severity", p.Severity, "problem", p.Subject, "safe", p.Safe, "do", p.Do)
}

// printIndented prints lines below what they belong to.
func printIndented(env Env, lines []string) {
	for i, line := range lines {
		indent := "  "
		if i > 0 {
			indent = "      "
		}
		fmt.Fprintf(env.Stdout, "%s%s\n", indent, printable(line))
	}
}

// problemGroup is a problem of one certificate, or one that many share.
type problemGroup struct {
	names   []string
	problem status.Problem
}

// groupProblems returns the problems of a run in the order of the certificates. What a
// CA is to blame for is told once for all of its certificates, at the first of them:
// else a CA that is down would be told of ten thousand times.
func groupProblems(certs []config.Certificate, outcomes []*status.Outcome) []problemGroup {
	type key struct {
		code               plan.Code
		directory, subject string
	}
	var groups []problemGroup
	at := make(map[key]int)
	expires := make(map[int]time.Time) // the first certificate of a group that does
	for i, o := range outcomes {
		if o == nil {
			continue
		}
		for _, p := range o.Problems {
			if p.Code != plan.CAUnreachable && p.Code != plan.CAPaused {
				groups = append(groups, problemGroup{[]string{o.Name}, p})
				continue
			}
			k := key{code: p.Code, directory: certs[i].ACME.Directory}
			if p.Code == plan.CAPaused {
				k.subject = p.Subject // it may be about some names only
			}
			n, seen := at[k]
			if !seen {
				n = len(groups)
				at[k] = n
				groups = append(groups, problemGroup{problem: p})
			}
			groups[n].names = append(groups[n].names, o.Name)
			if e := o.Expires; !e.IsZero() && (expires[n].IsZero() || e.Before(expires[n])) {
				expires[n] = e
			}
		}
	}
	for i, g := range groups {
		if len(g.names) > 1 {
			groups[i].problem = status.ForMany(g.problem, expires[i])
		}
	}
	return groups
}

// locked calls do with a runner that may write. Nobody else may meanwhile.
func (g *globals) locked(ctx context.Context, cfg *config.Config, p *progress, do func(context.Context, *apply.Runner) error) error {
	var err error
	if g.log, err = g.logger(p); err != nil {
		return err
	}
	ctx = apply.For(ctx, apply.Caller{Log: g.log, By: g.by()})
	if d := g.env.daemon; d != nil {
		d.runner.TryAgain()
		err := do(ctx, d.runner)
		// Whatever came of it, other things may be due now. A daemon that ends looks when it
		// begins again.
		if wakeErr := d.daemon.Wake(context.WithoutCancel(ctx), g.chosen...); !errors.Is(wakeErr, daemon.ErrEnded) {
			err = errors.Join(err, wakeErr)
		}
		return err
	}
	runner, done, err := g.open(cfg)
	if err != nil {
		return err
	}
	defer done()
	return do(ctx, runner)
}

// sudoUser is the variable in which sudo says who the person is.
const sudoUser = "SUDO_USER"

// by says for the journal who has something done.
func (g *globals) by() string {
	if !g.named {
		return plan.AskedByRun
	}
	name := cmp.Or(g.env.asker, g.env.Getenv(sudoUser), trusted.UserName(os.Getuid()))
	return strings.TrimSpace(plan.AskedByPerson + " " + name)
}

// open takes the state directory's lock, and gives it up with done.
func (g *globals) open(cfg *config.Config) (runner *apply.Runner, done func(), err error) {
	store, err := keystore.OpenLocked(cfg.State, cfg.Group)
	if err != nil {
		return nil, nil, err
	}
	if err := store.Tidy(); err != nil {
		g.log.Warn("what a killed process left can't be removed; it does no harm", "problem", err)
	}
	acme.SetLogger(g.log)
	if len(cfg.Resolvers) > 0 {
		acme.SetResolvers(cfg.Resolvers)
	}
	hostname, err := os.Hostname()
	if err != nil {
		g.log.Warn("this host has no name", "problem", err)
	}
	runner = &apply.Runner{
		Store: store, Now: g.env.Now, Log: g.log, UserAgent: "keepkey/" + version(), DNS: g.env.DNS, Hostname: hostname,
		RequestTimeout: g.env.RequestTimeout,
	}
	runner.Configure(namesOf(cfg))
	return runner, func() { runner.Close(); store.Close() }, nil
}

// namesOf returns the names of all certificates.
func namesOf(cfg *config.Config) []string {
	names := make([]string, 0, len(cfg.Certificates))
	for _, cert := range cfg.Certificates {
		names = append(names, cert.Name)
	}
	return names
}
