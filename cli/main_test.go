package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"keepkey/cli"
	"keepkey/internal/fault"
)

// clockEnv moves the clock of the keepkey that the tests run, by a duration, and clockFileEnv
// by the one in a file, at any time.
const (
	clockEnv     = "KEEPKEY_TEST_CLOCK_OFFSET"
	clockFileEnv = "KEEPKEY_TEST_CLOCK_FILE"
)

// handedEnv has a daemon that the tests run do what is handed to it, and nothing else.
const handedEnv = "KEEPKEY_TEST_ONLY_HANDED"

// censusEnv names a file to which the keepkey that the tests run writes what it holds,
// whenever it gets SIGUSR1.
const censusEnv = "KEEPKEY_TEST_CENSUS"

// killEnv names the effect in whose place the keepkey that the tests run is killed,
// counted from 1.
const killEnv = "KEEPKEY_TEST_KILL_AT"

// requestTimeoutEnv is how long the keepkey that the tests run waits for an answer of a CA.
const requestTimeoutEnv = "KEEPKEY_TEST_REQUEST_TIMEOUT"

// memoryEnv names a file to which the keepkey that the tests run writes the most memory that
// it had, in the words of /proc/self/status. (What the kernel tells its parent is of no use:
// there it counts from the parent's own memory, with which a process begins.)
const memoryEnv = "KEEPKEY_TEST_MEMORY"

// umaskEnv is the umask of the keepkey that the tests run, in octal.
const umaskEnv = "KEEPKEY_TEST_UMASK"

func killAt(target int) fault.Handler {
	var n atomic.Int64
	return func(_ fault.Point, effect func() error) error {
		if n.Add(1) == int64(target) {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return effect()
	}
}

// The test binary is keepkey when it is called by that name, as a process of its
// own that can be killed.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"keepkey": keepkey})
}

func keepkey() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if n, err := strconv.Atoi(os.Getenv(killEnv)); err == nil {
		fault.Handle(killAt(n))
	}
	if mask, err := strconv.ParseInt(os.Getenv(umaskEnv), 8, 32); err == nil {
		syscall.Umask(int(mask))
	}
	timeout, _ := time.ParseDuration(os.Getenv(requestTimeoutEnv)) // the usual when it is not set
	if to := os.Getenv(censusEnv); to != "" {
		go takeCensus(to)
	}
	var out bytes.Buffer
	env := cli.Env{
		Args: os.Args, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv,
		Now: testClock(), RequestTimeout: timeout, Become: cli.Become, OnlyHanded: os.Getenv(handedEnv) != "",
	}
	if os.Getenv(adviceEnv) != "" && !slices.Contains(os.Args, "daemon") {
		env.Stdout, env.Stderr = io.MultiWriter(os.Stdout, &out), io.MultiWriter(os.Stderr, &out)
	}
	status := cli.Run(ctx, env)
	if out.Len() > 0 {
		if err := tryAdvice(out.Bytes()); err != nil {
			panic(err)
		}
	}
	if to := os.Getenv(memoryEnv); to != "" {
		if data, err := os.ReadFile("/proc/self/status"); err == nil {
			os.WriteFile(to, data, 0o600)
		}
	}
	os.Exit(status)
}

// testClock returns the clock of the keepkey that the tests run.
func testClock() func() time.Time {
	offset, _ := time.ParseDuration(os.Getenv(clockEnv)) // none when it is not set
	file := os.Getenv(clockFileEnv)
	return func() time.Time {
		if file == "" {
			return time.Now().Add(offset)
		}
		data, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			return time.Now().Add(offset) // nobody moved it yet
		}
		if err != nil {
			panic(err)
		}
		off, err := time.ParseDuration(string(data))
		if err != nil {
			panic(err)
		}
		return time.Now().Add(offset + off)
	}
}

// census is what a process holds.
type census struct {
	Goroutines, Descriptors int
	Heap                    int // bytes
	Resident                int // KiB
}

// takeCensus writes one at each SIGUSR1.
func takeCensus(to string) {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	for range asked {
		runtime.GC()
		runtime.GC() // what the first found had finalizers
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		c := census{Goroutines: runtime.NumGoroutine(), Heap: int(m.HeapAlloc)}
		if open, err := os.ReadDir("/proc/self/fd"); err == nil {
			c.Descriptors = len(open)
		}
		if status, err := os.ReadFile("/proc/self/status"); err == nil {
			_, rest, _ := strings.Cut(string(status), "VmRSS:")
			fmt.Sscan(rest, &c.Resident)
		}
		data, err := json.Marshal(c)
		if err != nil {
			panic(err)
		}
		if err := errors.Join(os.WriteFile(to+".new", data, 0o600), os.Rename(to+".new", to)); err != nil {
			panic(err)
		}
	}
}
