package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// idle runs a daemon and CertMagic beside each other, for the same certificates, while
// nothing is due, and writes what they hold and what they take.
func idle(ctx context.Context, out io.Writer, ca *ca, certmagic, dir string, certs int, d time.Duration) error {
	c, err := setUp(ctx, ca, dir, certs)
	if err != nil {
		return err
	}
	work := filepath.Join(dir, strconv.Itoa(certs))
	storage, names := filepath.Join(work, "certmagic"), filepath.Join(work, "names")
	if err := os.RemoveAll(storage); err != nil {
		return err
	}
	store := contestant{env: ca.env(), args: []string{certmagic, "store", storage, ca.Directory, names, filepath.Join(work, "state", "lineages")}}
	if _, err := measure(ctx, store); err != nil {
		return err
	}
	syscall.Sync()
	k, err := startDaemon(ctx, c, work)
	if err != nil {
		return err
	}
	defer k.end()
	m, err := startKeeping(ctx, ca, certmagic, storage, names)
	if err != nil {
		return err
	}
	defer m.end()
	began := []figures{k.figures(), m.figures()}
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	ended := []figures{k.figures(), m.figures()}
	reload, err := k.reload()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nIdle for %s, %d certificates:\n\n| | resident | CPU time | until ready |\n| --- | --- | --- | --- |\n", d, certs)
	for i, p := range []*process{k.process, m} {
		fmt.Fprintf(out, "| %s | %.0f MiB | %.2f s | %.1f s |\n", p.name, ended[i].memory, (ended[i].cpu - began[i].cpu).Seconds(), p.ready.Seconds())
	}
	_, err = fmt.Fprintf(out, "\nFrom SIGHUP to the new schedule: %.2f s\n", reload.Seconds())
	return err
}

// process is a program that keeps running.
type process struct {
	name  string
	cmd   *exec.Cmd
	stdin io.Closer
	ready time.Duration // how long it took until nothing was left to do
}

// end ends it, however it takes that.
func (p *process) end() {
	p.stdin.Close()
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.cmd.Wait()
}

// figures are what it took up to now, as the kernel counts, and what it holds.
func (p *process) figures() figures {
	at := fmt.Sprintf("/proc/%d/", p.cmd.Process.Pid)
	status, _ := os.ReadFile(at + "status")
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	var kib float64
	fmt.Sscan(rest, &kib)
	stat, _ := os.ReadFile(at + "stat")
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // the state is the first
	ticks := 0.0
	for _, i := range []int{11, 12} { // utime and stime: proc(5)
		n, _ := strconv.ParseFloat(fields[i], 64)
		ticks += n
	}
	const perSecond = 100 // USER_HZ, on every platform of Linux that Go runs on
	return figures{cpu: time.Duration(ticks / perSecond * float64(time.Second)), memory: kib / 1024}
}

// keeper is a keepkey daemon, and where it says how it is.
type keeper struct {
	*process
	notify *net.UnixConn
}

// startDaemon starts a daemon that listens, and returns when it has looked at every
// certificate.
func startDaemon(ctx context.Context, c contestant, work string) (*keeper, error) {
	config, err := os.ReadFile(filepath.Join(work, "config.yaml"))
	if err != nil {
		return nil, err
	}
	path, web, at := filepath.Join(work, "daemon.yaml"), filepath.Join(work, "http"), filepath.Join(work, "notify")
	if err := os.WriteFile(path, append([]byte("listen: unix:http\n"), config...), 0o600); err != nil {
		return nil, err
	}
	os.Remove(at) // of an earlier run
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: at, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, c.args[0], "daemon", "--config", path, "--log-level", "error")
	cmd.Env = append(c.env, "NOTIFY_SOCKET="+at)
	cmd.Stderr = os.Stderr
	p, err := start(c.name, cmd)
	if err != nil {
		return nil, err
	}
	k := &keeper{p, notify}
	began := time.Now()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", web)
	}}}
	for {
		resp, err := client.Get("http://localhost/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				k.ready = time.Since(began)
				return k, nil
			}
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			k.end()
			return nil, context.Cause(ctx)
		}
	}
}

// reload returns how long the daemon takes until it has read its configuration again.
func (k *keeper) reload() (time.Duration, error) {
	k.notify.SetReadDeadline(time.Now().Add(time.Minute))
	began := time.Now()
	if err := k.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		return 0, err
	}
	reloading := false
	for buf := make([]byte, 4096); ; {
		n, err := k.notify.Read(buf)
		if err != nil {
			return 0, err
		}
		said := string(buf[:n])
		switch {
		case strings.Contains(said, "RELOADING=1"):
			reloading = true
		case reloading && strings.Contains(said, "READY=1"):
			return time.Since(began), nil
		}
	}
}

// startKeeping has CertMagic manage the certificates, and returns when it has loaded them.
func startKeeping(ctx context.Context, ca *ca, certmagic, storage, names string) (*process, error) {
	cmd := exec.CommandContext(ctx, certmagic, "keep", storage, ca.Directory, names, "8")
	cmd.Env, cmd.Stderr = ca.env(), os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	p, err := start("CertMagic", cmd)
	if err != nil {
		return nil, err
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		p.end()
		return nil, errors.Join(errors.New("certmagic keep is not ready"), err)
	}
	p.ready = time.Since(began)
	return p, nil
}

func start(name string, cmd *exec.Cmd) (*process, error) {
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	return &process{name: name, cmd: cmd, stdin: stdin}, cmd.Start()
}
