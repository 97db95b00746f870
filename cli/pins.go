package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/pinset"
	"keepkey/plan"
)

type pinsOptions struct {
	selection
	format  string
	channel string
	asJSON  bool
}

func pinsCommand(g *globals) *cli.Command {
	var o pinsOptions
	return &cli.Command{
		Name:  "pins",
		Usage: "print the pins that clients should accept",
		Flags: []cli.Flag{
			o.nameFlag(), jsonFlag(&o.asJSON),
			&cli.StringFlag{Name: "format", Destination: &o.format, Usage: "print the document that clients read, in this `FORMAT`: " + strings.Join(pinset.Formats(), ", ")},
			&cli.StringFlag{Name: "channel", Destination: &o.channel, Usage: "print the document as the `CHANNEL` gets it"},
		},
		Action: func(c *cli.Context) error {
			if o.asJSON && (o.format != "" || o.channel != "") {
				return usagef("--json prints keepkey's own listing; give it, or --format or --channel")
			}
			if o.format != "" && !slices.Contains(pinset.Formats(), o.format) {
				return usagef("--format %q: want %s", o.format, strings.Join(pinset.Formats(), ", "))
			}
			return runPins(c, g, &o)
		},
	}
}

// pinsJSON is one certificate of `pins --json`.
type pinsJSON struct {
	Name    string     `json:"name"`
	Domains []string   `json:"domains"`
	Version int        `json:"version"`
	Keys    []plan.Key `json:"keys"`
}

func runPins(c *cli.Context, g *globals, o *pinsOptions) error {
	runner, certs, err := look(g, &o.selection)
	if err != nil {
		return err
	}
	listing := []pinsJSON{}
	for _, cert := range certs {
		in, _, err := runner.Plan(c.Context, cert, apply.Options{})
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", cert.Name, err)
		case in.Disk.LedgerProblem != nil:
			return fmt.Errorf("%s: %w", cert.Name, in.Disk.LedgerProblem)
		case in.State == nil || in.State.Pins() == nil:
			return fmt.Errorf("%s: nothing is there yet: run keepkey renew first", cert.Name)
		}
		set := in.State.WantedPinSet(in.Ledger)
		if o.format == "" && o.channel == "" {
			listing = append(listing, pinsJSON{Name: cert.Name, Domains: cert.Domains, Version: set.Version, Keys: in.State.Keys})
			continue
		}
		doc, err := document(cert, in, set, o)
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
	return show(g.env, listing, o.asJSON, printPins, func(pinsJSON) int { return 0 })
}

func printPins(env Env, p pinsJSON) {
	fmt.Fprintln(env.Stdout, p.Name)
	for _, k := range p.Keys {
		fmt.Fprintf(env.Stdout, "  %s  %-7s  %s\n", k.Pin, k.Type, k.Role)
	}
}

func document(cert config.Certificate, in plan.Input, set pinset.Set, o *pinsOptions) ([]byte, error) {
	ch := config.Channel{Format: o.format}
	published := in.State.Begun
	if o.channel != "" {
		var ok bool
		if ch, ok = cert.Channel(o.channel); !ok {
			return nil, usagef("%s has no channel %q", cert.Name, o.channel)
		}
		if o.format != "" {
			ch.Format = o.format
		}
		published = time.Time{}
		if newest, ok := in.Ledger.Channel(ch.Name); ok && newest.Version == set.Version {
			published = newest.Intended
		}
	}
	return apply.Document(cert, ch, set, published)
}
