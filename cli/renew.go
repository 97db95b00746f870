package cli

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"keepkey/acme"
	"keepkey/apply"
	"keepkey/config"
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
		Flags: []cli.Flag{
			o.domainFlag(), o.nameFlag(),
			&cli.BoolFlag{Name: "force", Destination: &o.Force, Usage: "get a new certificate now, with the same key"},
			&cli.BoolFlag{Name: "dry-run", Destination: &o.dryRun, Usage: "show what would be done, and do nothing"},
			&cli.BoolFlag{Name: "new-lineage", Destination: &o.NewLineage, Usage: "start with new keys although clients may know others; needs --name"},
		},
		Action: func(c *cli.Context) error {
			if o.NewLineage && len(o.names.Value()) == 0 {
				return usagef("--new-lineage gives up keys that clients may know: say for which certificate, with --name")
			}
			if o.dryRun {
				return runPlan(c.Context, g, &o.selection, o.Options, false)
			}
			return runRenew(c.Context, g, &o)
		},
	}
}

func runRenew(ctx context.Context, g *globals, o *renewOptions) error {
	cfg, certs, err := g.selected(&o.selection)
	if err != nil {
		return err
	}
	return g.work(ctx, cfg, certs, o.Options, func(*apply.Runner) error { return nil })
}

// work does what is due for certificates, after something else that needs the lock
// too.
func (g *globals) work(ctx context.Context, cfg *config.Config, certs []config.Certificate, o apply.Options, first func(*apply.Runner) error) error {
	p := newProgress(g.env, len(certs))
	runner, err := g.locked(cfg, p)
	if err != nil {
		return err
	}
	defer runner.Store.Close()
	defer runner.Close()
	if err := first(runner); err != nil {
		return err
	}
	w := &watcher{progress: p, outcomes: make([]*status.Outcome, len(certs)), quiet: g.env.Width == 0, one: len(certs) == 1}
	runner.All(ctx, certs, o, concurrent, w)
	p.finish()
	return g.report(w, runner)
}

// watcher keeps what is worth telling of a run over many certificates.
type watcher struct {
	*progress
	outcomes []*status.Outcome // nil where there is nothing to tell
	quiet    bool              // what had nothing due is not told
	one      bool
	failed   bool
}

func (w *watcher) Begin(name string) { w.begin(name) }

func (w *watcher) End(i int, rep apply.Report) {
	w.end(rep.Name, len(rep.Problems) > 0)
	w.failed = w.failed || len(rep.Problems) > 0
	o := status.OutcomeOf(rep.Name, rep.Done, rep.Problems, rep.Notes, rep.State, rep.Next)
	if o.Worked || len(o.Problems) > 0 || !w.quiet {
		w.outcomes[i] = &o
	}
}

// report tells what became of each certificate: the outcome on standard output, problems
// on standard error.
func (g *globals) report(w *watcher, runner *apply.Runner) error {
	if g.env.Width > 0 && !w.one {
		t := table{header: []string{"NAME", "RESULT", "EXPIRES", "NEXT"}}
		for _, o := range w.outcomes {
			t.add(severityOf(o.Problems), o.Name, o.What, timeOr(o.Expires, "-"), o.NextText())
		}
		t.print(g.env)
	}
	groups := groupProblems(w.outcomes)
	for _, o := range w.outcomes {
		if o == nil {
			continue
		}
		if g.env.Width == 0 || w.one {
			fmt.Fprintln(g.env.Stdout, printable(o.String()))
			for _, note := range o.Notes {
				printIndented(g.env, note.Lines())
			}
		}
	}
	for _, group := range groups {
		if g.logFormat == "json" {
			runner.Log.Error("problem", "certificate", strings.Join(group.names, " "), "code", group.problem.Code, "problem", group.problem.Subject)
			continue
		}
		complain(g.env, group.name()+": "+strings.Join(group.problem.Lines(), "\n"))
	}
	if w.failed {
		return reportedError{}
	}
	return nil
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

// shared are the problems that are told once for all certificates that have them.
var shared = map[plan.Code]bool{plan.CAUnreachable: true, plan.CAPaused: true}

func groupProblems(outcomes []*status.Outcome) []problemGroup {
	var groups []problemGroup
	at := make(map[string]int)
	for _, o := range outcomes {
		if o == nil {
			continue
		}
		for _, p := range o.Problems {
			if i, seen := at[p.Subject]; seen && shared[p.Code] {
				groups[i].names = append(groups[i].names, o.Name)
				continue
			}
			at[p.Subject] = len(groups)
			groups = append(groups, problemGroup{[]string{o.Name}, p})
		}
	}
	return groups
}

// name says whose problem it is.
func (g problemGroup) name() string {
	if len(g.names) == 1 {
		return g.names[0]
	}
	return fmt.Sprintf("%d certificates (%s, ...)", len(g.names), g.names[0])
}

// locked returns a runner that may write. Nobody else may, until its store is closed.
func (g *globals) locked(cfg *config.Config, p *progress) (*apply.Runner, error) {
	log, err := g.logger(p)
	if err != nil {
		return nil, err
	}
	store, err := keystore.OpenLocked(cfg.State, cfg.Group)
	if err != nil {
		return nil, err
	}
	if err := store.Tidy(); err != nil {
		log.Warn("what a killed process left can't be removed; it does no harm", "problem", err)
	}
	acme.SetLogger(log)
	if len(cfg.Resolvers) > 0 {
		acme.SetResolvers(cfg.Resolvers)
	}
	hostname, err := os.Hostname()
	if err != nil {
		log.Warn("this host has no name", "problem", err)
	}
	return &apply.Runner{
		Store: store, Now: g.env.Now, Log: log, UserAgent: "keepkey/" + version(), DNS: g.env.DNS, Hostname: hostname,
		RequestTimeout: g.env.RequestTimeout,
	}, nil
}
