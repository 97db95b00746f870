package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"keepkey/internal/acmetest"
)

// Users that nobody is.
const (
	service  = 65531 // keepkey's
	operator = 65532
	stranger = 65533
)

const hmacKey = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"

// server is a machine whose keepkey is the binary itself, installed as docs/running.md says:
// with a user of its own, to whom the state directory belongs.
type server struct {
	t           *testing.T
	dir, binary string
	uid         int // of keepkey's user
	ca          *acmetest.Server
}

const serverConfig = `state: state
acme: {directory: "$DIRECTORY", ca_bundle: ca.pem, accept_terms: true, eab: {kid: kid, hmac_file: hmac}}
operators: daemon
certificates:
  - domains: [api.example.com]
    challenge: {http-01: {listen: "$HTTP"}}
    channels: [{name: app, format: json, lifetime: 30d, publish: [{file: own/pins.json}]}]
    deploy: [{command: [./hook]}]
`

// hook tells who it is that runs it.
const hook = `#!/bin/sh
cd "${0%/*}/own" || exit 1
exec >hook
echo "user $(id -u) group $(id -g) groups $(id -G)"
echo "keepkey $PPID session $(awk -v "hook=$$" '{print $6 == hook}' /proc/self/stat)"
echo "environment $HOME $USER $LOGNAME $TMPDIR"
grep -E 'Cap(Prm|Eff|Amb)' /proc/self/status
`

// newServer needs root. Where a port under 1024 is not for everybody, the CA asks there.
func newServer(t *testing.T, uid int) *server {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	o := acmetest.Options{EAB: map[string]string{"kid": hmacKey}}
	if lowPorts() {
		b := make([]byte, 3)
		rand.Read(b)
		o.Host = fmt.Sprintf("127.%d.%d.%d", b[0]|1, b[1], b[2]|1)
	}
	ca, err := acmetest.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ca.Close)
	// Not t.TempDir, which is closed to others.
	dir, err := os.MkdirTemp("", "keepkey-server-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &server{t: t, dir: dir, binary: filepath.Join(dir, "keepkey"), uid: uid, ca: ca}
	s.must(os.Chmod(dir, 0o755))
	if out, err := exec.Command("cp", built(t), s.binary).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	config := strings.NewReplacer("$DIRECTORY", ca.Directory, "$HTTP", ca.HTTPAddr).Replace(serverConfig)
	for name, data := range map[string]string{"config.yaml": config, "ca.pem": string(ca.CAPEM), "hook": hook, "hmac": hmacKey} {
		s.must(os.WriteFile(s.at(name), []byte(data), 0o755))
	}
	for _, name := range []string{"state", "own"} {
		s.must(os.Mkdir(s.at(name), 0o700))
		s.must(os.Chown(s.at(name), uid, uid))
	}
	s.must(os.Chmod(s.at("hmac"), 0o600)) // a secret of keepkey's user alone
	s.must(os.Chown(s.at("hmac"), uid, uid))
	return s
}

// lowPorts says whether ports under 1024 are not for everybody.
func lowPorts() bool {
	data, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	first, convErr := strconv.Atoi(strings.TrimSpace(string(data)))
	return err == nil && convErr == nil && first > 80
}

func (s *server) at(name string) string { return filepath.Join(s.dir, name) }

func (s *server) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) read(name string) string {
	s.t.Helper()
	data, err := os.ReadFile(s.at(name))
	s.must(err)
	return string(data)
}

// command is keepkey by hand of a user, who may be in other groups.
func (s *server) command(uid int, groups []uint32, args ...string) *exec.Cmd {
	cmd := exec.Command(s.binary, append([]string{"--config", s.at("config.yaml")}, args...)...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "HOME=/root", "USER=root", "LOGNAME=root", "TMPDIR=/root/tmp", "XDG_RUNTIME_DIR=/run/user/0")
	if uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid), Groups: groups}}
	}
	return cmd
}

