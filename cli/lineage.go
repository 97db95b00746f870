package cli

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"keepkey/apply"
)

func lineageCommand(g *globals) *cli.Command {
	var s selection
	return &cli.Command{
		Name:  "lineage",
		Usage: "manage lineages that the configuration does not name any more",
		Subcommands: []*cli.Command{{
			Name:  "drop",
			Usage: "take a lineage out of the state directory, once no client may be enforcing its pins",
			Description: "Its files are moved to the directory dropped in the state directory, with all its\n" +
				"keys. A server that reads its live directory does not find it any more.",
			Flags: []cli.Flag{s.oneNameFlag()},
			Action: func(c *cli.Context) error {
				if s.name == "" {
					return usagef("drop needs --name")
				}
				cfg, cert, err := g.onRecord(c.Context, &s)
				if err != nil {
					return err
				}
				return g.locked(c.Context, cfg, newProgress(g.env, 0), func(ctx context.Context, r *apply.Runner) error {
					kept, err := r.Drop(ctx, cert.Name)
					if err != nil {
						return err
					}
					_, err = fmt.Fprintf(g.env.Stdout, "%s: dropped; its files, with all its keys, are in %s\n", cert.Name, kept)
					return err
				})
			},
		}},
	}
}
