package cli_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"keepkey/internal/acmetest"
	"keepkey/invariant"
	"keepkey/pinset"
)

// month is a daemon, as a process of its own, and the world around it.
type month struct {
	t      *testing.T
	h      *host            // its directory has the configuration, the hook, and what clients get
	calm   *acmetest.Server // another CA, at which nothing is ever wrong
	w      *watcher
	rng    *rand.Rand
	root   string
	state  string
	disk   string         // where that is, if it can be filled
	up     acmetest.Fault // what stands before the CA anyhow
	now    atomic.Int64   // how far the right time is ahead of the real one
	wrong  time.Duration  // how far this machine's clock is ahead of that
	daemon *daemonProcess
	lives  int

	backups int  // of the certificate api
	plain   bool // a third certificate is configured

	asked       bool // a person asked for another key since the last look
	fails       bool // the CA does
	failed      bool // it did since the last look
	excused     int  // for so many steps something may be wrong with the machine or the daemon itself
	ongoing     []ongoing
	undisturbed bool
	looked      time.Time // when that was last done, by the right time
	unread      []byte    // of the log, since the last look
	story       []string
	steps       map[string]int
	reports     map[string]report // by certificate
	awaited     map[string]bool   // certificates that are worked on again, whatever the last report says
}

// daemonProcess is one life of the daemon.
type daemonProcess struct {
	cmd   *exec.Cmd
	ended chan struct{}
	log   string // a file
	past  int    // how much of it was read
}

// report is what a daemon logged of a certificate.
type report struct {
	again time.Time
	since int // how many of them, since the clock was last set or somebody did something
	soon  int // how many of them, the last ones, say that it is worked on again at once
}

// diskSize is the size of the disk that can be full.
const diskSize = 4 << 20

// monthConfig has a certificate that is disturbed in every way, one without channels, and
// one of another CA.
const monthConfig = `state: $STATE
acme: {directory: "$DIRECTORY", ca_bundle: ca.pem, accept_terms: true, profile: d24}
defaults: {challenge: {http-01: {listen: "$HTTP"}}}
certificates:
  - name: api
    domains: [$DOMAIN]
    backups: $BACKUPS
    rollover: {every: 9d, keep_old_pin: 1d}
    channels:
      - name: app
        format: json
        lifetime: 5d
        publish: [{file: pins.json}, {command: [./hook], timeout: 1s}]
      - name: web
        format: json
        lifetime: 2d
        publish: [{file: web.json}]
        read_back: {file: web.json}
    deploy: [{command: [./hook], timeout: 1s}]
  - name: calm
    domains: [calm.$DOMAIN]
    acme: {directory: "$CALMDIRECTORY", ca_bundle: calm.pem, accept_terms: true, profile: d6}
    challenge: {http-01: {listen: "$CALMHTTP"}}
    channels: []
`

const plainConfig = `  - name: plain
    domains: [plain.$DOMAIN]
    channels: []
`

// monthHook fails, or hangs, where it is to.
const monthHook = hookScript + `[ ! -e hook-hangs ] || exec sleep 60
[ ! -e hook-fails ] || exit 1
`

