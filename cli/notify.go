package cli

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/status"
)

func notifyCommand(g *globals) *cli.Command {
	var test bool
	return &cli.Command{
		Name:  "notify",
		Usage: "see whether the notify hooks work: they are told by themselves when something is wrong",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "test", Destination: &test, Usage: "send a test to every notify hook"}},
		Action: func(c *cli.Context) error {
			if !test {
				return usagef("notify hooks are told by themselves when something is wrong, and when it is over; to send them a test: keepkey notify --test")
			}
			return runNotifyTest(c.Context, g)
		},
	}
}

// runNotifyTest sends a test, from where notifications come from: the daemon, if there is one.
func runNotifyTest(ctx context.Context, g *globals) error {
	if err := g.handOver(ctx); err != nil {
		return err
	}
	cfg, err := g.load()
	if err != nil {
		return err
	}
	if len(cfg.Notify) == 0 {
		return usagef("%s has no notify hooks: list them under notify, such as: notify: [{email: root}]", cfg.File)
	}
	runner, err := g.teller(cfg)
	if err != nil {
		return err
	}
	failed := false
	for _, h := range cfg.Notify {
		if err := runner.TestNotify(ctx, h); err != nil {
			complain(g.env, err.Error())
			failed = true
			continue
		}
		fmt.Fprintf(g.env.Stdout, "%s was sent a test\n", printable(h.String()))
	}
	if failed {
		return reportedError{}
	}
	return nil
}

// teller returns a runner that can call notify hooks, which takes no lock.
func (g *globals) teller(cfg *config.Config) (*apply.Runner, error) {
	if d := g.env.daemon; d != nil {
		return d.runner, nil
	}
	runner, err := g.reader(cfg)
	if err == nil {
		runner.Hostname, _ = os.Hostname() // one without a name is told of without it
	}
	return runner, err
}

// unlisted is logged where nobody can tell which lineages are not configured.
const unlisted = "lineages that are not configured can't be looked for"

// notifies reports whether a run tells notify hooks. What is handed to a daemon tells nobody:
// the daemon does.
func (g *globals) notifies(cfg *config.Config) bool {
	return len(cfg.Notify) > 0 && g.env.daemon == nil
}

// notify tells notify hooks what came of a run. It comes after everything else, which no hook
// can hold up.
func (g *globals) notify(ctx context.Context, cfg *config.Config, runner *apply.Runner, w *watcher, all bool) error {
	if !w.tells || ctx.Err() != nil {
		return nil
	}
	conditions := w.conditions
	if all {
		others, err := runner.Unconfigured(ctx)
		if err != nil {
			g.log.Error(unlisted, "problem", err)
		}
		conditions = append(append(conditions, others...), status.Whole(nil, conditions))
	}
	n := apply.Notifier{Runner: runner}
	told := n.Tell(ctx, cfg.Notify, conditions)
	for _, f := range told.Failed {
		p := status.ProblemOf("", f)
		if g.logFormat == "json" {
			logProblem(g.log, "", p)
			continue
		}
		complain(g.env, strings.Join(p.Lines(), "\n"))
	}
	if len(told.Failed) > 0 {
		return reportedError{}
	}
	return nil
}
