package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"keepkey/apply"
	"keepkey/plan"
)

func planCommand(g *globals) *cli.Command {
	var s selection
	var asJSON bool
	return &cli.Command{
		Name:  "plan",
		Usage: "show what would happen and when, and why not now",
		Flags: []cli.Flag{s.nameFlag(), jsonFlag(&asJSON)},
		Action: func(c *cli.Context) error {
			return runPlan(c.Context, g, &s, apply.Options{}, asJSON)
		},
	}
}

// planJSON is one certificate of `plan --json`.
type planJSON struct {
	Name     string         `json:"name"`
	Actions  []plan.Action  `json:"actions"`
	Problems []plan.Problem `json:"problems"`
	Notes    []string       `json:"notes"`
}

func newPlanJSON(name string, p plan.Plan) planJSON {
	return planJSON{
		Name: name, Actions: append([]plan.Action{}, p.Actions...),
		Problems: append([]plan.Problem{}, p.Problems...), Notes: append([]string{}, p.Notes...),
	}
}

func runPlan(ctx context.Context, g *globals, s *selection, o apply.Options, asJSON bool) error {
	runner, certs, err := look(g, s)
	if err != nil {
		return err
	}
	plans := []planJSON{}
	for _, cert := range certs {
		_, p, err := runner.Plan(ctx, cert, o)
		if err != nil {
			p.Problems = []plan.Problem{{Text: err.Error(), Blocks: true}}
		}
		plans = append(plans, newPlanJSON(cert.Name, p))
	}
	return show(g.env, plans, asJSON, printPlan, func(p planJSON) int { return len(p.Problems) })
}

func printPlan(env Env, p planJSON) {
	fmt.Fprintln(env.Stdout, p.Name)
	for _, pr := range p.Problems {
		fmt.Fprintf(env.Stdout, "  problem: %s\n", printable(pr.Text))
	}
	for _, note := range p.Notes {
		fmt.Fprintf(env.Stdout, "  note: %s\n", printable(note))
	}
	for _, a := range p.Actions {
		when := "now"
		if a.At.After(env.Now()) {
			when = stamp(a.At)
		}
		fmt.Fprintf(env.Stdout, "  %s: %s: %s\n", when, printable(describe(a)), printable(a.Reason))
	}
}

// describe names an action with what it acts on.
func describe(a plan.Action) string {
	switch a.Kind {
	case plan.BeginLineage:
		return "begin the lineage"
	case plan.GenerateKey:
		return fmt.Sprintf("generate the %s key", a.Role)
	case plan.Publish:
		return fmt.Sprintf("publish version %d of the pin set on channel %s", a.PinSet.Version, a.Channel)
	case plan.ReadBack:
		return fmt.Sprintf("read version %d of the pin set back from channel %s", a.PinSet.Version, a.Channel)
	case plan.Install:
		return fmt.Sprintf("make certificate version %d live", a.Version)
	case plan.Deploy:
		return "run a deploy hook"
	case plan.Check:
		return "look at the key that " + a.Target + " serves"
	case plan.AskWindow:
		return "ask the CA for its renewal window"
	case plan.Switch:
		return "obtain a certificate for the backup key, and make it the active one"
	case plan.RetireOld:
		return "take the old key's pin out of the pin set"
	case plan.BeginRollover:
		return "begin a rollover to the first backup key"
	case plan.Abandon:
		return fmt.Sprintf("give up the clients of channel %s with version %d of the pin set", a.Channel, a.Version)
	case plan.Revoke:
		return fmt.Sprintf("have certificate version %d (serial %s) revoked", a.Version, a.Target)
	case plan.Obtain:
		return "obtain a certificate for the active key"
	}
	return string(a.Kind)
}

// stamp writes a time for people, always in UTC.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
