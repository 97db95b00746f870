package cli

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"keepkey/apply"
	"keepkey/plan"
	"keepkey/status"
)

func rotateCommand(g *globals) *cli.Command {
	var s selection
	var o apply.RotateOptions
	var dryRun bool
	return &cli.Command{
		Name:  "rotate",
		Usage: "switch to the first backup key, if that locks no client out",
		Flags: s.oneFlags(
			&cli.BoolFlag{Name: "undo", Destination: &o.Undo, Usage: "go back to the previous key, while its pin is still in the pin set"},
			&cli.BoolFlag{Name: "when-open", Destination: &o.WhenOpen, Usage: "if the gate is closed, wait: a later run switches once it is open"},
			&cli.BoolFlag{Name: "compromised", Destination: &o.Compromised, Usage: "others may have the active key: replace it at once, stop publishing its pin, revoke its certificates"},
			&cli.StringFlag{Name: "key", Destination: &o.Key, Usage: "with --compromised: which `KEY` others may have: active, backup, retired, all, or a pin"},
			&cli.BoolFlag{Name: "now", Destination: &o.Now, Usage: "with --compromised: do not wait for hosts that fail to serve the new key"},
			&cli.BoolFlag{Name: "accept-breakage", Destination: &o.AcceptBreakage, Usage: "with --compromised: switch even if that locks clients out"},
			&cli.BoolFlag{Name: "dry-run", Destination: &dryRun, Usage: "show what would be done, and do nothing"},
		),
		Action: func(c *cli.Context) error {
			if err := s.one("rotate"); err != nil {
				return err
			}
			switch {
			case o.AcceptBreakage && !o.Compromised:
				return usagef("--accept-breakage is for --compromised only: any other rollover can wait for the gate")
			case (o.Key != "" || o.Now) && !o.Compromised:
				return usagef("--key and --now are for --compromised only")
			case o.Compromised && (o.Undo || o.WhenOpen):
				return usagef("--compromised cannot be combined with --undo or --when-open")
			}
			if dryRun {
				return dryRunRotate(c, g, &s, o)
			}
			cfg, certs, err := g.toChange(c.Context, &s)
			if err != nil {
				return err
			}
			return g.work(c.Context, cfg, certs, apply.Options{Asked: true}, false, func(ctx context.Context, r *apply.Runner) error {
				if o.Compromised {
					o.Tell = func(in plan.Input, a plan.Action) { tell(g.env, certs[0].Name, status.Compromise(in, a)) }
				}
				return r.Rotate(ctx, certs[0], o)
			})
		},
	}
}

// tell prints what is about to happen.
func tell(env Env, name string, lines []string) {
	for _, line := range lines {
		fmt.Fprintf(env.Stdout, "%s: %s\n", name, printable(line))
	}
}

func dryRunRotate(c *cli.Context, g *globals, s *selection, o apply.RotateOptions) error {
	runner, certs, err := look(g, s)
	if err != nil {
		return err
	}
	p, err := runner.PlanRotate(c.Context, certs[0], o)
	if err != nil {
		return err
	}
	return show(g.env, []status.Plan{status.PlanOf(certs[0].Name, p)}, false, printPlan, func(p status.Plan) int { return len(p.Problems) })
}
