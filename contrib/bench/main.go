// Bench measures a keepkey run with nothing due, beside CertMagic that loads and
// checks the same certificates: whole processes, one after the other. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	sizes := flag.String("certificates", "1000,10000", "how many certificates, separated by commas")
	n := flag.Int("rounds", 7, "how often each is run and counted")
	idle := flag.Duration("idle", 0, "in place of runs, measure programs that keep running, for so long")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: bench [-certificates N,...] [-rounds N | -idle DURATION] DIR...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 || *n < 1 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, *sizes, *n, *idle, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, sizes string, n int, idling time.Duration, dirs []string) error {
	tools, err := os.MkdirTemp("", "keepkey-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tools)
	if err := errors.Join(build(ctx, ".", tools, "./ca"), build(ctx, ".", tools, "./certmagic")); err != nil {
		return err
	}
	ca, err := startCA(ctx, filepath.Join(tools, "ca"))
	if err != nil {
		return err
	}
	defer ca.stop()
	for i, dir := range dirs {
		if dirs[i], err = filepath.Abs(dir); err != nil {
			return err
		}
		if err := keepkeyOf(ctx, dirs[i]); err != nil {
			return err
		}
	}
	for size := range strings.SplitSeq(sizes, ",") {
		certs, err := strconv.Atoi(size)
		if err != nil || certs < 1 {
			return fmt.Errorf("-certificates: %q is not a number of certificates", size)
		}
		certmagic := filepath.Join(tools, "certmagic")
		if idling == 0 {
			err = compare(ctx, out, ca, certmagic, dirs, certs, n)
		}
		for _, dir := range dirs {
			if idling > 0 && err == nil {
				err = idle(ctx, out, ca, certmagic, dir, certs, idling)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// storeAll puts the certificates of a directory into CertMagic's storage.
func storeAll(ctx context.Context, ca *ca, certmagic, work string) (storage, names string, err error) {
	storage, names = filepath.Join(work, "certmagic"), filepath.Join(work, "names")
	if err := os.RemoveAll(storage); err != nil {
		return "", "", err
	}
	_, err = measure(ctx, contestant{env: ca.env(), args: []string{certmagic, "store", storage, ca.Directory, names, filepath.Join(work, "state", "lineages")}})
	return storage, names, err
}

// compare measures one number of certificates.
func compare(ctx context.Context, out io.Writer, ca *ca, certmagic string, dirs []string, certs, n int) error {
	var keepkeys []contestant
	for _, dir := range dirs {
		c, err := setUp(ctx, ca, dir, certs)
		if err != nil {
			return err
		}
		keepkeys = append(keepkeys, c)
	}
	storage, names, err := storeAll(ctx, ca, certmagic, filepath.Join(dirs[0], strconv.Itoa(certs)))
	if err != nil {
		return err
	}
	contestants := append([]contestant{
		{name: "CertMagic", env: ca.env(), args: []string{certmagic, "load", storage, ca.Directory, names, "1"}},
		{name: "CertMagic, 8 at a time", env: ca.env(), args: []string{certmagic, "load", storage, ca.Directory, names, "8"}},
	}, keepkeys...)

	syscall.Sync()
	before, err := ca.asked(ctx)
	if err != nil {
		return err
	}
	all, err := rounds(ctx, contestants, n)
	if err != nil {
		return err
	}
	after, err := ca.asked(ctx)
	if err != nil {
		return err
	}
	if before != after {
		return fmt.Errorf("the CA was asked %d times while nothing should have been due", after-before)
	}
	least, err := floor()
	if err != nil {
		return err
	}
	for i, c := range contestants {
		for _, f := range all[i] {
			if f.memory <= least {
				return fmt.Errorf("the peak memory of %s cannot be told from that of this program, %.0f MiB", c.name, least)
			}
		}
	}
	_, err = fmt.Fprintf(out, "\nNothing due, %d certificates, medians of %d rounds; ratios to CertMagic:\n\n%s", certs, n, table(contestants, all))
	return err
}
