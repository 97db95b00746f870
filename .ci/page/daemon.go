package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"keepkey/internal/acmetest"
)

// daemon is a keepkey at work, with a gate that is closed and a deploy hook that fails.
type daemon struct {
	dir    string
	ca     *acmetest.Server
	origin string
	cmd    *exec.Cmd
}

const configuration = `state: %[1]s/state
listen: %[2]q
acme: {directory: %[3]q, ca_bundle: ca.pem, accept_terms: true}
defaults: {challenge: {http-01: {listen: %[4]q}}}
certificates:
  - domains: [api.example.com]
    channels: [{name: over-the-air, format: json, lifetime: 30d, publish: [{file: pins.json}]}]
  - domains: [shop.example.com]
    deploy: [{command: ["false"]}]
    channels: []
`

// startDaemon has a daemon work on two certificates of a CA of its own.
func startDaemon(ctx context.Context) (d *daemon, err error) {
	d = &daemon{}
	defer func() {
		if err != nil {
			d.stop()
		}
	}()
	if d.dir, err = os.MkdirTemp("", "keepkey-page-"); err != nil {
		return nil, err
	}
	if d.ca, err = acmetest.Start(acmetest.Options{}); err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	d.origin = "http://" + addr
	config := fmt.Sprintf(configuration, d.dir, addr, d.ca.Directory, d.ca.HTTPAddr)
	err = errors.Join(os.WriteFile(d.path("ca.pem"), d.ca.CAPEM, 0o600), os.WriteFile(d.path("config.yaml"), []byte(config), 0o600))
	if err != nil {
		return nil, err
	}
	if text, err := exec.CommandContext(ctx, "go", "build", "-o", d.path("keepkey"), ".").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w: %s", err, text)
	}
	log, err := os.Create(d.path("log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	d.cmd = d.keepkey(ctx, "daemon")
	d.cmd.Stdout, d.cmd.Stderr = log, log
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	if err := d.ready(ctx); err != nil {
		text, _ := os.ReadFile(d.path("log"))
		return nil, fmt.Errorf("%w\n%s", err, text)
	}
	if text, err := d.keepkey(ctx, "rotate", "--name", "api.example.com").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("keepkey rotate: %w: %s", err, text)
	}
	return d, nil
}

// freeAddr returns an address of this machine that nobody listens on.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (d *daemon) path(name string) string { return filepath.Join(d.dir, name) }

func (d *daemon) keepkey(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, d.path("keepkey"), args...)
	cmd.Env = append(os.Environ(), "KEEPKEY_CONFIG="+d.path("config.yaml"))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	return cmd
}

// ready waits until the daemon has looked at its certificates.
func (d *daemon) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.origin+"/readyz", nil)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(r)
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the daemon is not ready: %w", ctx.Err())
		}
	}
}

// visits are its pages.
func (d *daemon) visits() []visit {
	one := d.origin + "/certificates/api.example.com"
	return []visit{
		{"daemon", d.origin + "/", []string{"Act now", "shop.example.com", "a deploy hook failed", "The server keeps", "keepkey renew --name shop.example.com", "Keys can't be switched before", "at work since"}},
		{"daemon-one", one, []string{"api.example.com", "Keys can't be switched before", "closed until", "Switched from the key", "Began a rollover"}},
		{"daemon-timeline", one + "/timeline.svg", nil},
	}
}

func (d *daemon) stop() {
	if d.cmd != nil && d.cmd.Process != nil {
		d.cmd.Process.Signal(syscall.SIGTERM)
		d.cmd.Wait()
	}
	if d.ca != nil {
		d.ca.Close()
	}
	os.RemoveAll(d.dir)
}
