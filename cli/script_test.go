package cli_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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
	runScripts(t, scriptsIn(t, scripts), false)
}

// scriptsIn lists the scripts in a directory.
func scriptsIn(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(dir + "/*.txtar")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d scripts (%v): the test looks in the wrong place", len(files), err)
	}
	return files
}

// runScripts runs scripts, and tries every command that keepkey recommends meanwhile. Or it
// has a daemon beside each, to which its commands are handed.
func runScripts(t *testing.T, files []string, besideDaemon bool) {
	advice := ""
	if !testing.Short() && !raceDetector && !besideDaemon {
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
		Files:               files,
		WorkdirRoot:         fastDir(t),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                scriptCommands,
		Condition:           scriptCondition,
		Setup: func(env *testscript.Env) error {
			ca, err := acmetest.Start(acmetest.Options{})
			if err != nil {
				return err
			}
			env.Defer(ca.Close)
			w := &world{ca: ca, outside: fastDir(t)}
			env.Values[worldKey{}] = w
			env.Setenv("DIRECTORY", ca.Directory)
			env.Setenv("HTTP", ca.HTTPAddr)
			env.Setenv("DNS", ca.DNS.Addr)
			env.Setenv(adviceEnv, advice)
			env.Setenv(clockFileEnv, w.clockFile())
			env.Setenv("KEEPKEY_CONFIG", filepath.Join(env.WorkDir, "config.yaml"))
			if besideDaemon {
				w.daemon = &scriptDaemon{t: t, name: filepath.Base(env.WorkDir), dir: env.WorkDir, outside: w.outside, env: slices.Clone(env.Vars)}
				env.Defer(w.daemon.end)
			}
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
	outside     string        // a directory of ours that the script does not see
	daemon      *scriptDaemon // or nil
}

type worldKey struct{}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

// clockFile says what time it is for keepkey, also for one that runs.
func (w *world) clockFile() string { return filepath.Join(w.outside, "clock") }

// setClocks has keepkey and the CA see the time that the script wants.
func (w *world) setClocks(ts *testscript.TestScript) {
	w.ca.SetClock(w.clock) // first: a daemon may have something to do at that moment
	next := w.clockFile() + ".next"
	ts.Check(os.WriteFile(next, []byte((w.clock + w.skew).String()), 0o600))
	ts.Check(os.Rename(next, w.clockFile()))
}

type scriptCommand = func(ts *testscript.TestScript, neg bool, args []string)

// scriptCommands are explained in testdata/script/README.md. The ones that look at keys
// and files are in script_files_test.go, those that change the world around keepkey in
// script_world_test.go.
var scriptCommands = map[string]scriptCommand{
	"config": command(1, 1, func(ts *testscript.TestScript, args []string) {
		text := ts.ReadFile(args[0])
		base := ""
		for line := range strings.Lines(baseConfig) {
			if key, _, _ := strings.Cut(line, ":"); !strings.Contains("\n"+text, "\n"+key+":") {
				base += line
			}
		}
		text = base + text
		for _, name := range []string{"DIRECTORY", "HTTP", "DNS", "WEBADDR", "WEB", "WORK", "SERVERS"} {
			text = strings.ReplaceAll(text, "$"+name, ts.Getenv(name))
		}
		ts.Check(os.WriteFile(ts.MkAbs("config.yaml"), []byte(text), 0o600))
		if d := worldOf(ts).daemon; d != nil {
			ts.Check(d.begin())
		}
	}),
	"status": command(2, 100, func(ts *testscript.TestScript, args []string) { ends(ts, args[0], args[1:]) }),
	"plain":  command(2, 100, plainCommand),
	"ca":     command(1, 6, caCommand),
	"web":    command(1, 2, webCommand),
	"serve":  command(1, 4, serveCommand),
	"dns":    command(1, 1, func(ts *testscript.TestScript, args []string) { ts.Check(worldOf(ts).ca.DNS.Add(args[0])) }),
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
	"await": command(1, 2, func(ts *testscript.TestScript, args []string) {
		pattern := regexp.MustCompile(strings.Join(args[1:], ""))
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) { // somebody else makes it
			if _, err := os.Stat(ts.MkAbs(args[0])); err == nil && (len(args) == 1 || pattern.MatchString(ts.ReadFile(args[0]))) {
				return
			}
			if time.Now().After(deadline) {
				ts.Fatalf("%q does not come", args)
			}
		}
	}),
	"ask":    command(4, 8, askCommand),
	"post":   command(5, 5, postCommand),
	"until":  command(3, 3, untilCommand),
	"signal": command(1, 1, signalCommand),
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

// ends runs a command that must end with an exit status.
func ends(ts *testscript.TestScript, status string, command []string) {
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(command[0], command[1:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != number(ts, status) {
		ts.Fatalf("exit status %d, want %s", got, status)
	}
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
