// Package cli is keepkey's command line: one file a command, each of which reads
// its flags, makes one call and prints the outcome. It is the only place where
// the other packages are put together.
//
// The rules of its output. Results go to standard output, in plain lines or as
// JSON; logs, progress and errors go to standard error. An error begins with
// "keepkey: ", is lower-case, says what is still safe and what to do, and shows
// text from outside with its control characters escaped. The exit status is 0
// when all is done or nothing was to do, 1 when something failed (the rest was
// still done), 2 for a usage or configuration error, 3 when the gate is closed,
// 4 when another keepkey is at work. `check` alone ends as monitoring plugins do.
package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/urfave/cli/v2"

	"keepkey/acme/dns"
	"keepkey/config"
	"keepkey/keystore"
	"keepkey/plan"
	"keepkey/status"
)

// Env is the world as a command sees it.
type Env struct {
	Args     []string // the program's name first
	Stdin    io.Reader
	Stdout   io.Writer
	Stderr   io.Writer
	Getenv   func(string) string
	Now      func() time.Time
	Terminal bool // Stderr is a terminal
	Width    int  // of the terminal that Stdout is, in columns; 0 when it is none
	DNS      dns.Providers
	// RequestTimeout bounds one request to a CA; 0 for the usual bound.
	RequestTimeout time.Duration
	// Become has the process begin anew as another user; see [Become]. Without it keepkey
	// runs as who it is.
	Become func(uid int, config string) error
	// OnlyHanded has a daemon do what commands hand to it, and nothing of its own. Tests
	// want both apart.
	OnlyHanded bool

	daemon *service // that runs the command for somebody else
	asker  string   // who that is
}

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	exitGate   = 3
	exitLocked = 4
)

// usageError is the caller's mistake: in the arguments, not in the world.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// reportedError says that something failed and that the person has been told.
type reportedError struct{}

func (reportedError) Error() string { return "something failed" }

// Run executes one command line and returns the exit status.
func Run(ctx context.Context, env Env) (exit int) {
	defer func() {
		if p := recover(); p != nil {
			complain(env, fmt.Sprintf("broke down (%v); this is a bug in keepkey; report it:\n%s", p, debug.Stack()))
			exit = exitFailed
		}
	}()
	err := newApp(env).RunContext(ctx, env.Args)
	var usage usageError
	var invalid config.Errors
	var locked *keystore.LockedError
	var refused *plan.Refusal
	var elsewhere statusError
	var plugin pluginStatus
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &reportedError{}):
		return exitFailed
	case errors.As(err, &elsewhere):
		return int(elsewhere)
	case errors.As(err, &plugin):
		return int(plugin)
	case errors.As(err, &usage):
		complain(env, err.Error())
		return exitUsage
	case errors.As(err, &invalid):
		complain(env, err.Error())
		return exitUsage
	case errors.As(err, &refused):
		complain(env, refused.Lineage+": "+strings.Join(status.ProblemOf(refused.Lineage, refused.Finding).Lines(), "\n"))
		if refused.Finding.Code == plan.GateClosed {
			return exitGate
		}
		return exitFailed
	case errors.As(err, &locked):
		complain(env, err.Error())
		return exitLocked
	}
	complain(env, err.Error())
	return exitFailed
}

func complain(env Env, text string) {
	fmt.Fprintf(env.Stderr, "keepkey: %s\n", printable(text))
}

// printable escapes what could steer a terminal. Lines after the first are
// indented, so that none can pass for a message of its own.
func printable(s string) string {
	var b strings.Builder
	for _, r := range strings.TrimRight(s, "\n") {
		switch {
		case r == '\n':
			b.WriteString("\n    ")
		case r == '\t' || unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, "\\u%04x", r)
		}
	}
	return b.String()
}

