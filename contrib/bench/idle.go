package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// idler is a program that keeps running, and has nothing to do.
type idler struct {
	name   string
	env    []string
	args   []string
	config string // a file that it reads again at SIGHUP; "" for none
	reload string // what it says when it has
}

// rest is what an idler takes.
type rest struct {
	began   time.Duration // until it had nothing to do
	memory  float64       // resident, in MiB, then
	later   float64       // and after the time
	cpu     time.Duration // within the time
	reload  time.Duration // from SIGHUP until it went on with the new configuration
	reloads float64       // resident, in MiB, after that
}

// idle measures programs that manage so many certificates, one after the other.
func idle(ctx context.Context, out io.Writer, ca *ca, certmagic, dir string, certs int, d time.Duration) error {
	keepkey, err := setUp(ctx, ca, dir, certs)
	if err != nil {
		return err
	}
	work := filepath.Join(dir, strconv.Itoa(certs))
	storage, names, err := storeAll(ctx, ca, certmagic, work)
	if err != nil {
		return err
	}
	config := filepath.Join(work, "config.yaml")
	fmt.Fprintf(out, "\nIdle with %d certificates, over %s:\n\n| | until idle | resident then | and later | CPU time | SIGHUP to the new schedule | resident after that |\n| --- | --- | --- | --- | --- | --- | --- |\n", certs, d)
	for _, p := range []idler{
		{"keepkey daemon", keepkey.env, []string{keepkey.args[0], "daemon", "--config", config}, config, "read the configuration again"},
		{"CertMagic", ca.env(), []string{certmagic, "manage", storage, ca.Directory, names, "1"}, "", ""},
	} {
		r, err := p.measure(ctx, d)
		if err != nil {
			return err
		}
		reload, after := "", ""
		if p.config != "" {
			reload, after = fmt.Sprintf("%.2f s", r.reload.Seconds()), fmt.Sprintf("%.0f MiB", r.reloads)
		}
		fmt.Fprintf(out, "| %s | %.1f s | %.0f MiB | %.0f MiB | %.2f s | %s | %s |\n", p.name, r.began.Seconds(), r.memory, r.later, r.cpu.Seconds(), reload, after)
	}
	return nil
}

// measure runs a program, waits until it has nothing to do, and then for so long.
func (p idler) measure(ctx context.Context, d time.Duration) (r rest, err error) {
	cmd := exec.CommandContext(ctx, p.args[0], p.args[1:]...)
	cmd.Env = p.env
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	said, err := cmd.StderrPipe()
	if err != nil {
		return rest{}, err
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return rest{}, err
	}
	reloaded := make(chan struct{}, 1)
	var last string
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		for lines := bufio.NewScanner(said); lines.Scan(); {
			if last = lines.Text(); p.config != "" && strings.Contains(last, p.reload) {
				reloaded <- struct{}{}
			}
		}
	}()
	defer func() {
		cmd.Process.Signal(syscall.SIGTERM)
		<-heard
		if cmd.Wait(); err != nil {
			err = fmt.Errorf("%s: %w (it said: %.500s)", p.name, err, last)
		}
	}()
	at := process(cmd.Process.Pid)
	if r.began, err = at.quiet(ctx, start); err != nil {
		return r, err
	}
	before, err := at.cpu()
	if err == nil {
		r.memory, err = at.resident()
	}
	if err != nil {
		return r, err
	}
	if err := wait(ctx, d); err != nil {
		return r, err
	}
	after, err := at.cpu()
	if err == nil {
		r.later, err = at.resident()
	}
	if r.cpu = after - before; err != nil || p.config == "" {
		return r, err
	}
	if err := dropLast(p.config); err != nil {
		return r, err
	}
	start = time.Now()
	cmd.Process.Signal(syscall.SIGHUP)
	select {
	case <-reloaded:
		r.reload = time.Since(start)
	case <-ctx.Done():
		return r, context.Cause(ctx)
	case <-heard:
		return r, fmt.Errorf("it ended")
	}
	if _, err := at.quiet(ctx, start); err != nil {
		return r, err
	}
	r.reloads, err = at.resident()
	return r, err
}

// dropLast takes the last certificate, which has a line of its own, out of a configuration.
func dropLast(config string) error {
	data, err := os.ReadFile(config)
	if err != nil {
		return err
	}
	last := bytes.LastIndexByte(bytes.TrimSuffix(data, []byte("\n")), '\n') + 1
	return os.WriteFile(config, data[:last], 0o600)
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// process is one that runs, as the kernel knows it.
type process int

// still is how long a program must have used next to no CPU time.
var still = 5 * time.Second

// quiet waits until it has been still, and returns how long
// after start that began.
func (p process) quiet(ctx context.Context, start time.Time) (time.Duration, error) {
	const little = 50 * time.Millisecond
	since, used := time.Now(), time.Duration(-1)
	for {
		now, err := p.cpu()
		if err != nil {
			return 0, err
		}
		if used < 0 || now-used > little {
			since, used = time.Now(), now
		}
		if time.Since(since) >= still {
			return since.Sub(start), nil
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// cpu is the time that it has used so far, user and system.
func (p process) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // its name may have blanks
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", p, len(fields))
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100, nil // a hundred a second, on every architecture that Go knows
}

// resident is the memory that it has, in MiB.
func (p process) resident() (float64, error) {
	return memoryIn(fmt.Sprintf("/proc/%d/status", p), "VmRSS:")
}