func newMonth(t *testing.T, seed uint64) *month {
	root := fastDir(t)
	m := &month{t: t, root: root, rng: rand.New(rand.NewPCG(seed, 0)), backups: 1, plain: true, steps: make(map[string]int)}
	lifetime := func(days int) acmetest.Options {
		return acmetest.Options{RSA: true, Profiles: map[string]time.Duration{fmt.Sprintf("d%d", days): time.Duration(days) * 24 * time.Hour}}
	}
	etc := filepath.Join(root, "etc")
	if err := os.Mkdir(etc, 0o700); err != nil {
		t.Fatal(err)
	}
	m.h = newHostOf(t, etc, lifetime(24), "")
	m.h.domain = fmt.Sprintf("month%d.example.com", seed%1_000_000_000)
	var err error
	if m.calm, err = acmetest.Start(lifetime(6)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.calm.Close)
	m.up = m.shifted(m.h.ca)
	m.ca(nil)
	m.calm.Misbehave(m.shifted(m.calm))
	for name, data := range map[string]string{"hook": monthHook, "calm.pem": string(m.calm.CAPEM)} {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(data), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	m.mount()
	m.w = &watcher{t: t, h: m.h, at: "the beginning"}
	m.configure(m.configuration())
	m.setClock()
	m.looked = time.Now()
	m.start()
	m.settle()
	m.look()
	return m
}

// mount has the state on a disk that can be full, where one can be mounted.
func (m *month) mount() {
	m.state = filepath.Join(m.root, "disk", "state")
	disk := filepath.Dir(m.state)
	if err := os.Mkdir(disk, 0o700); err != nil {
		m.t.Fatal(err)
	}
	if err := syscall.Mount("none", disk, "tmpfs", 0, fmt.Sprintf("size=%d", diskSize)); err != nil {
		m.t.Logf("no file system can be mounted here (%v), so the disk is never full", err)
		return
	}
	m.t.Cleanup(func() { syscall.Unmount(disk, syscall.MNT_DETACH) })
	m.disk = disk
}

// shifted has a CA do all by the right time.
func (m *month) shifted(ca *acmetest.Server) acmetest.Fault {
	revoked := acmetest.Respond(acmetest.RevokeCert, http.StatusOK, nil, nil) // it would not know the shifted ones
	return acmetest.Both(revoked, ca.Shift(func() time.Duration { return time.Duration(m.now.Load()) }))
}

// ca has the CA fail in some way, or not any more.
func (m *month) ca(fault acmetest.Fault) {
	if m.fails = fault != nil; !m.fails {
		m.h.ca.Misbehave(m.up)
		return
	}
	m.failed = true
	m.h.ca.Misbehave(acmetest.Both(fault, m.up))
}

func (m *month) configuration() string {
	text := monthConfig
	if m.plain {
		text += plainConfig
	}
	return strings.NewReplacer("$STATE", m.state, "$DIRECTORY", m.h.ca.Directory, "$HTTP", m.h.ca.HTTPAddr, "$DOMAIN", m.h.domain,
		"$BACKUPS", fmt.Sprint(m.backups), "$CALMDIRECTORY", m.calm.Directory, "$CALMHTTP", m.calm.HTTPAddr).Replace(text)
}

func (m *month) configure(text string) { m.write(filepath.Join(m.h.dir, "config.yaml"), text) }

// write replaces a file that the daemon may be reading.
func (m *month) write(path, text string) {
	if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *month) tell(format string, args ...any) {
	m.story = append(m.story, fmt.Sprintf(format, args...))
	m.w.at = strings.Join(m.story[max(0, len(m.story)-20):], "; ")
}

// command is one that a person types beside the daemon.
func (m *month) command(args ...string) (*exec.Cmd, *bytes.Buffer) {
	cmd, out := m.h.command(args...)
	cmd.Env = append(os.Environ(), clockFileEnv+"="+filepath.Join(m.root, "clock"), requestTimeoutEnv+"=1s")
	return cmd, out
}

// hand runs a command, whatever comes of it, which the daemon does if it is about a
// certificate.
func (m *month) hand(args ...string) (status int) {
	m.t.Helper()
	m.mark()
	cmd, out := m.command(args...)
	cmd.Run() // its status is told
	status = cmd.ProcessState.ExitCode()
	m.tell("%q (status %d)", args, status)
	m.h.append("output", out.Bytes())
	if args[0] != "status" && (status == 0 || status == 1 || status == 3) {
		m.awaited["api"] = true
	}
	return status
}

// change edits the configuration, and has it read.
func (m *month) change(backups int, plain bool) {
	m.mark()
	if backups != m.backups {
		m.awaited["api"] = true
	}
	if plain && !m.plain {
		m.awaited["plain"] = true
	}
	m.backups, m.plain = backups, plain
	m.configure(m.configuration())
	m.reload("read the configuration again")
}

// start begins another life of the daemon. Its loop turns every few milliseconds, as if the
// service manager wanted to hear of it so often: that is how it sees that the clock jumped.
func (m *month) start(env ...string) {
	m.t.Helper()
	m.lives++
	log, err := os.Create(filepath.Join(m.root, fmt.Sprintf("log-%d", m.lives)))
	if err != nil {
		m.t.Fatal(err)
	}
	defer log.Close()
	cmd, _ := m.command("daemon", "--log-level", "debug")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(cmd.Env, "WATCHDOG_USEC=30000", censusEnv+"="+filepath.Join(m.root, "census"))
	cmd.Env = append(cmd.Env, env...)
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	d := &daemonProcess{cmd: cmd, log: log.Name(), ended: make(chan struct{})}
	go func() { defer close(d.ended); cmd.Wait() }()
	m.t.Cleanup(func() { cmd.Process.Kill(); <-d.ended })
	m.daemon, m.reports = d, make(map[string]report)
}

func (d *daemonProcess) over() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

var (
	reported  = regexp.MustCompile(`msg="did what was due" certificate=(\S+) again=(\S+)`)
	calmFails = regexp.MustCompile(`msg=problem certificate=calm .*`)
)

// read reads on in the daemon's log.
func (m *month) read() {
	m.t.Helper()
	data, err := os.ReadFile(m.daemon.log)
	if err != nil {
		m.t.Fatal(err)
	}
	whole := data[m.daemon.past : bytes.LastIndexByte(data, '\n')+1]
	m.daemon.past += len(whole)
	m.unread = append(m.unread, whole...)
	for _, r := range reported.FindAllStringSubmatch(string(whole), -1) {
		again, err := time.Parse(time.RFC3339, r[2])
		if err != nil {
			m.t.Fatal(err)
		}
		last := m.reports[r[1]]
		next := report{again: again, since: last.since + 1}
		if again.Before(m.clock().Add(10 * time.Second)) {
			next.soon = last.soon + 1
		}
		m.reports[r[1]] = next
	}
}

// mark begins to count reports anew.
func (m *month) mark() {
	m.read()
	for name, r := range m.reports {
		r.since = 0
		m.reports[name] = r
	}
	m.awaited = make(map[string]bool)
}

// settle waits until the daemon has done all that is due. If it is killed meanwhile, another
// one does that.
func (m *month) settle() {
	m.t.Helper()
	m.settleBut(func() bool {
		if m.daemon.over() {
			m.tell("it was killed")
			m.start()
		}
		return false
	})
}

// settleBut waits no longer when something else is the case.
func (m *month) settleBut(over func() bool) {
	m.t.Helper()
	m.await("all is done that is due", func() bool {
		if over() {
			return true
		}
		m.read()
		names := []string{"api", "calm"}
		if m.plain {
			names = append(names, "plain")
		}
		clock := m.clock()
		return !slices.ContainsFunc(names, func(name string) bool {
			r := m.reports[name]
			return !r.again.After(clock) || (m.awaited[name] && r.since == 0)
		})
	})
}

// clock is what the clock of the daemon's machine says.
func (m *month) clock() time.Time { return time.Now().Add(time.Duration(m.now.Load()) + m.wrong) }

// await waits for what another process does.
func (m *month) await(what string, is func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatalf("%s: not true in time: %s\n%s", m.w.at, what, m.tail())
		}
	}
}

