package cli_test

import (
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

const scripts = "../testdata/script"

const baseConfig = `state: state
acme: {directory: "$DIRECTORY", ca_bundle: ca.pem, accept_terms: true}
defaults: {challenge: {http-01: {listen: "$HTTP"}}}
`

// TestScripts runs testdata/script/*.txtar, each with a CA of its own. The README there
// says what the scripts can use besides testscript's own commands.
func TestScripts(t *testing.T) {
	t.Parallel()
	if files, err := filepath.Glob(scripts + "/*.txtar"); err != nil || len(files) < 8 {
		t.Fatalf("%d scripts (%v): the test looks in the wrong place", len(files), err)
	}
	advice := ""
	if !testing.Short() && !raceDetector {
		advice = t.TempDir()
		t.Cleanup(func() {
			problems, tried, err := adviceProblems(advice)
			for _, p := range problems {
				t.Errorf("a message recommends what does not work:\n%s", p)
			}
			t.Logf("%d recommended commands were tried (%v)", tried, err)
		})
	}
	testscript.Run(t, testscript.Params{
		Dir:                 scripts,
		WorkdirRoot:         fastDir(t),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                scriptCommands,
		Setup: func(env *testscript.Env) error {
			ca, err := acmetest.Start(acmetest.Options{})
			if err != nil {
				return err
			}
			env.Defer(ca.Close)
			env.Values[worldKey{}] = &world{ca: ca}
			env.Setenv("DIRECTORY", ca.Directory)
			env.Setenv("HTTP", ca.HTTPAddr)
			env.Setenv(adviceEnv, advice)
			env.Setenv("KEEPKEY_CONFIG", filepath.Join(env.WorkDir, "config.yaml"))
			return os.WriteFile(filepath.Join(env.WorkDir, "ca.pem"), ca.CAPEM, 0o600)
		},
	})
}

// TestEveryScriptCommandIsExplained holds the README beside the scripts to the commands
// that there are.
func TestEveryScriptCommandIsExplained(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(scripts + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range scriptCommands {
		if !strings.Contains(string(readme), "\n| `"+name+" ") {
			t.Errorf("the README does not explain %q", name)
		}
	}
}

// world is what surrounds the keepkey of one script.
type world struct {
	ca          *acmetest.Server
	clock, skew time.Duration
}

type worldKey struct{}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

// setClocks has keepkey and the CA see the time that the script wants.
func (w *world) setClocks(ts *testscript.TestScript) {
	ts.Setenv(clockEnv, (w.clock + w.skew).String())
	w.ca.SetClock(w.clock)
}

type scriptCommand = func(ts *testscript.TestScript, neg bool, args []string)

// scriptCommands are explained in testdata/script/README.md. The ones that look at keys
// and files are in script_files_test.go.
var scriptCommands = map[string]scriptCommand{
	"config": command(1, 1, func(ts *testscript.TestScript, args []string) {
		text := baseConfig + ts.ReadFile(args[0])
		for _, name := range []string{"DIRECTORY", "HTTP", "WORK"} {
			text = strings.ReplaceAll(text, "$"+name, ts.Getenv(name))
		}
		ts.Check(os.WriteFile(ts.MkAbs("config.yaml"), []byte(text), 0o600))
	}),
	"status": command(2, 100, func(ts *testscript.TestScript, args []string) {
		got := 0
		var exit *exec.ExitError
		if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
			got = exit.ExitCode()
		} else {
			ts.Check(err)
		}
		if got != number(ts, args[0]) {
			ts.Fatalf("exit status %d, want %s", got, args[0])
		}
	}),
	"ca": command(1, 2, func(ts *testscript.TestScript, args []string) {
		ca := worldOf(ts).ca
		switch {
		case args[0] == "up":
			ca.Misbehave(nil)
		case args[0] == "down":
			ca.Misbehave(func(http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					http.Error(w, "down for \x1b[31mmaintenance", http.StatusServiceUnavailable)
				})
			})
		case args[0] == "lifetime" && len(args) == 2:
			ts.Check(ca.Restart(acmetest.Options{Profiles: map[string]time.Duration{"default": duration(ts, args[1])}}))
		default:
			ts.Fatalf("want up, down or lifetime DURATION")
		}
	}),
	"clock": command(1, 1, func(ts *testscript.TestScript, args []string) {
		w := worldOf(ts)
		w.clock = duration(ts, args[0])
		w.setClocks(ts)
	}),
	"skew": command(1, 1, func(ts *testscript.TestScript, args []string) {
		w := worldOf(ts)
		w.skew = duration(ts, args[0])
		w.setClocks(ts)
	}),
	"lock": command(1, 1, func(ts *testscript.TestScript, args []string) {
		store, err := keystore.OpenLocked(ts.MkAbs(args[0]), "")
		ts.Check(err)
		ts.Defer(func() { store.Close() })
		ts.Setenv("HOLDER", strconv.Itoa(os.Getpid()))
	}),

	"pin":        command(1, 4, pinCommand),
	"key-file":   command(2, 3, keyFileCommand),
	"remove-key": command(1, 2, removeKeyCommand),
	"has":        command(2, 2, hasCommand),
	"lacks":      command(2, 2, lacksCommand),
	"differ":     command(2, 2, differCommand),
	"count":      command(3, 3, countCommand),
	"distinct":   command(3, 3, distinctCommand),
	"edit":       command(3, 3, editCommand),
	"append":     command(2, 2, appendCommand),
	"truncate":   command(2, 2, truncateCommand),
	"find":       command(2, 2, findCommand),
	"read":       command(2, 2, readCommand),
	"tree":       command(3, 100, treeCommand),
}

// command refuses what a command can't mean.
func command(least, most int, do func(*testscript.TestScript, []string)) scriptCommand {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < least || len(args) > most {
			ts.Fatalf("want %d to %d arguments, and no !", least, most)
		}
		do(ts, args)
	}
}

func duration(ts *testscript.TestScript, s string) time.Duration {
	d, err := time.ParseDuration(s)
	ts.Check(err)
	return d
}
