package cli

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/urfave/cli/v2"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/plan"
	"keepkey/status"
)

// This command is a monitoring plugin: what it found is in its exit status and in the first
// line of standard output, also when that is a mistake in its arguments.

// pluginStatus is an exit status of monitoring plugins, of which the person has been told.
type pluginStatus int

func (pluginStatus) Error() string { return "a check has told why" }

var pluginStatuses = map[status.Level]pluginStatus{status.LevelOK: 0, status.LevelWarning: 1, status.LevelCritical: 2, status.LevelUnknown: 3}

func checkCommand(g *globals) *cli.Command {
	var s selection
	var asJSON bool
	return &cli.Command{
		Name:  "check",
		Usage: "look at what servers present and clients get; the exit status is that of a monitoring plugin",
		Description: "It connects to each IP of each address under check in the configuration, else of each\n" +
			"domain, and reads all channels that can be read. Nothing is put on record.\n" +
			"The exit status is 0 when all is well, 1 for a warning, 2 if it is critical, 3 if nobody can tell.",
		Flags: s.flags(jsonFlag(&asJSON)),
		Action: func(c *cli.Context) error {
			all, err := g.check(c.Context, &s)
			if err != nil {
				return err
			}
			return showChecks(g.env, all, asJSON)
		},
	}
}

// check looks at the selected certificates, several at a time.
func (g *globals) check(ctx context.Context, s *selection) ([]status.Check, error) {
	runner, certs, err := look(g, s)
	if err != nil {
		return nil, err
	}
	all := make([]status.Check, len(certs))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(concurrent, len(certs)) {
		wg.Go(func() {
			for i := range next {
				all[i] = checkOf(ctx, runner, certs[i])
			}
		})
	}
	for i := range certs {
		next <- i
	}
	close(next)
	wg.Wait()
	if ctx.Err() != nil {
		return nil, errors.New("it was interrupted")
	}
	return all, nil
}

// checkOf looks at one certificate. A panic is its problem alone.
func checkOf(ctx context.Context, runner *apply.Runner, cert config.Certificate) (c status.Check) {
	defer func() {
		if p := recover(); p != nil {
			runner.Log.Error("keepkey broke down; this is a bug", "certificate", cert.Name, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			c = status.Unchecked(cert.Name, cert.Domains, plan.Finding{Code: plan.BrokeDown, Reason: fmt.Sprint(p)})
		}
	}()
	in, found, err := runner.Check(ctx, cert)
	if err != nil {
		return status.Unchecked(cert.Name, cert.Domains, plan.Finding{Code: plan.StateUnreadable, Err: err, Blocks: true})
	}
	return status.CheckOf(in, found)
}

func showChecks(env Env, all []status.Check, asJSON bool) error {
	level, summary := status.Summary(all)
	if asJSON {
		if err := printJSON(env, all); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(env.Stdout, printable(summary))
		for _, c := range all {
			printCheck(env, c)
		}
	}
	if level == status.LevelOK {
		return nil
	}
	return pluginStatuses[level]
}

func printCheck(env Env, c status.Check) {
	print := func(level status.Level, text string, problems []status.Problem) {
		if text != "" {
			fmt.Fprintf(env.Stdout, "  %-9s %s\n", level, printable(text))
		}
		for _, p := range problems {
			for i, line := range p.Lines() {
				indent := "            "
				if i > 0 {
					indent += "  "
				}
				fmt.Fprintf(env.Stdout, "%s%s\n", indent, printable(line))
			}
		}
	}
	fmt.Fprintln(env.Stdout, c.Name)
	for _, s := range c.Servers {
		print(s.Status, s.String(), s.Problems)
	}
	for _, ch := range c.Channels {
		print(ch.Status, ch.String(), ch.Problems)
	}
	print("", "", c.Problems)
}

// asPlugin has a command end as monitoring plugins do, whatever it fails for.
func asPlugin(env Env, cmd *cli.Command) {
	unknown := func(c *cli.Context, err error) error {
		switch {
		case err == nil, errors.As(err, new(pluginStatus)):
			return err
		case c.Bool("json"):
			complain(env, err.Error())
		default:
			fmt.Fprintf(env.Stdout, "UNKNOWN: %s\n", printable(err.Error()))
		}
		return pluginStatuses[status.LevelUnknown]
	}
	action, onUsageError := cmd.Action, cmd.OnUsageError
	cmd.Action = func(c *cli.Context) error { return unknown(c, action(c)) }
	cmd.OnUsageError = func(c *cli.Context, err error, isSubcommand bool) error {
		return unknown(c, onUsageError(c, err, isSubcommand))
	}
}
