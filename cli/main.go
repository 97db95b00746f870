package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"

	"keepkey/acme/dns"
)

// Main runs keepkey with the process's arguments, streams, signals and clock, and
// with the DNS providers that it was built with. It returns the exit status.
func Main(providers dns.Providers) int {
	harden()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process the hard way, which is safe at any point too.
	context.AfterFunc(ctx, stop)
	return Run(ctx, Env{
		Args:     os.Args,
		Stdin:    os.Stdin,
		Stdout:   os.Stdout,
		Stderr:   os.Stderr,
		Getenv:   os.Getenv,
		Now:      time.Now,
		Terminal: term.IsTerminal(int(os.Stderr.Fd())),
		Width:    width(os.Stdout),
		DNS:      providers,
		Become:   Become,
	})
}

// width returns the number of columns of a terminal, 0 for anything else.
func width(f *os.File) int {
	columns, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return columns
}
