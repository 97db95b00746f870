// Docs does what the documentation says, line by line, on a Debian that was made for it: with
// systemd as its first process, nginx, polkit, a user for keepkey, and Pebble in the place of
// Let's Encrypt. It has to be run as root, from the root of the repository, and takes about
// two minutes; needs says which programs it wants. The exit status is 3 where no Debian can be
// booted.
//
//	go run ./.ci/docs                do it
//	go run ./.ci/docs --keep DIR     with the Debian that an earlier run left in DIR
//
// The comment of parse says what is run. A line that can't be run is listed with the reason,
// in not-run.txt.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// pages are followed in this order.
var pages = []string{"README.md", "docs/running.md"}

// What the Debian has from the start, since it can reach nothing but the CA.
var packages = []string{
	"systemd", "systemd-sysv", "dbus", "polkitd", "util-linux", "nginx", "cron", "ssl-cert",
	"procps", "curl", "openssl", "ca-certificates", "jq",
}

// needs are the programs that this takes, each with its Debian package.
var needs = map[string]string{"mmdebstrap": "mmdebstrap", "systemd-nspawn": "systemd-container", "ip": "iproute2", "nsenter": "util-linux"}

func main() {
	keep := flag.String("keep", "", "keep a fresh Debian in `DIR`, and use the one that is there")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if flag.Arg(0) == "ca" {
		err = serveCA(ctx, flag.Arg(1))
	} else {
		err = run(ctx, os.Stdout, *keep)
	}
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "docs:", err)
	if errors.As(err, &cannotError{}) {
		os.Exit(3)
	}
	os.Exit(1)
}

// cannotError says that this machine is not one on which a Debian can be made and booted.
type cannotError struct{ error }

func (e cannotError) Unwrap() error { return e.error }

func run(ctx context.Context, out io.Writer, keep string) error {
	if os.Geteuid() != 0 {
		return cannotError{errors.New("only root can make a Debian and boot it")}
	}
	for program, pkg := range needs {
		if _, err := exec.LookPath(program); err != nil {
			return cannotError{fmt.Errorf("%w; it is in the package %s", err, pkg)}
		}
	}
	blocks, err := read(pages)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("/var/tmp", "keepkey-docs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	m := &machine{dir: filepath.Join(dir, "debian"), out: out}
	if err := m.provide(ctx, keep); err != nil {
		return cannotError{err}
	}
	defer m.stop()
	if err := m.boot(ctx); err != nil {
		return cannotError{err}
	}
	ran := 0
	for _, b := range blocks {
		fmt.Fprintf(out, "== %s:%d\n", b.page, b.line)
		if err := m.do(ctx, b); err != nil {
			return fmt.Errorf("%s:%d: %w\n%s", b.page, b.line, err, m.journal())
		}
		ran += strings.Count(strings.TrimSpace(b.text), "\n") + 1
	}
	fmt.Fprintf(out, "%d lines of %s were followed\n", ran, strings.Join(pages, " and "))
	return nil
}
