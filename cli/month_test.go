package cli_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"keepkey/internal/acmetest"
)

// What makes months of a daemon's life longer, and repeats one of them.
const (
	monthsEnv = "KEEPKEY_TEST_MONTHS" // how many, one after the other
	seedEnv   = "KEEPKEY_TEST_SEED"
)

// TestAMonthOfADaemon lets a daemon, as a process of its own, live through a month in which
// everything goes wrong that can: the CA, hooks, the disk, names, the clock, the
// configuration, and the daemon is killed, ended and suspended, while people hand it
// commands. The invariants hold whenever somebody looks; a certificate of another CA is none
// the worse for it; and in the end all is well, without anybody's help, and the daemon holds
// no more than it did before.
func TestAMonthOfADaemon(t *testing.T) {
	t.Parallel()
	days, months := 30, 1
	if testing.Short() || raceDetector {
		days = 4
	}
	if n, err := strconv.Atoi(os.Getenv(monthsEnv)); err == nil {
		months = n
	}
	seed := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv(seedEnv), 10, 64); err == nil {
		seed = n
	}
	for i := range months {
		t.Run(fmt.Sprint(seed+uint64(i)), func(t *testing.T) {
			m := newMonth(t, seed+uint64(i))
			m.live(days/2, append(m.mishaps(), m.endings()...))
			before := m.quiet()
			m.live(days/2, m.mishaps())
			if days >= 30 {
				m.weekWithoutCA()
			}
			m.holdsNoMoreThan(before, m.quiet())
			pinSets := m.w.before.Ledger.Newest().Version
			t.Logf("%d days, %d certificates and %d pin sets of api, %d certificates of calm: %v", m.now.Load()/int64(24*time.Hour), m.version("api"), pinSets, m.version("calm"), m.steps)
			if days >= 30 && (m.version("api") < 6 || m.version("calm") < 10 || pinSets < 4) {
				t.Error("too little went on for this to prove anything")
			}
		})
	}
}

// A daemon that is told to end in the middle of an order does so, and the next one goes on
// with that order.
func TestADaemonThatEndsInTheMiddleOfAnOrder(t *testing.T) {
	t.Parallel()
	m := newMonth(t, 0)
	was := m.version("api")
	m.endInOrder()
	if now := m.version("api"); now != was+1 {
		t.Errorf("certificate version %d, was %d", now, was)
	}
}

// mishap is something that goes wrong, or that somebody does.
type mishap struct {
	name string
	do   func()
}

// live lets so many days pass, with mishaps, and ends those that go on.
func (m *month) live(days int, all []mishap) {
	for end := m.now.Load() + int64(days)*int64(24*time.Hour); m.now.Load() < end; {
		d := all[m.rng.IntN(len(all))]
		m.steps[d.name]++
		m.tell("%s", d.name)
		d.do()
		m.settle()
		m.look() // what is published is replaced now, and not a day later
		m.pass(pick(m.rng, 1, 2, 4, 8, 12))
		m.over(1)
	}
	m.over(maxSteps)
}

// maxSteps is how long something is wrong at most.
const maxSteps = 4

// during has something wrong for some steps, while other things happen.
func (m *month) during(wrong, right func()) {
	m.ongoing = append(m.ongoing, ongoing{1 + m.rng.IntN(maxSteps), right})
	wrong()
}

// over ends what has been wrong for long enough, so many steps later.
func (m *month) over(steps int) {
	if m.daemon.over() {
		m.start()
	}
	m.excused = max(m.excused-steps, 0)
	var left []ongoing
	for _, o := range m.ongoing {
		if o.steps -= steps; o.steps > 0 {
			left = append(left, o)
		} else {
			o.right()
		}
	}
	m.ongoing = left
}

// pick returns one of several numbers of hours.
func pick(rng *rand.Rand, hours ...int) time.Duration {
	return time.Duration(hours[rng.IntN(len(hours))]) * time.Hour
}