// ends runs a command that must end with a status, and say something.
func (s *server) ends(status int, pattern string, cmd *exec.Cmd) string {
	s.t.Helper()
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != status {
		s.t.Errorf("%q: exit status %d, want %d\n%s", cmd.Args[3:], got, status, out)
	}
	if !regexp.MustCompile(pattern).Match(out) {
		s.t.Errorf("%q: no match for %q in\n%s", cmd.Args[3:], pattern, out)
	}
	return string(out)
}

// owners checks that all in the state directory is of keepkey's user.
func (s *server) owners() {
	s.t.Helper()
	n := 0
	s.must(filepath.WalkDir(s.at("state"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		n++
		if owner := info.Sys().(*syscall.Stat_t).Uid; int(owner) != s.uid {
			s.t.Errorf("%s belongs to %d", path, owner)
		}
		return nil
	}))
	if n < 15 {
		s.t.Errorf("there are only %d files in the state directory", n)
	}
}

func TestRootActsAsTheOwnerOfTheStateDirectory(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		uid  int
		home string
	}{
		"a user with an entry": {65534, "/nonexistent nobody nobody"}, "a number without a name": {service, "/  "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, tt.uid)
			if out, err := exec.Command("getent", "passwd", "65534").Output(); tt.uid == 65534 && (err != nil || !bytes.HasPrefix(out, []byte("nobody:x:65534:65534:nobody:/nonexistent:"))) {
				t.Skip("there is no such user here")
			}
			// The configuration, too, can be the owner's alone.
			s.must(os.Chown(s.at("config.yaml"), tt.uid, tt.uid))
			s.must(os.Chmod(s.at("config.yaml"), 0o600))

			s.ends(0, `(?m)^  now: obtain`, s.command(0, nil, "plan"))
			cmd := s.command(0, nil, "renew")
			s.ends(0, `api\.example\.com: first certificate obtained`, cmd)
			s.owners()
			rights := ""
			for _, set := range []string{"Prm", "Eff", "Amb"} {
				rights += "Cap" + set + ":\t" + "0000000000000400\n" // CAP_NET_BIND_SERVICE
			}
			id := strconv.Itoa(tt.uid)
			want := "user " + id + " group " + id + " groups " + id + "\nkeepkey " + strconv.Itoa(cmd.Process.Pid) + " session 1\nenvironment " + tt.home + " \n" + rights
			if got := s.read("own/hook"); got != want {
				t.Errorf("the hook says\n%s\nwant\n%s", got, want)
			}
			s.ends(0, `certificate version 1`, s.command(0, nil, "status"))
			s.ends(0, `active\n.*backup`, s.command(0, nil, "pins"))
			s.ends(0, `: whole, `, s.command(0, nil, "ledger", "verify"))
			s.ends(0, `switched keys`, s.command(0, nil, "rotate", "--domain", "api.example.com"))
			s.ends(2, `no certificate named "gone"`, s.command(0, nil, "lineage", "drop", "--name", "gone"))
			s.owners()
		})
	}
}

