package cli_test

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"keepkey/cli"
)

// clockEnv moves the clock of the keepkey that the tests run, by a duration.
const clockEnv = "KEEPKEY_TEST_CLOCK_OFFSET"

// The test binary is keepkey when it is called by that name, as a process of its
// own that can be killed.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"keepkey": keepkey})
}

func keepkey() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	offset, _ := time.ParseDuration(os.Getenv(clockEnv)) // none when it is not set
	os.Exit(cli.Run(ctx, cli.Env{
		Args: os.Args, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv,
		Now: func() time.Time { return time.Now().Add(offset) },
	}))
}
