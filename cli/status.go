package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/page"
	"keepkey/plan"
	"keepkey/status"
)

func statusCommand(g *globals) *cli.Command {
	var s selection
	var asJSON bool
	var picture picture
	return &cli.Command{
		Name:  "status",
		Usage: "show certificates, keys and channels, what comes next and what is wrong",
		Flags: s.flags(append(picture.flags(), jsonFlag(&asJSON))...),
		Action: func(c *cli.Context) error {
			if picture.given() {
				return runPicture(c.Context, g, &s, picture, asJSON)
			}
			return runStatus(c.Context, g, &s, asJSON)
		},
	}
}

func runStatus(ctx context.Context, g *globals, s *selection, asJSON bool) error {
	runner, certs, err := look(g, s)
	if err != nil {
		return err
	}
	all := []status.Lineage{}
	for _, cert := range certs {
		all = append(all, statusOf(ctx, runner, cert))
	}
	if s.all() {
		left, err := runner.LeftOver(ctx)
		if err != nil {
			return err
		}
		for _, l := range left {
			all = append(all, status.LeftOver(l.Input, l.Problem))
		}
	}
	problems := func(l status.Lineage) int { return len(l.Problems) }
	if g.env.Width > 0 && !asJSON && len(all) > 1 {
		printOverview(g.env, all)
		return show(g.env, all, false, func(Env, status.Lineage) {}, problems)
	}
	return show(g.env, all, asJSON, printStatus, problems)
}

func statusOf(ctx context.Context, runner *apply.Runner, cert config.Certificate) status.Lineage {
	return status.Of(found(ctx, runner, cert))
}

// shownEvents is how many of the last events a page shows.
const shownEvents = 30

// pageOf returns what a page shows of a certificate.
func pageOf(ctx context.Context, runner *apply.Runner, cert config.Certificate) page.Certificate {
	in, p := found(ctx, runner, cert)
	events, err := runner.Journal(cert.Name)
	if err != nil {
		runner.Log.Warn("the journal can't be read; it is for people alone", "certificate", cert.Name, "problem", err)
	}
	return page.Certificate{
		Lineage: status.Of(in, p), Timeline: page.TimelineOf(in, p, events), Events: events[max(len(events)-shownEvents, 0):],
	}
}

// found reads a lineage anew, and what is planned for it.
func found(ctx context.Context, runner *apply.Runner, cert config.Certificate) (plan.Input, plan.Plan) {
	in, p, err := runner.Plan(ctx, cert, apply.Options{})
	if err != nil {
		in = plan.Input{Goal: apply.Goal(cert), Now: runner.Now()}
		p = plan.Plan{Problems: []plan.Finding{{Code: plan.StateUnreadable, Err: err, Blocks: true}}}
	} else {
		p.Notes = plan.Next(in).Notes // what is waited for now, and not once all that is due is done
	}
	return in, p
}

// withoutCertificate says why none is shown.
func withoutCertificate(l status.Lineage) string {
	unknown := func(p status.Problem) bool { return p.Code == plan.StateUnreadable || p.Code == plan.StateMissing }
	if slices.ContainsFunc(l.Problems, unknown) {
		return "unknown"
	}
	return "none yet"
}

// printOverview prints a line for each of several certificates.
func printOverview(env Env, all []status.Lineage) {
	t := table{header: []string{"NAME", "CERTIFICATE", "CHANNELS", "GATE", "PROBLEMS"}}
	for _, l := range all {
		certificate, gate := withoutCertificate(l), "-"
		if l.Certificate != nil {
			certificate = status.Left(l.Certificate.NotAfter.Sub(env.Now()))
		}
		if l.Gate != nil {
			gate = "closed"
			if l.Gate.Open {
				gate = "open"
			}
		}
		var problems []string
		for _, p := range l.Problems {
			problems = append(problems, string(p.Code))
		}
		t.add(status.Worst(l.Problems), l.Name, certificate, strings.Join(slices.Sorted(maps.Keys(l.Channels)), " "), gate, strings.Join(problems, " "))
	}
	t.print(env)
}

func printStatus(env Env, l status.Lineage) {
	row := func(label, format string, args ...any) {
		fmt.Fprintf(env.Stdout, "  %-11s %s\n", label, printable(fmt.Sprintf(format, args...)))
	}
	fmt.Fprintln(env.Stdout, l.Name)
	row("names", "%s", strings.Join(l.Domains, ", "))
	if c := l.Certificate; c != nil {
		installed := ""
		if !c.Installed {
			installed = ", not installed yet"
		}
		row("certificate", "version %d, serial %s, expires %s (%s)%s", c.Version, c.Serial, status.Time(c.NotAfter), status.Left(c.NotAfter.Sub(env.Now())), installed)
	} else {
		row("certificate", "%s", withoutCertificate(l))
	}
	for _, k := range l.Keys {
		row(string(k.Role), "%s %s", k.Type, k.Pin)
	}
	for _, name := range slices.Sorted(maps.Keys(l.Channels)) {
		pub := l.Channels[name]
		if pub.Confirmed.IsZero() {
			row("channel", "%s: version %d of the pin set since %s, not confirmed", name, pub.Version, status.Time(pub.Intended))
		} else {
			row("channel", "%s: version %d of the pin set, confirmed %s", name, pub.Version, status.Time(pub.Confirmed))
		}
	}
	if r := l.Rollover; r != nil {
		row("rollover", "%s", status.RolloverText(*r))
	}
	if l.Gate != nil {
		row("gate", "for the first backup key: %s", l.Gate.Text)
		for _, do := range l.Gate.Do {
			row("", "  %s", do)
		}
	}
	if others := status.HostsText(l.Hosts); others != "" {
		row("hosts", "%s", others)
	}
	if r := l.Reports; r != nil {
		row("reports", "%d, the last at %s", r.Count, status.Time(r.Last))
	}
	if n := l.Next; n != nil {
		when := "now"
		if n.At.After(env.Now()) {
			when = status.Time(n.At)
		}
		row("next", "%s: %s (%s)", when, n.Text, n.Why)
	}
	for _, note := range l.Notes {
		row("note", "%s", strings.Join(note.Lines(), "\n"))
	}
	for _, p := range l.Problems {
		row("problem", "%s", strings.Join(p.Lines(), "\n"))
	}
}
