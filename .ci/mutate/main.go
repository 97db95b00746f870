// Mutate puts deliberate faults into a copy of the code, one at a time, and expects
// the tests that each names to fail. A fault that nothing notices is a hole in the
// tests.
//
//	go run ./.ci/mutate              all of .ci/mutants; a minute or two each
//	go run ./.ci/mutate 03 07        those whose names begin so
//	go run ./.ci/mutate --check      only whether each still fits the code, and builds
//
// It is run from the root of the repository. The comment of parse describes the
// files; the tests that they name are first run without a fault.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

func main() {
	check := flag.Bool("check", false, "only see whether each fault still fits the code, and builds")
	jobs := flag.Int("jobs", 1, "try `N` faults at a time, each in a copy of its own")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: go run ./.ci/mutate [--check] [--jobs N] [prefix of a name]...")
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, *check, max(1, *jobs), flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, check bool, jobs int, prefixes []string) error {
	all, err := load(filepath.Join(".ci", "mutants"))
	if err != nil {
		return err
	}
	chosen, err := choose(all, prefixes)
	if err != nil {
		return err
	}
	var misfits []error
	for _, m := range chosen {
		changed, err := m.apply(os.ReadFile)
		if err == nil && check {
			err = builds(ctx, changed)
		}
		if err != nil {
			misfits = append(misfits, fmt.Errorf("%s does not fit the code: %w", m.Name, err))
		}
	}
	if err := errors.Join(misfits...); err != nil {
		return err
	}
	if check {
		fmt.Fprintf(out, "%d fit\n", len(chosen))
		return nil
	}
	return tryAll(ctx, out, chosen, jobs)
}

// builds compiles the packages of changed files, as they would be.
func builds(ctx context.Context, changed map[string][]byte) error {
	dir, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var overlay struct{ Replace map[string]string }
	overlay.Replace = make(map[string]string)
	args := []string{"build", "-overlay", filepath.Join(dir, "overlay.json")}
	for file, data := range changed {
		copied := filepath.Join(dir, fmt.Sprintf("%d.go", len(args)))
		if err := os.WriteFile(copied, data, 0o600); err != nil {
			return err
		}
		overlay.Replace[file] = copied
		args = append(args, "./"+filepath.Dir(file))
	}
	data, err := json.Marshal(overlay)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), data, 0o600); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("it does not build: %w\n%s", err, indent(tail(out)))
	}
	return nil
}

// tryAll tries mutants in several workspaces at a time, and tells of each as soon
// as it is done.
func tryAll(ctx context.Context, out io.Writer, mutants []mutant, jobs int) error {
	var workspaces []workspace
	for range jobs {
		w, err := newWorkspace(ctx)
		if err != nil {
			return err
		}
		defer os.RemoveAll(w.dir)
		workspaces = append(workspaces, w)
	}
	var tests []string
	for _, m := range mutants {
		tests = append(tests, m.Tests...)
	}
	slices.Sort(tests)
	tests = slices.Compact(tests)

	var mu sync.Mutex
	useless := make(map[string]error) // tests that prove nothing
	share(workspaces, tests, func(w workspace, test string) {
		err := w.holds(ctx, test)
		mu.Lock()
		defer mu.Unlock()
		useless[test] = err
	})
	bad := 0
	share(workspaces, mutants, func(w workspace, m mutant) {
		var err error
		for _, test := range m.Tests {
			err = errors.Join(err, useless[test])
		}
		var noticed []string
		if err == nil {
			noticed, err = w.try(ctx, m)
		}
		if ctx.Err() != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		switch missed := slices.Index(noticed, ""); {
		case err != nil:
			fmt.Fprintf(out, "ERROR    %s: %v\n", m.Name, err)
			bad++
		case missed >= 0:
			fmt.Fprintf(out, "SURVIVED %s: %s Passed: %s\n", m.Name, m.Description, m.Tests[missed])
			bad++
		default:
			fmt.Fprintf(out, "noticed  %s: %s\n", m.Name, strings.Join(noticed, ", "))
		}
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d faults were not noticed as they should be", bad, len(mutants))
	}
	return nil
}

// share has the workspaces do the items, each one item at a time.
func share[T any](workspaces []workspace, items []T, do func(workspace, T)) {
	queue := make(chan T)
	var wg sync.WaitGroup
	for _, w := range workspaces {
		wg.Go(func() {
			for item := range queue {
				do(w, item)
			}
		})
	}
	for _, item := range items {
		queue <- item
	}
	close(queue)
	wg.Wait()
}
