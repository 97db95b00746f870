package hooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// childFlag makes the test binary play a hook. It is an argument, since the caller
// of a hook can't choose its environment.
const childFlag = "-play-hook="

func TestMain(m *testing.M) {
	for _, arg := range os.Args[1:] {
		if role, ok := strings.CutPrefix(arg, childFlag); ok {
			play(role)
			os.Exit(0)
		}
	}
	os.Setenv("CLOUDFLARE_DNS_API_TOKEN", "secret") // no hook may see this
	os.Setenv("LC_MESSAGES", "C")                   // and every hook this
	os.Exit(m.Run())
}

func play(role string) {
	what, param, _ := strings.Cut(role, ":")
	switch what {
	case "exit":
		status, _ := strconv.Atoi(param)
		fmt.Println("going down \x1b[31mred\x1b[0m")
		os.Exit(status)
	case "kill-self":
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "hang":
		select {}
	case "hang-deaf": // with a child that is just as deaf
		signal.Ignore(syscall.SIGTERM)
		p, err := os.StartProcess(os.Args[0], []string{os.Args[0], childFlag + "deaf"}, &os.ProcAttr{Files: []*os.File{nil, os.Stdout, os.Stderr}})
		if err == nil {
			os.WriteFile(param, []byte(strconv.Itoa(p.Pid)), 0o600)
		}
		select {}
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
		select {}
	case "daemonize": // succeeds, and leaves a child that holds the output open
		p, err := os.StartProcess(os.Args[0], []string{os.Args[0], childFlag + "hang"}, &os.ProcAttr{Files: []*os.File{nil, os.Stdout, os.Stderr}})
		if err != nil {
			os.Exit(1)
		}
		os.WriteFile(param, []byte(strconv.Itoa(p.Pid)), 0o600)
	case "detach": // succeeds, and leaves a daemon in its own session that holds the output open
		p, err := os.StartProcess(os.Args[0], []string{os.Args[0], childFlag + "hang"}, &os.ProcAttr{
			Files: []*os.File{nil, os.Stdout, os.Stderr}, Sys: &syscall.SysProcAttr{Setsid: true}})
		if err != nil {
			os.Exit(1)
		}
		os.WriteFile(param, []byte(strconv.Itoa(p.Pid)), 0o600)
	case "shout", "print-much": // one line of that many MiB; shouting fails
		n, _ := strconv.Atoi(param)
		block := strings.Repeat("x", 1<<20)
		for range n {
			io.WriteString(os.Stdout, block)
		}
		if what == "shout" {
			os.Exit(3)
		}
	case "print":
		fmt.Print(param)
		fmt.Fprint(os.Stderr, "a word on the side")
	case "close-stdin":
		os.Stdin.Close()
	case "tell": // what it was told, into a file
		stdin, _ := io.ReadAll(os.Stdin)
		pinset, _ := os.ReadFile(os.Getenv("KEEPKEY_PINSET_FILE"))
		out, _ := json.Marshal(told{Env: os.Environ(), Stdin: stdin, PinSet: string(pinset)})
		os.WriteFile(param, out, 0o600)
	}
}

type told struct {
	Env    []string
	Stdin  []byte
	PinSet string
}

func hookThat(role string) Command {
	return Command{Args: []string{os.Args[0], childFlag + role}, Timeout: time.Minute}
}

func publication(t testing.TB) Event {
	return Event{
		ID: "e1", Kind: Publish, Name: "api", Domains: []string{"a.example.com", "b.example.com"}, LiveDir: "/state/live",
		WorkDir: filepath.Join(t.TempDir(), "work"), Channel: "app", PinSetVersion: 7, Pins: []string{"p1=", "p2="}, Document: `{"version":7}`,
		ContentType: "application/vnd.example+json",
	}
}

