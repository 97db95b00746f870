package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// keepkeyOf sees to it that a directory holds the keepkey that is measured there.
func keepkeyOf(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, "keepkey")); err == nil {
		return nil
	}
	// In its own module, for the dependencies that are shipped.
	return build(ctx, filepath.Join("..", ".."), dir, ".")
}

// setUp brings a state directory up to date, so that nothing is due. The first time
// all of its certificates are issued.
func setUp(ctx context.Context, ca *ca, dir string, certs int) (contestant, error) {
	work := filepath.Join(dir, strconv.Itoa(certs))
	var names, config strings.Builder
	fmt.Fprintf(&config, "state: state\nacme: {directory: %q, ca_bundle: ca.pem, accept_terms: true}\ndefaults: {challenge: {http-01: {listen: %q}}}\ncertificates:\n", ca.Directory, ca.HTTP01)
	for i := range certs {
		name := fmt.Sprintf("n%05d.example.com", i)
		fmt.Fprintln(&names, name)
		fmt.Fprintf(&config, "  - {domains: [%s], channels: [{name: over-the-air, format: json, lifetime: 30d, publish: [{file: pins/%s.json}]}]}\n", name, name)
	}
	err := os.MkdirAll(filepath.Join(work, "pins"), 0o755)
	for name, content := range map[string]string{"names": names.String(), "config.yaml": config.String(), "ca.pem": ca.Bundle} {
		err = errors.Join(err, os.WriteFile(filepath.Join(work, name), []byte(content), 0o600))
	}
	if err != nil {
		return contestant{}, err
	}
	c := contestant{
		name: "keepkey of " + filepath.Base(dir),
		env:  ca.env(),
		args: []string{filepath.Join(dir, "keepkey"), "renew", "--config", filepath.Join(work, "config.yaml")},
	}
	start := time.Now()
	if _, err := measure(ctx, c); err != nil {
		return contestant{}, err
	}
	fmt.Fprintf(os.Stderr, "%s: brought up to date in %v\n", work, time.Since(start).Round(time.Second))
	return c, nil
}

func build(ctx context.Context, from, into, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-C", from, "-o", into+"/", pkg)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("building %s in %s: %w", pkg, from, err)
	}
	return nil
}
