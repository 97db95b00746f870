package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/pinset"
	"keepkey/pinset/format"
	"keepkey/plan"
	"keepkey/status"
)

type pinsOptions struct {
	selection
	format  string
	channel string
	all     bool
	asJSON  bool
}

func pinsCommand(g *globals) *cli.Command {
	var o pinsOptions
	return &cli.Command{
		Name:  "pins",
		Usage: "print the pins that clients should accept",
		Flags: o.flags(
			jsonFlag(&o.asJSON),
			&cli.BoolFlag{Name: "all", Destination: &o.all, Usage: "print the pins of all keys, also of those that clients must not accept"},
			&cli.StringFlag{Name: "format", Destination: &o.format, Usage: "print the document that clients download, in this `FORMAT`: " + strings.Join(format.Names(), ", ")},
			&cli.StringFlag{Name: "channel", Destination: &o.channel, Usage: "print the document as this `CHANNEL` gets it"},
		),
		Action: func(c *cli.Context) error {
			if (o.asJSON || o.all) && (o.format != "" || o.channel != "") {
				return usagef("--json and --all print keepkey's own listing, and cannot be combined with --format or --channel")
			}
			if _, known := format.ByName(o.format); o.format != "" && !known {
				return usagef("--format %q: want %s", o.format, strings.Join(format.Names(), ", "))
			}
			return runPins(c, g, &o)
		},
	}
}

func runPins(c *cli.Context, g *globals, o *pinsOptions) error {
	runner, certs, err := look(g, &o.selection)
	if err != nil {
		return err
	}
	listing := []status.Pins{}
	for _, cert := range certs {
		in, _, err := runner.Plan(c.Context, cert, apply.Options{})
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", cert.Name, err)
		case in.Disk.LedgerProblem != nil:
			return fmt.Errorf("%s: %w", cert.Name, in.Disk.LedgerProblem)
		case len(in.State.Keys) == 0, in.State.Pins() == nil && !o.all && in.State.Certificate == nil:
			return &plan.Refusal{Lineage: cert.Name, Finding: plan.Finding{Code: plan.NothingYet}}
		case in.State.Pins() == nil && !o.all:
			return &plan.Refusal{Lineage: cert.Name, Finding: plan.Finding{Code: plan.TooFewKeys}}
		}
		if o.format == "" && o.channel == "" {
			listing = append(listing, status.PinsOf(in, o.all))
			continue
		}
		doc, err := document(cert, in, o)
		if err != nil {
			return err
		}
		if _, err := g.env.Stdout.Write(doc); err != nil {
			return err
		}
	}
	if o.format != "" || o.channel != "" {
		return nil
	}
	return show(g.env, listing, o.asJSON, printPins, func(status.Pins) int { return 0 })
}

// warning is for a key that clients should not accept.
func warning(k status.Key) string {
	switch k.Role {
	case plan.Lost:
		return " (nobody has this key any more: do not ship it)"
	case plan.Retired:
		return " (not served any more: do not ship it)"
	case plan.Active, plan.Compromised: // an active one is about to be replaced
		return " (others may have this key: clients must NOT accept it)"
	}
	return ""
}

func printPins(env Env, p status.Pins) {
	fmt.Fprintln(env.Stdout, p.Name)
	for _, k := range p.Keys {
		text := string(k.Role)
		if !k.Accept {
			text += warning(k)
		}
		fmt.Fprintf(env.Stdout, "  %s  %-7s  %s\n", k.Pin, k.Type, text)
	}
	for _, line := range p.Hint() {
		fmt.Fprintln(env.Stderr, line)
	}
}

// document writes what clients read: of a channel, as it gets it, or in a format alone.
func document(cert config.Certificate, in plan.Input, o *pinsOptions) ([]byte, error) {
	set := plan.Wanted(in)
	var ch config.Channel
	var published, expires time.Time
	if o.channel != "" {
		var ok bool
		if ch, ok = cert.Channel(o.channel); !ok {
			return nil, usagef("%s has no channel %q", cert.Name, o.channel)
		}
		if pub := in.State.Channels[ch.Name]; o.format == "" && pub.Version == set.Version && pub.Document != "" {
			return []byte(pub.Document), nil
		}
		published = in.Now // when it would be, if it is not yet
		if newest, ok := in.Ledger.Channel(ch.Name); ok && newest.Version == set.Version {
			published, expires, ch.Lifetime = newest.Intended, newest.Expires, newest.Clients.Lifetime
		}
	} else {
		published = firstPublished(in.Ledger, set)
	}
	if o.format != "" {
		ch.Format, _ = format.ByName(o.format) // it was looked up before
	}
	if ch.Format.Encode == nil {
		return nil, usagef("channel %s of %s has no format: name one with --format", ch.Name, cert.Name)
	}
	return apply.Document(cert, ch, set, published, ch.Lifetime, expires)
}

// firstPublished is when a version first went to any channel; zero when it did not yet.
func firstPublished(l pinset.Ledger, set pinset.Set) time.Time {
	for _, p := range l.Published() {
		if p.Version == set.Version {
			return p.Intended
		}
	}
	return time.Time{}
}
