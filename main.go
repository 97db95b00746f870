// Keepkey is an ACME client for servers whose clients pin their public key.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"

	"keepkey/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process the hard way, which is safe at any point too.
	context.AfterFunc(ctx, stop)
	os.Exit(cli.Run(ctx, cli.Env{
		Args:     os.Args,
		Stdout:   os.Stdout,
		Stderr:   os.Stderr,
		Getenv:   os.Getenv,
		Now:      time.Now,
		Terminal: term.IsTerminal(int(os.Stderr.Fd())),
	}))
}