// mishaps are those that the daemon outlives.
func (m *month) mishaps() []mishap {
	return []mishap{
		{"nothing", func() {}},
		{"the CA fails", func() {
			name, fault := m.caFault()
			m.tell("%s", name)
			m.during(func() { m.ca(fault) }, func() { m.ca(nil) })
		}},
		{"names do not resolve", func() {
			m.during(func() { m.h.ca.DNS.Fail(true) }, func() { m.h.ca.DNS.Fail(false) })
		}},
		{"the hook fails", func() { m.during(m.leave("hook-fails"), m.remove("hook-fails")) }},
		{"the hook hangs", func() { m.during(m.leave("hook-hangs"), m.remove("hook-hangs")) }},
		{"the disk is full", m.fullDisk},
		{"the configuration vanishes", m.vanish},
		{"an edit", m.edit},
		{"a mistake", m.mistake},
		{"the clock is wrong", func() {
			m.excused = maxSteps + 1
			m.during(func() { m.setWrong(pick(m.rng, 24*31, 2, 2, -5, -24*5) + time.Minute*30) }, func() { m.setWrong(0) })
			m.settle()
			m.change(3-m.backups, m.plain) // so that there is something to publish
		}},
		{"the machine is suspended", m.suspend},
		{"renew", func() { m.hand("renew") }},
		{"renew by force", func() { m.hand("renew", "--force") }},
		{"rotate", func() { m.rotate() }},
		{"rotate when the gate opens", func() { m.rotate("--when-open") }},
		{"undo", func() { m.rotate("--undo") }},
		{"status", func() { m.hand("status") }},
	}
}

// ongoing is something that is wrong for some more steps.
type ongoing struct {
	steps int
	right func()
}

// endings are those after which there is another daemon.
func (m *month) endings() []mishap {
	return []mishap{
		{"killed", func() { m.kill(); m.start() }},
		{"killed at an effect", func() {
			m.kill()
			m.start(fmt.Sprintf("%s=%d", killEnv, 1+m.rng.IntN(200)))
		}},
		{"ended", func() { m.end(); m.start() }},
		{"ended in the middle of an order", m.endInOrder},
	}
}

// caFault is a way in which the CA fails.
func (m *month) caFault() (string, acmetest.Fault) {
	at := []acmetest.Endpoint{acmetest.Everything, acmetest.Directory, acmetest.NewNonce, acmetest.NewOrder, acmetest.Authorization, acmetest.Finalize, acmetest.Certificate, acmetest.RenewalInfo}
	e := at[m.rng.IntN(len(at))]
	faults := []struct {
		name string
		make func(acmetest.Endpoint) acmetest.Fault
	}{
		{"500", func(e acmetest.Endpoint) acmetest.Fault {
			return acmetest.Problem(e, http.StatusInternalServerError, "serverInternal", "broken", "")
		}},
		{"503 with Retry-After", func(e acmetest.Endpoint) acmetest.Fault {
			return acmetest.Problem(e, http.StatusServiceUnavailable, "serverInternal", "maintenance", strconv.Itoa(3600*(1+m.rng.IntN(30))))
		}},
		{"429", func(e acmetest.Endpoint) acmetest.Fault {
			return acmetest.Problem(e, http.StatusTooManyRequests, "rateLimited", "too many", "7200")
		}},
		{"hangs", acmetest.Stall},
		{"nonsense", func(e acmetest.Endpoint) acmetest.Fault {
			return acmetest.Respond(e, http.StatusOK, nil, []byte("<html>welcome</html>"))
		}},
		{"cut", func(e acmetest.Endpoint) acmetest.Fault { return acmetest.Cut(e, 20) }},
		{"lost", acmetest.Lose},
	}
	f := faults[m.rng.IntN(len(faults))]
	return fmt.Sprintf("%s at %s", f.name, e), f.make(e)
}

func (m *month) leave(name string) func() {
	return func() {
		if err := os.WriteFile(filepath.Join(m.h.dir, name), nil, 0o600); err != nil {
			m.t.Fatal(err)
		}
	}
}

func (m *month) remove(name string) func() {
	return func() {
		os.Remove(filepath.Join(m.h.dir, name)) // another mishap of the kind may have ended before
	}
}

// fullDisk fills the disk that the state is on.
func (m *month) fullDisk() {
	if m.disk == "" {
		return // none can be filled here
	}
	ballast := filepath.Join(m.disk, "ballast")
	m.excused = maxSteps + 1
	m.during(func() {
		if err := os.WriteFile(ballast, make([]byte, diskSize), 0o600); !errors.Is(err, syscall.ENOSPC) {
			m.t.Fatalf("the disk is larger than it should be: %v", err)
		}
	}, func() { os.Remove(ballast) })
}

