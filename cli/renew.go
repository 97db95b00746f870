package cli

import (
	"context"
	"fmt"
	"sync"

	"github.com/urfave/cli/v2"

	"keepkey/acme"
	"keepkey/apply"
	"keepkey/config"
	"keepkey/keystore"
	"keepkey/plan"
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
		Usage: "do what is due: keys, pin sets, certificates, hooks",
		Flags: []cli.Flag{
			o.domainFlag(), o.nameFlag(),
			&cli.BoolFlag{Name: "force", Destination: &o.Force, Usage: "obtain a new certificate now, with the same key"},
			&cli.BoolFlag{Name: "dry-run", Destination: &o.dryRun, Usage: "print what would be done, and do nothing"},
			&cli.BoolFlag{Name: "new-lineage", Destination: &o.NewLineage, Usage: "begin with new keys although clients may know others; needs --name"},
		},
		Action: func(c *cli.Context) error {
			if o.NewLineage && len(o.names.Value()) == 0 {
				return usagef("--new-lineage gives up keys that clients may know: say for which certificate with --name")
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
	reports := renewAll(ctx, runner, certs, o, p)
	p.finish()

	failed := false
	for i, rep := range reports {
		fmt.Fprintln(g.env.Stdout, printable(summary(certs[i], rep)))
		for _, note := range rep.Notes {
			fmt.Fprintf(g.env.Stdout, "  %s\n", printable(note))
		}
		for _, problem := range rep.Problems {
			failed = true
			if g.logFormat == "json" {
				runner.Log.Error("problem", "certificate", rep.Name, "problem", problem)
				continue
			}
			complain(g.env, rep.Name+": "+problem)
		}
	}
	if failed {
		return reportedError{}
	}
	return nil
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
	acme.SetLogger(log)
	if len(cfg.Resolvers) > 0 {
		acme.SetResolvers(cfg.Resolvers)
	}
	return &apply.Runner{
		Store: store, Now: g.env.Now, Log: log, UserAgent: "keepkey/" + version(),
		DNS: g.env.DNS, RequestTimeout: g.env.RequestTimeout,
	}, nil
}

// renewAll works on several certificates at a time. One that fails does not keep
// the others from being tried.
func renewAll(ctx context.Context, r *apply.Runner, certs []config.Certificate, o apply.Options, p *progress) []apply.Report {
	reports := make([]apply.Report, len(certs))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(concurrent, len(certs)) {
		wg.Go(func() {
			for i := range next {
				p.begin(certs[i].Name)
				reports[i] = r.Renew(ctx, certs[i], o)
				p.end(certs[i].Name, len(reports[i].Problems) > 0)
			}
		})
	}
	for i := range certs {
		next <- i
	}
	close(next)
	wg.Wait()
	return reports
}

// summary says in one line what became of a certificate.
func summary(cert config.Certificate, rep apply.Report) string {
	what := "nothing due"
	switch {
	case rep.Did(plan.Switch):
		what = "switched keys"
	case rep.Did(plan.Obtain) && rep.State != nil && rep.State.Certificate != nil && rep.State.Certificate.Version > 1:
		what = "renewed with the same key"
	case rep.Did(plan.Obtain):
		what = "first certificate obtained"
	case len(rep.Done) > 0:
		what = "brought up to date"
	case len(rep.Problems) > 0:
		what = "no change"
	}
	line := cert.Name + ": " + what
	switch n := len(rep.Problems); n {
	case 0:
	case 1:
		line += ", 1 problem"
	default:
		line += fmt.Sprintf(", %d problems", n)
	}
	if rep.State != nil && rep.State.Certificate != nil {
		line += ", expires " + stamp(rep.State.Certificate.NotAfter)
	}
	if rep.Next != nil && len(rep.Problems) == 0 {
		line += fmt.Sprintf(", next: %s at %s", rep.Next.Kind, stamp(rep.Next.At))
	}
	return line
}
