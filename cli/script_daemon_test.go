package cli_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// notBesideADaemon are the scripts that can't be run with a daemon beside them, and why.
// Those that have a daemon of their own need no entry.
var notBesideADaemon = map[string]string{
	"adopt":   "it puts another state directory in the place of the daemon's",
	"check":   "somebody else has the state directory in the end",
	"host":    "it makes the state directory another host's meanwhile",
	"limits":  "what limits a command does not limit a daemon",
	"lock":    "somebody else has the state directory",
	"log":     "somebody else has the state directory in the end",
	"notify":  "a daemon tells people by itself",
	"plan":    "it begins before there is a state directory",
	"version": "it has no configuration",
}

// quickBesideADaemon are the scripts that are run in a hurry, too.
var quickBesideADaemon = []string{"channel", "down", "lineages", "renew", "rotate"}

// TestScriptsBesideADaemon runs the scripts once more, with a daemon at work in the same
// state directory: it does what their commands ask for, and what these print, and how they
// end, is the same. So that it is the commands that do it, the daemon does nothing of its
// own.
func TestScriptsBesideADaemon(t *testing.T) {
	t.Parallel()
	files := slices.DeleteFunc(scriptsIn(t, scripts), func(file string) bool {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		hurry := testing.Short() || raceDetector
		if notBesideADaemon[name] != "" || (hurry && !slices.Contains(quickBesideADaemon, name)) {
			return true
		}
		script, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Contains(script, []byte("exec keepkey daemon "))
	})
	if len(files) < len(quickBesideADaemon) {
		t.Fatalf("only %q are run", files)
	}
	runScripts(t, files, true)
}

// scriptDaemon is the daemon beside a script.
type scriptDaemon struct {
	t            *testing.T
	name         string
	dir, outside string
	env          []string
	cmd          *exec.Cmd
	log          bytes.Buffer
	ended        chan struct{} // closed when it has
}

// A terminal is the client's, and so is what it can show.
func TestATerminalLooksTheSameBesideADaemon(t *testing.T) {
	t.Parallel()
	h := newHost(t, twoCertificates)
	outside := fastDir(t)
	d := &scriptDaemon{t: t, name: "terminal", dir: h.dir, outside: outside, env: append(os.Environ(), "KEEPKEY_CONFIG="+filepath.Join(h.dir, "config.yaml"))}
	if err := d.begin(); err != nil {
		t.Fatal(err)
	}
	defer d.end()
	const day = `20\d\d-\d\d-\d\d`
	_, out, _ := h.terminal("renew --log-level error", nil)
	looksLike(t, "a run", out,
		`NAME +RESULT +EXPIRES +NEXT`,
		`api +first certificate obta\S+ +`+day+` +obtain `+day,
		"\x1b\\[31ma-certificate-w\\S*… +first certificate obta\\S+ +"+day+" +deploy now\x1b\\[0m",
	)
	if _, out, _ = h.terminal("renew --log-level error", map[string]string{"NO_COLOR": "1"}); !strings.HasPrefix(out, "NAME") || strings.Contains(out, "\x1b") {
		t.Errorf("coloured in spite of NO_COLOR: %q", out)
	}
}

// begin has the daemon at work, unless the configuration is not valid.
func (d *scriptDaemon) begin() error {
	if d.cmd != nil {
		select {
		case <-d.ended:
		default:
			return nil
		}
	}
	path := filepath.Join(d.outside, "notify")
	os.Remove(path)
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer notify.Close()
	cmd := exec.Command("keepkey", "daemon")
	cmd.Dir, cmd.Stderr = d.dir, &d.log
	cmd.Env = append(slices.Clone(d.env), handedEnv+"=1", "NOTIFY_SOCKET="+path, adviceEnv+"=")
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
		notify.SetReadDeadline(time.Now())
	}()
	d.cmd, d.ended = cmd, ended
	buf := make([]byte, 100)
	n, err := notify.Read(buf)
	switch {
	case err == nil && string(buf[:n]) == "READY=1":
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded) && cmd.ProcessState.ExitCode() == exitUsage:
		return nil
	}
	return fmt.Errorf("the daemon says %q (%v):\n%s", buf[:n], err, &d.log)
}

// end ends the daemon, and checks that it was of use until then.
func (d *scriptDaemon) end() {
	if d.cmd == nil {
		d.t.Errorf("%s: no daemon was beside it", d.name)
		return
	}
	if _, err := os.Stat(filepath.Join(d.dir, "state", "daemon.sock")); err != nil {
		d.t.Errorf("%s: no command can find the daemon any more: %v", d.name, err)
	}
	d.cmd.Process.Signal(syscall.SIGTERM)
	<-d.ended
	if status := d.cmd.ProcessState.ExitCode(); status != 0 {
		d.t.Errorf("%s: the daemon ended with exit status %d:\n%s", d.name, status, &d.log)
	}
	if !strings.Contains(d.log.String(), "hands work over") {
		d.t.Errorf("%s: nothing was handed to the daemon:\n%s", d.name, &d.log)
	}
}