// tail is the end of the daemon's log.
func (m *month) tail() string {
	data, _ := os.ReadFile(m.daemon.log)
	return tail(string(data))
}

// reload has the daemon read its configuration, and waits for what it says of that. One that
// was killed is started anew, and reads it then.
func (m *month) reload(says string) {
	m.t.Helper()
	m.read()
	past := m.daemon.past
	m.daemon.cmd.Process.Signal(syscall.SIGHUP)
	m.await(says, func() bool {
		data, err := os.ReadFile(m.daemon.log)
		return m.daemon.over() || (err == nil && strings.Contains(string(data[past:]), says))
	})
}

// setClock sets the clock of the daemon's machine.
func (m *month) setClock() {
	m.write(filepath.Join(m.root, "clock"), (time.Duration(m.now.Load()) + m.wrong).String())
}

// setWrong sets it wrong, or right again.
func (m *month) setWrong(wrong time.Duration) {
	m.mark()
	m.wrong = wrong
	m.setClock()
}

// advance lets time pass.
func (m *month) advance(d time.Duration) {
	m.mark()
	m.now.Add(int64(d))
	m.setClock()
}

// pass lets time pass, and looks at what the daemon made of it.
func (m *month) pass(d time.Duration) {
	m.t.Helper()
	m.advance(d)
	m.settle()
	m.tell("%s pass", d)
	m.look()
}

