package cli_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"keepkey/cli"
	"keepkey/internal/fault"
)

// clockEnv moves the clock of the keepkey that the tests run, by a duration.
const clockEnv = "KEEPKEY_TEST_CLOCK_OFFSET"

// clockFileEnv names a file with another duration, which counts as it is at each moment.
const clockFileEnv = "KEEPKEY_TEST_CLOCK_FILE"

// handedEnv has a daemon that the tests run do what is handed to it, and nothing else.
const handedEnv = "KEEPKEY_TEST_ONLY_HANDED"

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
	offset, _ := time.ParseDuration(os.Getenv(clockEnv)) // none when it is not set
	clock := os.Getenv(clockFileEnv)
	now := func() time.Time {
		data, _ := os.ReadFile(clock) // none when it is not set
		moved, _ := time.ParseDuration(string(data))
		return time.Now().Add(offset + moved)
	}
	timeout, _ := time.ParseDuration(os.Getenv(requestTimeoutEnv)) // the usual when it is not set
	var out bytes.Buffer
	env := cli.Env{
		Args: os.Args, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv,
		Now: now, RequestTimeout: timeout, Become: cli.Become, OnlyHanded: os.Getenv(handedEnv) != "",
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
