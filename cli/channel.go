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
			sayCommand(g, "confirm", "record that a version of the pin set is out, and clients get it", (*apply.Runner).Confirm, nil),
			sayCommand(g, "retire", "record that no supported client carries a version of the pin set any more, or gets anything from a place", (*apply.Runner).Retire, (*apply.Runner).ClosePlace),
		},
	}
}

type (
	ofVersion func(r *apply.Runner, ctx context.Context, cert config.Certificate, channel string, version int) error
	ofPlace   func(r *apply.Runner, ctx context.Context, cert config.Certificate, channel, place string) error
)

// sayCommand makes a command by which a person puts something on record: of a version,
// or of a place where that makes sense.
func sayCommand(g *globals, name, usage string, say ofVersion, sayPlace ofPlace) *cli.Command {
	var s selection
	var channel, place string
	var version positive
	flags := s.oneFlags(
		&cli.StringFlag{Name: "channel", Destination: &channel, Usage: "the `CHANNEL`'s name"},
		&cli.GenericFlag{Name: "version", Value: &version, Usage: "the `VERSION` of the pin set, as keepkey status shows it"},
	)
	needs := "--name or --domain, --channel and --version"
	if sayPlace != nil {
		flags = append(flags, &cli.StringFlag{Name: "place", Destination: &place, Usage: "a `PLACE` that is not published to any more, as keepkey status shows it"})
		needs += " or --place"
	}
	return &cli.Command{
		Name:  name,
		Usage: usage,
		Flags: flags,
		Action: func(c *cli.Context) error {
			if !s.given() || channel == "" || (version == 0) == (place == "") {
				return usagef("%s needs %s", name, needs)
			}
			cfg, cert, err := g.onRecord(c.Context, &s)
			if err != nil {
				return err
			}
			return g.locked(c.Context, cfg, newProgress(g.env, 0), func(ctx context.Context, r *apply.Runner) error {
				what := fmt.Sprintf("version %d of the pin set", version)
				var err error
				if place != "" {
					what = "the place " + place
					err = sayPlace(r, ctx, cert, channel, place)
				} else {
					err = say(r, ctx, cert, channel, int(version))
				}
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(g.env.Stdout, "%s: on record: %s %s on channel %s\n", cert.Name, name, what, channel)
				return err
			})
		},
	}
}
