package cli

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"keepkey/apply"
)

func ledgerCommand(g *globals) *cli.Command {
	var s selection
	var asJSON bool
	return &cli.Command{
		Name:  "ledger",
		Usage: "check or restart the record of what was published",
		Subcommands: []*cli.Command{{
			Name:  "verify",
			Usage: "check that the ledger is complete and unchanged",
			Flags: s.flags(jsonFlag(&asJSON)),
			Action: func(c *cli.Context) error {
				return runLedgerVerify(c.Context, g, &s, asJSON)
			},
		}, restartCommand(g)},
	}
}

func restartCommand(g *globals) *cli.Command {
	var s selection
	return &cli.Command{
		Name:  "restart",
		Usage: "start a new ledger where the old one is lost for good, and do what is due",
		Flags: s.oneFlags(),
		Action: func(c *cli.Context) error {
			if err := s.one("restart"); err != nil {
				return err
			}
			cfg, certs, err := g.toChange(c.Context, &s)
			if err != nil {
				return err
			}
			return g.work(c.Context, cfg, certs, apply.Options{Asked: true}, false, func(ctx context.Context, r *apply.Runner) error {
				return r.RestartLedger(ctx, certs[0])
			})
		},
	}
}

// ledgerJSON is one certificate of `ledger verify --json`.
type ledgerJSON struct {
	Name    string `json:"name"`
	Entries int    `json:"entries"`
	Hash    string `json:"hash"`
	Problem string `json:"problem,omitempty"`
}

func runLedgerVerify(ctx context.Context, g *globals, s *selection, asJSON bool) error {
	runner, certs, err := look(g, s)
	if err != nil {
		return err
	}
	ledgers := []ledgerJSON{}
	for _, cert := range certs {
		in, _, err := runner.Plan(ctx, cert, apply.Options{})
		if err == nil {
			err = in.Disk.LedgerProblem
		}
		l := ledgerJSON{Name: cert.Name}
		if err != nil {
			l.Problem = err.Error()
		} else {
			head := in.Ledger.Head()
			l.Entries, l.Hash = head.Entries, head.Hash
		}
		ledgers = append(ledgers, l)
	}
	return show(g.env, ledgers, asJSON, printLedger, func(l ledgerJSON) int { return len(l.Problem) })
}

func printLedger(env Env, l ledgerJSON) {
	if l.Problem != "" {
		fmt.Fprintf(env.Stdout, "%s: damaged: %s\n", l.Name, printable(l.Problem))
		return
	}
	fmt.Fprintf(env.Stdout, "%s: whole, %d entries\n", l.Name, l.Entries)
}