// vanish takes the configuration's directory away, with the hooks and the files that clients
// get, and brings it back.
func (m *month) vanish() {
	m.excused = max(m.excused, 2) // what it has not read yet, it can't read now
	away := m.h.dir + ".away"
	if err := os.Rename(m.h.dir, away); err != nil {
		m.t.Fatal(err)
	}
	m.reload("there is no configuration file")
	m.advance(pick(m.rng, 1, 24))
	m.settleBut(m.daemon.over) // without a configuration no other one can begin
	os.RemoveAll(m.h.dir)      // a hook may have made it
	if err := os.Rename(away, m.h.dir); err != nil {
		m.t.Fatal(err)
	}
}

// edit changes the configuration, and has it read.
func (m *month) edit() {
	m.change(1+m.rng.IntN(2), m.rng.IntN(2) == 0)
}

// mistake has a configuration read that is not valid.
func (m *month) mistake() {
	good := m.configuration()
	bad := []string{"certificates: [", good + "nonsense: true\n", strings.Replace(good, "state: ", "state: /somewhere/else", 1), ""}
	m.configure(bad[m.rng.IntN(len(bad))])
	m.reload("the old one stays in force")
	m.configure(good)
	m.hand("renew") // which reads the right one
}

// suspend stops the machine for a while: no timer runs, and the clock goes on.
func (m *month) suspend() {
	m.daemon.cmd.Process.Signal(syscall.SIGSTOP)
	m.advance(pick(m.rng, 1, 24, 72))
	m.daemon.cmd.Process.Signal(syscall.SIGCONT)
	m.settle()
	m.look()
}

func (m *month) rotate(args ...string) {
	m.asked = true
	m.hand(append([]string{"rotate", "--name", "api"}, args...)...)
}

// endInOrder ends the daemon while the CA does not answer in the middle of an order. It ends
// soon, and the next one goes on with that order.
func (m *month) endInOrder() {
	m.ca(acmetest.Stall(acmetest.Finalize))
	m.h.ca.Requests()
	cmd, _ := m.command("renew", "--name", "api", "--force")
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); cmd.Wait() }()
	reached := false
	m.await("an order is to be finalized", func() bool {
		select {
		case <-ended: // it did not come to that: the disk is full, say
			return true
		default:
		}
		reached = slices.ContainsFunc(m.h.ca.Requests(), func(r string) bool { return strings.Contains(r, string(acmetest.Finalize)) })
		return reached
	})
	m.end()
	<-ended
	m.ca(nil)
	m.h.ca.Requests()
	m.start()
	m.settle()
	for _, r := range m.h.ca.Requests() {
		if reached && strings.HasSuffix(r, string(acmetest.NewOrder)) {
			m.t.Errorf("%s: another order was placed", m.w.at)
		}
	}
	m.look()
}

// weekWithoutCA takes the CA away for a week. Its certificates last, and what another CA
// issued is renewed meanwhile.
func (m *month) weekWithoutCA() {
	m.tell("the CA is away for a week")
	was := m.version("calm")
	m.ca(acmetest.Problem(acmetest.Everything, http.StatusBadGateway, "serverInternal", "away", ""))
	for range 7 {
		m.pass(24 * time.Hour)
	}
	m.ca(nil)
	if now := m.version("calm"); now == was {
		m.t.Errorf("the certificate of the other CA is version %d, as it was a week ago", now)
	}
}

// quiet lets some days go by in which nothing is wrong, and expects all to be well then.
func (m *month) quiet() census {
	m.t.Helper()
	m.change(1, true)
	for range 4 { // the longest pause after failures is thirty hours
		m.pass(25 * time.Hour)
	}
	for _, args := range []string{"status", "renew"} {
		if status := m.hand(args); status != 0 {
			m.t.Errorf("%s: in the end all is not well: %s ends with status %d\n%s\n%s", m.w.at, args, status, tail(m.h.read("output")), m.tail())
		}
	}
	m.settle()
	m.undisturbed = true
	m.look()
	m.undisturbed = false
	return m.census()
}

// holdsNoMoreThan compares what the daemon holds with what it held before.
func (m *month) holdsNoMoreThan(before, after census) {
	m.t.Logf("before %+v, after %+v", before, after)
	const more = 4 // connections come and go
	if after.Descriptors > before.Descriptors+more || after.Goroutines > before.Goroutines+2*more || after.Heap > before.Heap+1<<20 || after.Resident > before.Resident+16<<10 {
		m.t.Errorf("the daemon held %+v, and then %+v", before, after)
	}
}
