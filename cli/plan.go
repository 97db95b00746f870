package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"keepkey/apply"
	"keepkey/plan"
	"keepkey/status"
)

func planCommand(g *globals) *cli.Command {
	var s selection
	var asJSON bool
	return &cli.Command{
		Name:  "plan",
		Usage: "show what will be done and when, without doing it",
		Flags: s.flags(jsonFlag(&asJSON)),
		Action: func(c *cli.Context) error {
			return runPlan(c.Context, g, &s, apply.Options{}, asJSON)
		},
	}
}

func runPlan(ctx context.Context, g *globals, s *selection, o apply.Options, asJSON bool) error {
	runner, certs, err := look(g, s)
	if err != nil {
		return err
	}
	plans := []status.Plan{}
	for _, cert := range certs {
		_, p, err := runner.Plan(ctx, cert, o)
		if err != nil {
			p.Problems = []plan.Finding{{Code: plan.StateUnreadable, Err: err, Blocks: true}}
		}
		plans = append(plans, status.PlanOf(cert.Name, p))
	}
	return show(g.env, plans, asJSON, printPlan, func(p status.Plan) int { return len(p.Problems) })
}

func printPlan(env Env, p status.Plan) {
	fmt.Fprintln(env.Stdout, p.Name)
	for _, pr := range p.Problems {
		fmt.Fprintf(env.Stdout, "  problem: %s\n", printable(strings.Join(pr.Lines(), "\n")))
	}
	for _, note := range p.Notes {
		fmt.Fprintf(env.Stdout, "  note: %s\n", printable(strings.Join(note.Lines(), "\n")))
	}
	for _, a := range p.Actions {
		when := "now"
		if a.At.After(env.Now()) {
			when = status.Time(a.At)
		}
		fmt.Fprintf(env.Stdout, "  %s: %s: %s\n", when, printable(a.Text), printable(a.Why))
	}
}
