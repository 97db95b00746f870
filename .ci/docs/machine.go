package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// machine is a Debian that runs in a container, in a network of its own in which there is
// only the CA.
type machine struct {
	dir    string // its root
	out    io.Writer
	init   string // the process ID of its first process
	others []*exec.Cmd
}

// The network namespaces, and the two ends of the cable between them.
const (
	caNetwork, machineNetwork = "keepkey-ca", "keepkey-docs"
	caEnd, machineEnd         = "kk-ca", "kk-docs"
)

// provide makes the Debian, or takes a copy of the one in keep.
func (m *machine) provide(ctx context.Context, keep string) error {
	if keep == "" {
		return m.install(ctx, m.dir)
	}
	fresh := filepath.Join(keep, "debian")
	if _, err := os.Stat(fresh); err != nil {
		if err := errors.Join(os.MkdirAll(keep, 0o755), m.install(ctx, fresh+".part"), os.Rename(fresh+".part", fresh)); err != nil {
			return err
		}
	}
	return m.here(ctx, "cp", "-a", fresh, m.dir)
}

func (m *machine) install(ctx context.Context, dir string) error {
	fmt.Fprintln(m.out, "== a Debian from nothing")
	return m.here(ctx, "mmdebstrap", "--quiet", "--variant=minbase", "--include="+strings.Join(packages, ","), "bookworm", dir)
}

// here runs a command on this machine.
func (m *machine) here(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// boot starts the network, the CA and the machine, and puts this repository into it.
func (m *machine) boot(ctx context.Context) error {
	fmt.Fprintln(m.out, "== boot it")
	m.unplug()
	for _, args := range []string{
		"netns add " + caNetwork, "netns add " + machineNetwork,
		"link add " + caEnd + " netns " + caNetwork + " type veth peer name " + machineEnd + " netns " + machineNetwork,
		"-n " + caNetwork + " addr add " + caAddr + "/24 dev " + caEnd, "-n " + machineNetwork + " addr add " + machineAddr + "/24 dev " + machineEnd,
		"-n " + caNetwork + " link set lo up", "-n " + caNetwork + " link set " + caEnd + " up",
		"-n " + machineNetwork + " link set lo up", "-n " + machineNetwork + " link set " + machineEnd + " up",
	} {
		if err := m.here(ctx, "ip", strings.Fields(args)...); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	trust := filepath.Join(m.dir, "usr/local/share/ca-certificates/ca.crt")
	if err := os.RemoveAll(trust); err != nil {
		return err
	}
	if err := m.start(ctx, "ip", "netns", "exec", caNetwork, self, "ca", trust); err != nil {
		return err
	}
	if err := m.furnish(ctx); err != nil {
		return err
	}
	mounts, err := toolchain()
	if err != nil {
		return err
	}
	args := []string{
		"--quiet", "--directory", m.dir, "--boot", "--register=no", "--keep-unit", "--console=pipe", "--resolv-conf=off",
		"--network-namespace-path=/run/netns/" + machineNetwork,
	}
	if err := m.start(ctx, "systemd-nspawn", append(args, mounts...)...); err != nil {
		return err
	}
	if err := wait(ctx, func() bool {
		_, err := os.Stat(trust)
		return err == nil && m.findInit()
	}); err != nil {
		return err
	}
	return m.run(ctx, nil, "until systemctl is-system-running --wait >/run/state 2>&1 || grep -q degraded /run/state; do sleep 0.2; done\nupdate-ca-certificates >/dev/null 2>&1\n")
}

// start starts a program that runs as long as the machine does.
func (m *machine) start(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = m.out
	m.others = append(m.others, cmd)
	return cmd.Start()
}

// wait waits for something that takes seconds at most.
func wait(ctx context.Context, there func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !there() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.New("the machine does not start")
		}
	}
	return nil
}

// furnish gives the machine names, and a copy of this repository.
func (m *machine) furnish(ctx context.Context) error {
	hosts := fmt.Sprintf("127.0.0.1 localhost\n%s %s\n%s api.example.com\n", caAddr, strings.Join(caNames, " "), machineAddr)
	files, err := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return err
	}
	home := filepath.Join(m.dir, "root/keepkey")
	if err := errors.Join(os.WriteFile(filepath.Join(m.dir, "etc/hosts"), []byte(hosts), 0o644), os.MkdirAll(home, 0o755)); err != nil {
		return err
	}
	cp := exec.CommandContext(ctx, "cpio", "--null", "--pass-through", "--make-directories", "--quiet", home)
	cp.Stdin = bytes.NewReader(files)
	if out, err := cp.CombinedOutput(); err != nil {
		return fmt.Errorf("copying this repository: %w\n%s", err, out)
	}
	return nil
}