// look holds the lineage to the invariants, while the daemon is stopped at whatever it does.
func (m *month) look() {
	m.t.Helper()
	m.freeze()
	defer m.daemon.cmd.Process.Signal(syscall.SIGCONT)
	m.read()
	if fails := calmFails.Find(m.unread); fails != nil && m.excused == 0 {
		m.t.Errorf("%s: nothing is wrong with the other CA: %s", m.w.at, fails)
	}
	if bytes.Contains(m.unread, []byte("this is a bug")) {
		m.t.Errorf("%s: %s", m.w.at, tail(string(m.unread)))
	}
	for name, r := range m.reports {
		if r.since > 5 || r.soon > 2 {
			m.t.Errorf("%s: %s was worked on %d times\n%s", m.w.at, name, r.since, tail(string(m.unread)))
		}
	}
	m.h.append("output", m.unread)
	m.unread = nil
	now := time.Duration(m.now.Load())
	asked := m.asked
	if b := m.w.before; b != nil && !b.State.Since.IsZero() {
		asked = asked || !time.Now().Add(now+max(m.wrong, 0)).Before(b.State.Since.Add(b.Goal.RolloverEvery))
	}
	var known int
	if m.w.before != nil {
		known = m.w.before.Ledger.Head().Entries
	}
	m.w.look(invariant.Run{Asked: asked, Undisturbed: m.undisturbed, Requests: len(m.h.ca.Requests())}, now)
	m.asked = false
	m.believable(known)
	if err := os.Truncate(filepath.Join(m.h.dir, "output"), 0); err != nil {
		m.t.Fatal(err)
	}
}

// believable sees that a clock that is wrong put nothing into the ledger, unless the CA
// could not say so. What is in it then is not followed by anything that is earlier.
func (m *month) believable(known int) {
	const tolerance = time.Hour + time.Minute
	right := time.Now().Add(time.Duration(m.now.Load()))
	entries := m.w.before.Ledger.Entries()
	for i, e := range entries[known:] {
		follows := known+i > 0 && e.At.Equal(entries[known+i-1].At)
		told := !m.failed && !follows && (e.Kind == pinset.Intent || e.Kind == pinset.Confirm)
		if told && (e.At.After(right.Add(tolerance)) || e.At.Before(m.looked.Add(-tolerance))) {
			m.t.Errorf("%s: the %s of version %d on channel %s is on record for %s, when it is between %s and %s", m.w.at, e.Kind, e.Version, e.Channel, e.At, m.looked, right)
		}
	}
	m.looked, m.failed = right, m.fails
}

// freeze stops the daemon, and waits until it stands still.
func (m *month) freeze() {
	m.daemon.cmd.Process.Signal(syscall.SIGSTOP)
	m.await("the daemon stands still", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.daemon.cmd.Process.Pid))
		_, rest, _ := strings.Cut(string(stat), ") ")
		return err != nil || strings.HasPrefix(rest, "T") || m.daemon.over()
	})
}

// kill ends the daemon at once.
func (m *month) kill() {
	m.excused = max(m.excused, 2)
	m.daemon.cmd.Process.Kill()
	<-m.daemon.ended
	m.read()
}

// end ends the daemon as a service manager does.
func (m *month) end() {
	m.t.Helper()
	m.excused = max(m.excused, 2)
	killed := m.daemon.over()
	m.daemon.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-m.daemon.ended:
	case <-time.After(20 * time.Second):
		m.t.Fatalf("%s: the daemon does not end\n%s", m.w.at, m.tail())
	}
	if status := m.daemon.cmd.ProcessState; !killed && status.ExitCode() != 0 {
		m.t.Errorf("%s: the daemon ended with %s\n%s", m.w.at, status, m.tail())
	}
	m.read()
}

// version is that of a certificate.
func (m *month) version(name string) int {
	data, err := os.ReadFile(filepath.Join(m.state, "lineages", name, "state.json"))
	if err != nil {
		m.t.Fatal(err)
	}
	var records struct {
		State struct{ Certificate struct{ Version int } }
	}
	if err := json.Unmarshal(data, &records); err != nil {
		m.t.Fatal(err)
	}
	return records.State.Certificate.Version
}

// census says what the daemon holds now.
func (m *month) census() census {
	m.t.Helper()
	path := filepath.Join(m.root, "census")
	os.Remove(path)
	m.daemon.cmd.Process.Signal(syscall.SIGUSR1)
	var c census
	m.await("the daemon says what it holds", func() bool {
		data, err := os.ReadFile(path)
		return err == nil && json.Unmarshal(data, &c) == nil
	})
	return c
}
