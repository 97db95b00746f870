package cli

import (
	"github.com/urfave/cli/v2"

	"keepkey/apply"
)

func rotateCommand(g *globals) *cli.Command {
	var s selection
	var o apply.RotateOptions
	var dryRun bool
	return &cli.Command{
		Name:  "rotate",
		Usage: "make the first backup key the active one, when no client is locked out by it",
		Flags: []cli.Flag{
			s.nameFlag(),
			&cli.BoolFlag{Name: "undo", Destination: &o.Undo, Usage: "go back to the key before, while its pin is still in the pin set"},
			&cli.BoolFlag{Name: "when-open", Destination: &o.WhenOpen, Usage: "if the gate is closed, wait for it: a later run switches"},
			&cli.BoolFlag{Name: "dry-run", Destination: &dryRun, Usage: "print what would be done, and do nothing"},
		},
		Action: func(c *cli.Context) error {
			if len(s.names.Value()) != 1 {
				return usagef("rotate needs the one certificate that it is for: --name")
			}
			if dryRun {
				return dryRunRotate(c, g, &s, o)
			}
			cfg, certs, err := g.selected(&s)
			if err != nil {
				return err
			}
			return g.work(c.Context, cfg, certs, apply.Options{}, func(r *apply.Runner) error {
				return r.Rotate(c.Context, certs[0], o)
			})
		},
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
	return show(g.env, []planJSON{newPlanJSON(certs[0].Name, p)}, false, printPlan, func(p planJSON) int { return len(p.Problems) })
}
