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
		Usage: "record what only you know about a channel",
		Subcommands: []*cli.Command{
			sayCommand(g, "confirm", "record that a version of the pin set is out, and clients get it", (*apply.Runner).Confirm),
			sayCommand(g, "retire", "record that no supported client carries a version of the pin set any more", (*apply.Runner).Retire),
		},
	}
}

// sayCommand makes a command by which a person puts something on record.
func sayCommand(g *globals, name, usage string, say func(*apply.Runner, context.Context, config.Certificate, string, int) error) *cli.Command {
	var s selection
	var channel string
	var version positive
	return &cli.Command{
		Name:  name,
		Usage: usage,
		Flags: []cli.Flag{
			s.oneNameFlag(),
			&cli.StringFlag{Name: "channel", Destination: &channel, Usage: "the `CHANNEL`'s name"},
			&cli.GenericFlag{Name: "version", Value: &version, Usage: "the `VERSION` of the pin set, as keepkey status shows it"},
		},
		Action: func(c *cli.Context) error {
			if s.name == "" || channel == "" || version == 0 {
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
			if err := say(runner, c.Context, certs[0], channel, int(version)); err != nil {
				return err
			}
			_, err = fmt.Fprintf(g.env.Stdout, "%s: on record: %s version %d of the pin set on channel %s\n", certs[0].Name, name, version, channel)
			return err
		},
	}
}