// Without a way to be sure who the owner should be, or to become that user, nothing is done.
func TestRootIsToldWhyItCannotActAsTheOwner(t *testing.T) {
	t.Parallel()
	s := newServer(t, service)
	state := s.at("state")
	for _, tt := range []struct {
		name    string
		prepare func() error
		command []string // what runs keepkey
		want    string
	}{
		{"a configuration for root alone", func() error { return os.Chmod(s.at("config.yaml"), 0o600) }, nil,
			`root runs keepkey as uid 65531, to whom the state directory \S*/state belongs, and that failed: that user may not read the configuration: open \S*/config\.yaml: permission denied; run chgrp 65531 and chmod 640 on it, and see that its directories can be entered; nothing was done\n$`},
		{"a directory that others can write to", func() error { return os.Chmod(s.dir, 0o777) }, nil,
			`root runs keepkey as the owner of the state directory \S*/state, and can't be sure whose it should be: \S* can be written by others \(mode 0777\), who could have put it there; give it a place where every directory on the way is root's or the owner's, or run keepkey as the owner yourself\n$`},
		{"another's link", func() error {
			return errors.Join(os.Rename(state, s.at("real")), os.Symlink("real", state), os.Lchown(state, stranger, stranger))
		}, nil, `can't be sure whose it should be: \S*/state belongs to uid 65533, who could lead to another directory; `},
		{"no right to become another", func() error { return nil }, []string{"setpriv", "--inh-caps=-all", "--bounding-set=-all"},
			`and that failed: root may not become another user here: operation not permitted; start keepkey as that user; nothing was done\n$`},
		{"a binary that only root can run", func() error { return os.Chmod(s.binary, 0o700) }, nil,
			`and that failed: \S*/keepkey: permission denied; see that every user may execute it, as in /usr/local/bin; nothing was done\n$`},
	} {
		if err := tt.prepare(); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"renew"}, {"status"}} {
			cmd := s.command(0, nil, args...)
			if len(tt.command) > 0 {
				again := exec.Command(tt.command[0], append(tt.command[1:], cmd.Args...)...)
				again.Dir, cmd = cmd.Dir, again
			}
			s.ends(1, tt.want, cmd)
		}
		if entries, err := os.ReadDir(state); err != nil || len(entries) > 0 {
			t.Errorf("%s: something was done: %v, %v", tt.name, entries, err)
		}
		if info, err := os.Lstat(state); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			s.must(errors.Join(os.Remove(state), os.Rename(s.at("real"), state)))
		}
		for _, name := range []string{".", "config.yaml", "keepkey"} {
			s.must(os.Chmod(s.at(name), 0o755))
		}
	}
	s.ends(1, `state directory \S*/state belongs to uid 65531, but keepkey runs as uid 65533; run it as root, which then acts as the owner: sudo keepkey COMMAND\n$`, s.command(stranger, nil, "renew"))
}

// daemon runs keepkey's daemon, in the groups that keepkey's user is in, until the test is
// over. It returns what reads the log.
func (s *server) daemon(groups ...uint32) (log func() string) {
	s.t.Helper()
	cmd := s.command(s.uid, groups, "daemon")
	cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_BIND_SERVICE} // as the unit has it
	path := s.at("log")
	f, err := os.Create(path)
	s.must(err)
	cmd.Stderr = f
	s.must(cmd.Start())
	f.Close()
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	s.t.Cleanup(func() { cmd.Process.Signal(syscall.SIGTERM); <-ended })
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		select {
		case <-ended:
			s.t.Fatalf("the daemon ended:\n%s", s.read("log"))
		default:
		}
		// Its own work is done, too.
		if strings.Contains(s.read("log"), "action=deploy") {
			return func() string { return s.read("log") }
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the daemon has not begun:\n%s", s.read("log"))
		}
	}
}

