package cli

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"keepkey/apply"
	"keepkey/config"
)

func channelCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:  "channel",
		Usage: "put on record what only a person knows of a channel",
		Subcommands: []*cli.Command{
			sayCommand(g, "confirm", "a version of the pin set is out, and clients get it", (*apply.Runner).Confirm),
			sayCommand(g, "retire", "no supported client carries a version of the pin set any more", (*apply.Runner).Retire),
		},
	}
}

// sayCommand makes a command by which a person puts something on record.
func sayCommand(g *globals, name, usage string, say func(*apply.Runner, context.Context, config.Certificate, string, int) error) *cli.Command {
	var s selection
	var channel string
	var version int
	return &cli.Command{
		Name:  name,
		Usage: usage,
		Flags: []cli.Flag{
			s.nameFlag(),
			&cli.StringFlag{Name: "channel", Destination: &channel, Usage: "the `CHANNEL`'s name"},
			&cli.IntFlag{Name: "version", Destination: &version, Usage: "the `VERSION` of the pin set, as keepkey status shows it"},
		},
		Action: func(c *cli.Context) error {
			if len(s.names.Value()) != 1 || channel == "" || version < 1 {
				return usagef("%s needs --name, --channel and --version", name)
			}
			cfg, certs, err := g.selected(&s)
			if err != nil {
				return err
			}
			runner, err := g.locked(cfg, newProgress(g.env, 0))
			if err != nil {
				return err
			}
			defer runner.Store.Close()
			defer runner.Close()
			if err := say(runner, c.Context, certs[0], channel, version); err != nil {
				return err
			}
			_, err = fmt.Fprintf(g.env.Stdout, "%s: on record: %s version %d of the pin set on channel %s\n", certs[0].Name, name, version, channel)
			return err
		},
	}
}
