package cli

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"keepkey/apply"
)

func hostCommand(g *globals) *cli.Command {
	var s selection
	var id string
	return &cli.Command{
		Name:  "host",
		Usage: "manage the hosts that serve a certificate",
		Subcommands: []*cli.Command{{
			Name:  "forget",
			Usage: "record that a host is gone for good, so that no rollover waits for it",
			Description: "A rollover ends when every host on record serves the new key; only then does\n" +
				"the old key's pin leave the pin set. If a host that you forget still runs somewhere\n" +
				"and serves an old key, clients with the newest pin set will refuse it.",
			Flags: s.oneFlags(
				&cli.StringFlag{Name: "host", Destination: &id, Usage: "the `ID` of the host, as keepkey status --json shows it"},
			),
			Action: func(c *cli.Context) error {
				if !s.given() || id == "" {
					return usagef("forget needs --name or --domain, and --host")
				}
				cfg, certs, err := g.toChange(c.Context, &s)
				if err != nil {
					return err
				}
				return g.locked(c.Context, cfg, newProgress(g.env, 0), func(ctx context.Context, r *apply.Runner) error {
					if err := r.ForgetHost(ctx, certs[0], id); err != nil {
						return err
					}
					_, err := fmt.Fprintf(g.env.Stdout, "%s: on record: host %s is gone; no rollover waits for it, and a server that runs there may be refused by clients\n", certs[0].Name, id)
					return err
				})
			},
		}},
	}
}