func newApp(env Env) *cli.App {
	// The library's own ways to end the process, to print help on a mistake and to
	// answer an unknown command with status 3 (which means "the gate is closed"
	// here) are all switched off.
	g := &globals{env: env}
	showVersion := false
	app := &cli.App{
		Name:            "keepkey",
		Usage:           "renews certificates with the same key, for servers whose clients pin it",
		HideHelpCommand: true,
		HideVersion:     true,
		Suggest:         true,
		// With a last argument that only contrib/completion knows, it prints what could follow.
		EnableBashCompletion: true,
		Writer:               env.Stdout,
		ErrWriter:            env.Stderr,
		ExitErrHandler:       func(*cli.Context, error) {},
		OnUsageError:         onUsageError,
		Flags:                append(g.flags(), &cli.BoolFlag{Name: "version", Destination: &showVersion, Usage: "print the version", DisableDefaultText: true}),
		Action: func(c *cli.Context) error {
			if showVersion {
				return g.printVersion()
			}
			if first := c.Args().First(); first != "" && first != "help" {
				return usagef("there is no command %q%s", first, cmp.Or(elsewhere(first), "; keepkey --help lists those that there are"))
			}
			return cli.ShowAppHelp(c)
		},
	}
	app.Commands = []*cli.Command{
		renewCommand(g), rotateCommand(g), statusCommand(g), checkCommand(g), planCommand(g), logCommand(g), pinsCommand(g),
		channelCommand(g), ledgerCommand(g), hostCommand(g), lineageCommand(g), adoptCommand(g), reportCommand(g), daemonCommand(g), notifyCommand(g), versionCommand(g),
	}
	for _, cmd := range app.Commands {
		g.prepare(cmd)
	}
	asPlugin(env, app.Command("check"))
	return app
}

// prepare gives a command, and those below it, what all commands have.
func (g *globals) prepare(cmd *cli.Command) {
	cmd.Flags = append(cmd.Flags, g.flags()...)
	for _, f := range cmd.Flags {
		if b, ok := f.(*cli.BoolFlag); ok {
			b.DisableDefaultText = true // "(default: false)" goes without saying
		}
	}
	cmd.HideHelpCommand = true
	cmd.OnUsageError = onUsageError
	if len(cmd.Subcommands) > 0 {
		for _, sub := range cmd.Subcommands {
			g.prepare(sub)
		}
		cmd.Action = func(c *cli.Context) error {
			if c.Args().Present() {
				return usagef("there is no command %q under %s; keepkey %[2]s --help lists those that there are", c.Args().First(), cmd.Name)
			}
			return cli.ShowSubcommandHelp(c)
		}
		return
	}
	action := cmd.Action
	cmd.Action = func(c *cli.Context) error {
		if c.Args().Present() {
			// Flags behind it would be dropped silently.
			return usagef("%s takes no arguments, but got %q%s", c.Command.Name, c.Args().First(), byName(c.Command))
		}
		return action(c)
	}
}

// byName says how a command is told which certificate it is for.
func byName(cmd *cli.Command) string {
	has := func(name string) bool {
		return slices.ContainsFunc(cmd.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
	}
	switch {
	case has("domain"):
		return "; a certificate is named with --name or --domain"
	case has("name"):
		return "; a certificate is named with --name"
	}
	return ""
}

func onUsageError(c *cli.Context, err error, _ bool) error {
	const undefined = "flag provided but not defined: "
	flag, ok := strings.CutPrefix(err.Error(), undefined)
	if !ok {
		return usageError{err}
	}
	hint := "; keepkey --help lists those that there are, and those of a command go behind it"
	if name := c.Command.HelpName; name != c.App.HelpName {
		hint = "; " + name + " --help lists those that there are"
	}
	return usagef("%s%s%s", undefined, flag, cmp.Or(elsewhere(flag), hint))
}

// elsewhere says what takes the place of a word that users of other clients type.
func elsewhere(word string) string {
	instead := map[string]string{
		"certonly": "renew", "run": "renew", "issue": "renew", "-issue": "renew", "certificates": "status", "list": "status", "show": "status",
		"delete": "lineage drop, once the certificate is out of the configuration", "revoke": "rotate --compromised", "reuse-key": "renew, which always keeps the key",
		"-d": "--domain", "-q": "renew without it: with nothing due it prints nothing", "-quiet": "renew without it: with nothing due it prints nothing",
		"-force-renewal": "--force", "-cert-name": "--name", "-n": "--name", "-c": "--config", "-test-cert": "acme: {directory: letsencrypt-staging} in the configuration",
		"-staging": "acme: {directory: letsencrypt-staging} in the configuration", "-email": "acme: {email: ...} in the configuration", "-m": "acme: {email: ...} in the configuration",
		"-w": "challenge: {http-01: {webroot: ...}} in the configuration", "-webroot": "challenge: {http-01: {webroot: ...}} in the configuration",
		"-deploy-hook": "deploy in the configuration", "-post-hook": "deploy in the configuration", "-key-type": "key_type in the configuration", "-reuse-key": "renew, which always keeps the key",
	}[word]
	if instead == "" {
		return ""
	}
	return "; with keepkey it is " + instead
}
