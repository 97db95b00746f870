package cli_test

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"keepkey/internal/acmetest"
	"keepkey/keystore"
)

const baseConfig = `state: state
acme: {directory: "$DIRECTORY", ca_bundle: ca.pem, accept_terms: true}
defaults: {challenge: {http-01: {listen: "$HTTP"}}}
`

// Each script in testdata/script has a CA of its own and finds $DIRECTORY and
// $HTTP (where challenges are answered) in its environment, and ca.pem in its
// directory. A file base.yaml holds what every configuration begins with; `config
// FILE` puts it in front of FILE and writes config.yaml.
func TestScripts(t *testing.T) {
	t.Parallel()
	const dir = "../testdata/script"
	if files, err := filepath.Glob(dir + "/*.txtar"); err != nil || len(files) < 8 {
		t.Fatalf("%d scripts (%v): the test looks in the wrong place", len(files), err)
	}
	type caKey struct{}
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			ca, err := acmetest.Start(acmetest.Options{})
			if err != nil {
				return err
			}
			env.Defer(ca.Close)
			env.Values[caKey{}] = ca
			env.Setenv("DIRECTORY", ca.Directory)
			env.Setenv("HTTP", ca.HTTPAddr)
			env.Setenv("KEEPKEY_CONFIG", filepath.Join(env.WorkDir, "config.yaml"))
			return os.WriteFile(filepath.Join(env.WorkDir, "ca.pem"), ca.CAPEM, 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// config FILE: writes config.yaml.
			"config": func(ts *testscript.TestScript, _ bool, args []string) {
				text := baseConfig + ts.ReadFile(args[0])
				for _, name := range []string{"DIRECTORY", "HTTP", "WORK"} {
					text = strings.ReplaceAll(text, "$"+name, ts.Getenv(name))
				}
				ts.Check(os.WriteFile(ts.MkAbs("config.yaml"), []byte(text), 0o600))
			},
			// status N command...: runs a command that must end with exit status N.
			"status": func(ts *testscript.TestScript, _ bool, args []string) {
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				got := 0
				var exit *exec.ExitError
				if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
					got = exit.ExitCode()
				} else {
					ts.Check(err)
				}
				if got != want {
					ts.Fatalf("exit status %d, want %d", got, want)
				}
			},
			// ca down, ca up: the CA answers nothing but errors, or is itself again.
			"ca": func(ts *testscript.TestScript, _ bool, args []string) {
				ca := ts.Value(caKey{}).(*acmetest.Server)
				if args[0] == "up" {
					ca.Misbehave(nil)
					return
				}
				ca.Misbehave(func(http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
						http.Error(w, "down for \x1b[31mmaintenance", http.StatusServiceUnavailable)
					})
				})
			},
			// clock OFFSET: it is that much later, for keepkey and for the CA.
			"clock": func(ts *testscript.TestScript, _ bool, args []string) {
				offset, err := time.ParseDuration(args[0])
				ts.Check(err)
				ts.Setenv(clockEnv, offset.String())
				ts.Value(caKey{}).(*acmetest.Server).SetClock(offset)
			},
			// lock DIR: another keepkey is at work in the state directory.
			"lock": func(ts *testscript.TestScript, _ bool, args []string) {
				store, err := keystore.OpenLocked(ts.MkAbs(args[0]), "")
				ts.Check(err)
				ts.Defer(func() { store.Close() })
				ts.Setenv("HOLDER", strconv.Itoa(os.Getpid()))
			},
			// differ A B: two files must both be there and differ.
			"differ": func(ts *testscript.TestScript, _ bool, args []string) {
				if bytes.Equal([]byte(ts.ReadFile(args[0])), []byte(ts.ReadFile(args[1]))) {
					ts.Fatalf("%s and %s are the same", args[0], args[1])
				}
			},
		},
	})
}
