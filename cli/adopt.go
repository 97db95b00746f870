package cli

import (
	"context"
	"github.com/urfave/cli/v2"

	"keepkey/apply"
	"keepkey/pinset"
	"keepkey/plan"
	"keepkey/status"
)

func adoptCommand(g *globals) *cli.Command {
	var s selection
	var key string
	var dryRun bool
	return &cli.Command{
		Name:  "adopt",
		Usage: "go on from what clients get and servers present, where only an old backup of the state is left",
		Description: "Use it when keepkey says that the state directory is from an old backup, and there is\n" +
			"no newer one. It reads the channels and the addresses to check, says which key is the\n" +
			"active one by now, and goes on with that. Of what clients may be enforcing it then\n" +
			"knows as little as can be, so the gate stays closed for as long as lifetimes say.",
		Flags: s.oneFlags(
			&cli.StringFlag{Name: "key", Destination: &key, Usage: "the `PIN` of the key to go on with, where nothing shows which one it is"},
			&cli.BoolFlag{Name: "dry-run", Destination: &dryRun, Usage: "say what it concludes, and change nothing"},
		),
		Action: func(c *cli.Context) error {
			if err := s.one("adopt"); err != nil {
				return err
			}
			var chosen pinset.Pin
			if key != "" {
				var err error
				if chosen, err = pinset.Parse(key); err != nil {
					return usagef("--key %q: %v", key, err)
				}
			}
			say := func(name string) func(plan.Adoption) {
				return func(a plan.Adoption) { tell(g.env, name, status.Adopted(a)) }
			}
			if dryRun {
				runner, certs, err := look(g, &s)
				if err != nil {
					return err
				}
				return runner.Adopt(c.Context, certs[0], chosen, true, say(certs[0].Name))
			}
			cfg, certs, err := g.toChange(c.Context, &s)
			if err != nil {
				return err
			}
			return g.work(c.Context, cfg, certs, apply.Options{Asked: true}, false, func(ctx context.Context, r *apply.Runner) error {
				return r.Adopt(ctx, certs[0], chosen, false, say(certs[0].Name))
			})
		},
	}
}