func TestCommandFailuresAreExplained(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script := filepath.Join(dir, "not-executable")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	// write makes a script in a separate process: if the file were open for writing
	// here, a hook that another test starts could inherit it, and it could not be run.
	scripts := 0
	write := func(content string) string {
		scripts++
		path := filepath.Join(dir, "script-"+strconv.Itoa(scripts))
		cmd := exec.Command("/bin/sh", "-c", `printf %s "$2" >"$1" && chmod 755 "$1"`, "sh", path, content)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return path
	}
	brief := hookThat("hang")
	brief.Timeout = 50 * time.Millisecond
	for _, tt := range []struct {
		name string
		hook Command
		want string // "" for success
	}{
		{"exit 0", hookThat("exit:0"), ""},
		{"exit 1", hookThat("exit:1"), "exit status 1"},
		{"killed", hookThat("kill-self"), "ended by a signal (killed)"},
		{"hangs", brief, "did not end within 50ms"},
		{"missing", Command{Args: []string{filepath.Join(dir, "missing")}, Timeout: time.Minute}, "no such program"},
		{"missing on PATH", Command{Args: []string{"keepkey-no-such-program"}, Timeout: time.Minute}, "no such program"},
		{"no interpreter", Command{Args: []string{write("#!/no/such/shell\n")}}, "interpreter does not exist"},
		{"no first line", Command{Args: []string{write("exit 0\n")}}, "must begin with a line like #!/bin/sh"},
		{"nothing", Command{}, "names no program"},
		{"no limit given", Command{Args: []string{write("#!/bin/sh\nexit 0\n")}}, ""},
		{"not executable", Command{Args: []string{script}, Timeout: time.Minute}, "may not execute"},
		{"never reads its input", hookThat("close-stdin"), ""},
		{"one line of 10 MiB", hookThat("shout:10"), "exit status 3"},
		{"200 MiB", hookThat("shout:200"), "exit status 3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := publication(t)
			e.Domains = slices.Repeat([]string{"a.example.com"}, 1000) // more input than a pipe holds, for those that do not read it
			if strings.HasPrefix(tt.want, "exit status 1") {
				e = publication(t)
			}
			err := tt.hook.Run(context.Background(), e)
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var hookErr *Error
			if !errors.As(err, &hookErr) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want an Error that says %q", err, tt.want)
			}
			if len(err.Error()) > 4000 || len(hookErr.Output) > maxOutput || strings.ContainsAny(err.Error(), "\x1b\n") {
				t.Errorf("the error is not fit to be shown: %d bytes, %.200q", len(err.Error()), err)
			}
		})
	}
}

func TestTimeLimitEndsTheWholeProcessGroup(t *testing.T) {
	t.Parallel()
	pidFile := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for { // until the hook has its child
			if pid, _ := os.ReadFile(pidFile); len(pid) > 0 {
				cancel()
				return
			}
		}
	}()
	err := hookThat("hang-deaf:"+pidFile).Run(ctx, publication(t))
	if err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("error %v, want one that says interrupted", err)
	}
	gone(t, pidFile)
}

func TestChildThatKeepsTheOutputOpenDoesNotHangUs(t *testing.T) {
	t.Parallel()
	pidFile := filepath.Join(t.TempDir(), "pid")
	if err := hookThat("daemonize:"+pidFile).Run(context.Background(), publication(t)); err != nil {
		t.Error(err)
	}
	gone(t, pidFile)
}

// pidIn reads the process ID in a file.
func pidIn(t *testing.T, pidFile string) int {
	t.Helper()
	data, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(data))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// gone fails unless the process whose ID is in the file has ended.
func gone(t *testing.T, pidFile string) {
	t.Helper()
	pid := pidIn(t, pidFile)
	// A killed process takes a moment to go, and stays as a zombie if nobody adopts
	// orphans.
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			return
		}
		if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && strings.Contains(string(stat), ") Z ") {
			return
		}
	}
	t.Errorf("process %d is still there", pid)
}

func TestCommandIsToldEverythingAndNoSecret(t *testing.T) {
	t.Parallel()
	deployment := Event{
		ID: "e2", Kind: Deploy, Name: "api", Domains: []string{"a.example.com", "b.example.com"}, LiveDir: "/state/live", WorkDir: filepath.Join(os.TempDir(), "keepkey-hooks-test"),
		Serial: "5e", NotAfter: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	for _, tt := range []struct {
		event  Event
		env    []string // in addition to the inherited ones
		pinset string
	}{
		{publication(t), []string{
			"KEEPKEY_CHANNEL=app", "KEEPKEY_DOMAINS=a.example.com b.example.com", "KEEPKEY_EVENT=publish", "KEEPKEY_EVENT_ID=e1",
			"KEEPKEY_LIVE_DIR=/state/live", "KEEPKEY_NAME=api", "KEEPKEY_PINS=p1= p2=", "KEEPKEY_PINSET_FILE", "KEEPKEY_PINSET_VERSION=7",
		}, `{"version":7}`},
		{deployment, []string{
			"KEEPKEY_DOMAINS=a.example.com b.example.com", "KEEPKEY_EVENT=deploy", "KEEPKEY_EVENT_ID=e2",
			"KEEPKEY_LIVE_DIR=/state/live", "KEEPKEY_NAME=api",
			"RENEWED_DOMAINS=a.example.com b.example.com", "RENEWED_LINEAGE=/state/live",
		}, ""},
		{notice(), []string{
			"KEEPKEY_CERTIFICATES=api", "KEEPKEY_CODE=deploy-failing", "KEEPKEY_DOMAINS=", "KEEPKEY_EVENT=notify", "KEEPKEY_EVENT_ID=e7", "KEEPKEY_HOST=web1",
			"KEEPKEY_LIVE_DIR=", "KEEPKEY_NAME=api", "KEEPKEY_SEVERITY=critical", "KEEPKEY_STATE=appeared",
			"KEEPKEY_SUMMARY=keepkey on web1: critical: api: a deploy hook failed", "KEEPKEY_TEXT=api: a deploy hook failed\n.\nsafe: é\n",
		}, ""},
	} {
		t.Run(tt.event.Kind, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "told")
			if err := hookThat("tell:"+file).Run(context.Background(), tt.event); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got told
			if err := json.Unmarshal(data, &got); err != nil {
				t.Fatal(err)
			}
			var own []string
			for _, kv := range got.Env {
				name, value, _ := strings.Cut(kv, "=")
				switch {
				case inherits(name):
				case name == "KEEPKEY_PINSET_FILE":
					own = append(own, name)
					if _, err := os.Stat(value); !errors.Is(err, fs.ErrNotExist) {
						t.Errorf("%s was left behind (%v)", value, err)
					}
				default:
					own = append(own, kv)
				}
			}
			if !slices.Contains(got.Env, "LC_MESSAGES=C") {
				t.Error("the language did not pass")
			}
			slices.Sort(own)
			if !slices.Equal(own, tt.env) {
				t.Errorf("environment\n%q, want\n%q", own, tt.env)
			}
			if got.PinSet != tt.pinset {
				t.Errorf("the pin set file holds %q, want %q", got.PinSet, tt.pinset)
			}
			var stdin Event
			if err := json.Unmarshal(got.Stdin, &stdin); err != nil {
				t.Fatal(err)
			}
			tt.event.Schema, tt.event.WorkDir = 1, ""
			if fmt.Sprintf("%+v", stdin) != fmt.Sprintf("%+v", tt.event) {
				t.Errorf("standard input tells\n%+v, want\n%+v", stdin, tt.event)
			}
		})
	}
}