func TestOperatorsHandWorkToTheDaemonAndSeeNothingElse(t *testing.T) {
	t.Parallel()
	s := newServer(t, service)
	daemon, err := user.LookupGroup("daemon") // `operators`
	if err != nil {
		t.Skip(err)
	}
	gid, err := strconv.ParseUint(daemon.Gid, 10, 32)
	s.must(err)
	group := []uint32{uint32(gid)}

	// Who can't give the socket to that group is told before anything is done.
	s.ends(1, `the daemon's socket cannot be given to the group daemon of .operators.: keepkey's user is not in it; run usermod -aG daemon #65531, and start keepkey anew: `, s.command(service, nil, "daemon"))

	log := s.daemon(group...)
	s.ends(0, `(?m)^api\.example\.com: renewed with the same key`, s.command(operator, group, "renew", "--domain", "api.example.com", "--force"))
	s.ends(0, `switched keys`, s.command(operator, group, "rotate", "--domain", "api.example.com"))
	s.ends(0, `renewed with the same key`, s.command(0, nil, "renew", "--domain", "api.example.com", "--force"))
	for _, want := range []string{
		`msg="a user hands work over" user=#65532 command="--config \S*/config.yaml rotate --domain api.example.com"`,
		`msg="a user hands work over" user=root command="--config \S*/config.yaml renew --domain api.example.com --force"`,
	} {
		if !regexp.MustCompile(want).MatchString(log()) {
			t.Errorf("the log has nothing like %s:\n%s", want, log())
		}
	}
	s.owners()

	// Others are told what they can do.
	s.ends(1, `^keepkey: #65533 may not hand work to the daemon of \S*/state; nothing was done\n    do: run it as root: sudo keepkey COMMAND\n    do: or put #65533 into the group daemon of .operators. \(usermod -aG daemon #65533\) and log in again\n$`,
		s.command(stranger, nil, "renew", "--force"))

	// Whoever looks is no better off than before.
	s.ends(1, `state directory \S*/state belongs to uid 65531, but keepkey runs as uid 65532; run it as root`, s.command(operator, group, "status"))
	s.must(filepath.WalkDir(s.at("state"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == s.at("state") {
			return err
		}
		for _, op := range []string{"-r", "-w", "-x"} {
			cmd := exec.Command("test", op, path)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: operator, Gid: operator, Groups: group}}
			may := cmd.Run() == nil
			if socket := filepath.Base(path) == "daemon.sock" && op != "-x"; may != socket {
				t.Errorf("an operator: test %s %s: %v", op, path, may)
			}
		}
		return nil
	}))
	before, asked := log(), commandsThatLook(t)
	for _, command := range asked {
		out := s.ask(operator, group, append(strings.Fields(command), "--name", "api.example.com"))
		shown, status := answered(t, out)
		if strings.Contains(shown, "api.example.com") || status == 0 {
			t.Errorf("%s, made up by a client, ends with status %d and shows %s", command, status, shown)
		}
	}
	if n := strings.Count(log(), "hands work over") - strings.Count(before, "hands work over"); n != len(asked) {
		t.Errorf("the log tells of %d commands, want %d", n, len(asked))
	}
}

// answered reads what a daemon answers: what is printed on standard output, and the exit
// status.
func answered(t *testing.T, answers string) (stdout string, status int) {
	t.Helper()
	for d := json.NewDecoder(strings.NewReader(answers)); ; {
		var a struct {
			Out    []byte
			Status *int
		}
		if err := d.Decode(&a); err != nil {
			t.Fatalf("%v in %s", err, answers)
		}
		stdout += string(a.Out)
		if a.Status != nil {
			return stdout, *a.Status
		}
	}
}

// commandsThatLook are those of the manual page that only show something, and the others
// where they are told to.
func commandsThatLook(t *testing.T) []string {
	t.Helper()
	change := []string{"renew", "rotate", "channel confirm", "channel retire", "ledger restart", "host forget", "lineage drop", "adopt", "report dismiss", "report take", "report restart", "notify"}
	show := []string{"renew --dry-run", "rotate --dry-run", "adopt --dry-run", "pins --all"}
	page, err := os.ReadFile("docs/keepkey.8")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^\.SS (.*)$`).FindAllSubmatch(page, -1) {
		if command := string(m[1]); command != "version" && !slices.Contains(change, command) {
			show = append(show, command)
		}
	}
	if len(show) < 9 {
		t.Fatalf("only %q", show)
	}
	return show
}

// ask sends a command to the daemon as a client of a user's own making would.
func (s *server) ask(uid int, groups []uint32, args []string) string {
	s.t.Helper()
	request, err := json.Marshal(map[string]any{"args": append([]string{"keepkey"}, args...), "config": s.at("config.yaml"), "uid": 0, "UID": 0})
	s.must(err)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{askEnv + "=" + s.at("state/daemon.sock"), "KEEPKEY_TEST_REQUEST=" + string(request)}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid), Groups: groups}}
	out, err := cmd.Output()
	s.must(err)
	return string(out)
}

// askEnv names the socket of a daemon that the test binary sends a request to.
const askEnv = "KEEPKEY_TEST_ASK"

func init() {
	socket := os.Getenv(askEnv)
	if socket == "" {
		return
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		panic(err)
	}
	fmt.Fprintln(conn, os.Getenv("KEEPKEY_TEST_REQUEST"))
	io.Copy(os.Stdout, conn)
	os.Exit(0)
}