// toolchain has the machine use Go, and the modules that were downloaded, from here.
func toolchain() (mounts []string, err error) {
	out, err := exec.Command("go", "env", "GOROOT", "GOMODCACHE", "GOCACHE").Output()
	if err != nil {
		return nil, err
	}
	dirs := strings.Fields(string(out))
	for i, at := range []string{"/usr/local/go", "/root/go/pkg/mod", "/root/.cache/go-build"} {
		mounts = append(mounts, "--bind="+dirs[i]+":"+at)
	}
	return mounts, nil
}

// findInit looks for the machine's first process: the child of the container's manager.
func (m *machine) findInit() bool {
	manager := m.others[len(m.others)-1].Process.Pid
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", manager))
	if err != nil {
		return false
	}
	for pid := range strings.FieldsSeq(string(children)) {
		if name, err := os.ReadFile("/proc/" + pid + "/comm"); err == nil && strings.TrimSpace(string(name)) == "systemd" {
			m.init = pid
			_, err := os.Stat("/proc/" + pid + "/root/run/systemd/private")
			return err == nil
		}
	}
	return false
}

// run has bash in the machine run a script, as root, from the repository's directory.
func (m *machine) run(ctx context.Context, out io.Writer, script string) error {
	cmd := exec.CommandContext(ctx, "nsenter", "--target", m.init, "--all", "env", "-i", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/go/bin", "GOPROXY=off", "GOTOOLCHAIN=local", "DEBIAN_FRONTEND=noninteractive",
		"bash", "-e", "-u", "-o", "pipefail", "-c", "cd /root/keepkey\n"+script)
	var printed bytes.Buffer
	if out == nil {
		out = &printed
	}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w\n%s", err, printed.Bytes())
	}
	return nil
}

// do does what a block says.
func (m *machine) do(ctx context.Context, b block) error {
	switch b.kind {
	case file, addition:
		how := os.O_TRUNC
		if b.kind == addition {
			how = os.O_APPEND
		}
		path := filepath.Join(m.dir, b.path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|how, 0o644)
		if err != nil {
			return err
		}
		_, err = f.WriteString(b.text)
		return errors.Join(err, f.Close())
	case session:
		return m.show(ctx, b.text)
	default:
		var out bytes.Buffer
		err := m.run(ctx, io.MultiWriter(&out, m.out), "set -x\n"+b.text)
		return err
	}
}

// show runs the commands of a session and compares what they print, whatever their status.
func (m *machine) show(ctx context.Context, text string) error {
	for _, part := range strings.Split("\n"+strings.TrimSuffix(text, "\n"), "\n$ ")[1:] {
		command, shown, _ := strings.Cut(part, "\n")
		fmt.Fprintln(m.out, "$ "+command)
		var out bytes.Buffer
		var exit *exec.ExitError
		if err := m.run(ctx, io.MultiWriter(&out, m.out), command); err != nil && !errors.As(err, &exit) {
			return err
		}
		if d := differs(shown, out.String()); d != "" {
			return fmt.Errorf("%s: %s", command, d)
		}
	}
	return nil
}

// journal returns what the machine logged last.
func (m *machine) journal() string {
	var out bytes.Buffer
	if err := m.run(context.Background(), &out, "journalctl --no-pager --lines 40 -u keepkey -u nginx -u polkit"); err != nil {
		return err.Error()
	}
	return out.String()
}

// stop ends the machine and all that belongs to it.
func (m *machine) stop() {
	if pid, err := strconv.Atoi(m.init); err == nil {
		if p, err := os.FindProcess(pid); err == nil {
			p.Kill()
		}
	}
	for _, cmd := range m.others {
		if cmd.Process != nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
	}
	m.unplug()
}

func (m *machine) unplug() {
	for _, name := range []string{caNetwork, machineNetwork} {
		exec.Command("ip", "netns", "delete", name).Run() // it need not be there
	}
}
