package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/plan"
	"keepkey/report"
	"keepkey/status"
)

func reportCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:  "report",
		Usage: "see what clients report of pin validations that failed, and decide about it",
		Subcommands: []*cli.Command{
			reportListCommand(g), reportDismissCommand(g), reportTakeCommand(g), reportRestartCommand(g),
		},
	}
}

func reportListCommand(g *globals) *cli.Command {
	var s selection
	var asJSON bool
	return &cli.Command{
		Name:  "list",
		Usage: "show what clients reported, and what it means",
		Flags: s.flags(jsonFlag(&asJSON)),
		Action: func(c *cli.Context) error {
			runner, certs, err := look(g, &s)
			if err != nil {
				return err
			}
			lists := []status.ReportList{}
			for _, cert := range certs {
				in, _, err := runner.Plan(c.Context, cert, apply.Options{})
				if err == nil {
					err = in.Disk.ReportsProblem
				}
				if err != nil {
					return fmt.Errorf("%s: %w", cert.Name, err)
				}
				lists = append(lists, status.ReportsOf(in))
			}
			return show(g.env, lists, asJSON, printReports, func(status.ReportList) int { return 0 })
		},
	}
}

func printReports(env Env, l status.ReportList) {
	row := func(label, format string, args ...any) {
		fmt.Fprintf(env.Stdout, "    %-9s %s\n", label, printable(fmt.Sprintf(format, args...)))
	}
	if len(l.Reports) == 0 {
		fmt.Fprintf(env.Stdout, "%s: no reports\n", l.Name)
		return
	}
	fmt.Fprintln(env.Stdout, l.Name)
	for _, r := range l.Reports {
		fmt.Fprintf(env.Stdout, "  %s\n", r.ID)
		row("held", "%s", r.Text)
		for _, pin := range r.Pins {
			row("pin", "%s", pin)
		}
		row("reports", "%d from %d sources, from %s to %s", r.Count, r.Sources, status.Time(r.First), status.Time(r.Last))
		for _, s := range r.Served {
			row("served", "%s", s)
		}
		row("hosts", "%s", strings.Join(r.Hosts, ", "))
		for _, app := range r.Apps {
			row("app", "%s", app)
		}
		if !r.Dismissed.IsZero() {
			row("dismissed", "at %s by %s", status.Time(r.Dismissed), r.By)
		}
	}
}

func reportDismissCommand(g *globals) *cli.Command {
	var s selection
	var ids cli.StringSlice
	var all bool
	return &cli.Command{
		Name:  "dismiss",
		Usage: "record that reports change nothing, so that they keep no gate closed",
		Description: "Do so if they are forged, or once you know that no supported client carries the pins.\n" +
			"For a week nothing makes them count again, and then only reports from three sources\n" +
			"or more that had not reported it before.",
		Flags: s.oneFlags(
			&cli.StringSliceFlag{Name: "id", Destination: &ids, Usage: "the `ID` of the reports, as keepkey report list shows it (can be repeated)"},
			&cli.BoolFlag{Name: "all", Destination: &all, Usage: "all that there are"},
		),
		Action: func(c *cli.Context) error {
			if !s.given() || (len(ids.Value()) > 0) == all {
				return usagef("dismiss needs --name or --domain, and --id or --all")
			}
			cfg, cert, err := g.onRecord(c.Context, &s)
			if err != nil {
				return err
			}
			return g.locked(c.Context, cfg, newProgress(g.env, 0), func(ctx context.Context, r *apply.Runner) error {
				n, err := r.DismissReports(ctx, cert, ids.Value())
				if err != nil {
					return err
				}
				what := strings.Join(ids.Value(), ", ")
				if all {
					what = fmt.Sprintf("all there are (%d)", n)
				}
				_, err = fmt.Fprintf(g.env.Stdout, "%s: on record: dismiss reports: %s\n", cert.Name, what)
				return err
			})
		},
	}
}

func reportTakeCommand(g *globals) *cli.Command {
	var source string
	return &cli.Command{
		Name:  "take",
		Usage: "take a report that came by another way, from standard input",
		Description: "It has to be in JSON, as RFC 7469 section 3 has it, or as TrustKit sends it. Reports are\n" +
			"told apart by their sources, of which three or more count after a dismissal.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "source", Value: "by hand", Destination: &source, Usage: "what tells the `CLIENT` that sent it from others"},
		},
		Action: func(c *cli.Context) error {
			body, err := io.ReadAll(io.LimitReader(g.env.Stdin, report.MaxBody+1))
			if err != nil {
				return fmt.Errorf("standard input: %w", err)
			}
			rep, err := report.Parse(body)
			if err != nil {
				return err
			}
			g.input = body
			if err := g.handOver(c.Context); err != nil {
				return err
			}
			cfg, err := g.load()
			if err != nil {
				return err
			}
			certs := about(cfg, rep)
			if len(certs) == 0 {
				return fmt.Errorf("the report is about %s, and %s has no certificate for that; nothing was changed", rep.Host, cfg.File)
			}
			for _, cert := range certs {
				g.chosen = append(g.chosen, cert.Name)
			}
			return g.locked(c.Context, cfg, newProgress(g.env, 0), func(ctx context.Context, r *apply.Runner) error {
				at := r.Now()
				if !rep.At.IsZero() && rep.At.Before(at) {
					at = rep.At // it may have lain somewhere
				}
				if _, err := r.Hear(ctx, certs, []apply.Received{{Report: rep, Source: source, At: at}}); err != nil {
					return err
				}
				_, err := fmt.Fprintf(g.env.Stdout, "on record: a report about %s\n", rep.Host)
				return err
			})
		},
	}
}

// about returns the certificates that a report may be about: those for the host to which the
// client connected, or else for the one whose pins it applied.
func about(cfg *config.Config, rep report.Report) []config.Certificate {
	for _, host := range []string{rep.Host, rep.Noted} {
		var certs []config.Certificate
		for _, cert := range cfg.Certificates {
			if plan.Covers(cert.Domains, host) {
				certs = append(certs, cert)
			}
		}
		if len(certs) > 0 {
			return certs
		}
	}
	return nil
}

func reportRestartCommand(g *globals) *cli.Command {
	var s selection
	return &cli.Command{
		Name:  "restart",
		Usage: "begin anew where what clients reported is damaged; what closed the gate is forgotten",
		Flags: s.oneFlags(),
		Action: func(c *cli.Context) error {
			if err := s.one("restart"); err != nil {
				return err
			}
			cfg, cert, err := g.onRecord(c.Context, &s)
			if err != nil {
				return err
			}
			return g.locked(c.Context, cfg, newProgress(g.env, 0), func(ctx context.Context, r *apply.Runner) error {
				kept, err := r.RestartReports(ctx, cert)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(g.env.Stdout, "%s: on record: no reports; the damaged ones are in %s\n", cert.Name, kept)
				return err
			})
		},
	}
}