func TestFileIsReplacedInOneStep(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := File{Path: filepath.Join(dir, "pins.json")}
	for _, content := range []string{`{"version":1}`, `{"version":2}`} {
		if err := f.Run(context.Background(), Event{Document: content}); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(f.Path); string(got) != content || err != nil {
			t.Errorf("the file holds %q (%v), want %q", got, err, content)
		}
		info, err := os.Stat(f.Path)
		if err != nil {
			t.Fatal(err)
		}
		want := fs.FileMode(0o644)
		if content == `{"version":2}` {
			want = 0o640
		}
		if info.Mode().Perm() != want {
			t.Errorf("mode %04o, want %04o", info.Mode().Perm(), want)
		}
		if err := os.Chmod(f.Path, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%d files, want one", len(entries))
	}
	if err := (File{Path: filepath.Join(dir, "no", "pins.json")}).Run(context.Background(), publication(t)); err == nil {
		t.Error("a missing directory went unnoticed")
	}
}

func TestDocumentIsReadBack(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pins.json")
	if err := os.WriteFile(file, []byte("published"), 0o600); err != nil {
		t.Fatal(err)
	}
	huge := file + ".huge"
	if err := os.WriteFile(huge, make([]byte, maxDocument+1), 0o600); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/pins", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "published") })
	mux.Handle("/moved", http.RedirectHandler("/pins", http.StatusFound))
	mux.Handle("/circle", http.RedirectHandler("/circle", http.StatusFound))
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 300<<20)) })
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	secure := httptest.NewTLSServer(http.RedirectHandler(server.URL+"/pins", http.StatusFound))
	t.Cleanup(secure.Close)
	for name, tt := range map[string]struct {
		reader Reader
		want   string // in the error; "" for success
	}{
		"a file":             {File{Path: file}, ""},
		"a missing file":     {File{Path: file + ".not"}, "no such file"},
		"a huge file":        {File{Path: huge}, "more than 1048576 bytes"},
		"a URL":              {URL{URL: server.URL + "/pins"}, ""},
		"a URL that moved":   {URL{URL: server.URL + "/moved"}, ""},
		"a URL that circles": {URL{URL: server.URL + "/circle"}, "redirects in circles"},
		"a URL that leaves":  {URL{URL: secure.URL, Transport: secure.Client().Transport}, "away from https"},
		"a URL that is gone": {URL{URL: server.URL + "/gone"}, "status 404"},
		"a URL that is huge": {URL{URL: server.URL + "/large"}, "more than 1048576 bytes"},
		"a URL that hangs":   {URL{URL: server.URL + "/slow", Timeout: 50 * time.Millisecond}, "no answer within 50ms"},
		"a command":          {hookThat("print:published"), ""},
		"a failing command":  {hookThat("exit:4"), "exit status 4"},
		"a shouting command": {hookThat("shout:5"), "exit status 3"},
		"a huge document":    {hookThat("print-much:2"), "more than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := tt.reader.Read(context.Background(), publication(t))
			if tt.want == "" {
				if err != nil || string(got) != "published" {
					t.Errorf("read %q, %v", got, err)
				}
				return
			}
			var readErr *Error
			if !errors.As(err, &readErr) || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "reading "+tt.reader.String()) {
				t.Errorf("error %v, want an Error that says %q", err, tt.want)
			}
		})
	}
}
