package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"keepkey/cli"
)

// On a terminal several certificates are a table, and one is told in full.

const twoCertificates = `certificates:
  - name: api
    domains: [api.example.com]
    channels: [{name: app, format: json, lifetime: 30d, publish: [{file: pins.json}]}]
  - name: a-certificate-with-quite-a-long-name-that-takes-most-of-a-line
    domains: [www.example.com]
    channels: []
    deploy: [{command: [test, -f, server]}]
`

// terminal runs a command on a terminal that is 80 columns wide.
func (h *host) terminal(args string, environ map[string]string) (status int, stdout, stderr string) {
	h.t.Helper()
	var out, problems bytes.Buffer
	status = h.runHere(args, cli.Env{
		Stdout: &out, Stderr: &problems, Now: time.Now, Width: 80,
		Getenv: func(name string) string { return environ[name] },
	})
	return status, out.String(), problems.String()
}

// looksLike matches the lines of an output, none of them wider than the terminal.
func looksLike(t *testing.T, what, got string, want ...string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
	if len(lines) != len(want) {
		t.Errorf("%s: %d lines, want %d:\n%s", what, len(lines), len(want), got)
		return
	}
	for i, pattern := range want {
		if !regexp.MustCompile(`^` + pattern + `$`).MatchString(lines[i]) {
			t.Errorf("%s: line %d is %q, want %s", what, i+1, lines[i], pattern)
		}
		if n := utf8.RuneCountInString(escapes.ReplaceAllString(lines[i], "")); n > 80 {
			t.Errorf("%s: %d columns: %q", what, n, lines[i])
		}
	}
}

var escapes = regexp.MustCompile("\x1b\\[[0-9]*m")

func TestSeveralCertificatesAreATableOnATerminal(t *testing.T) {
	t.Parallel()
	h := newHost(t, twoCertificates)
	server := filepath.Join(h.dir, "server")
	if err := os.WriteFile(filepath.Join(h.dir, "config.yaml"),
		[]byte(strings.Replace(h.read("config.yaml"), "-f, server", "-f, "+server, 1)), 0o600); err != nil {
		t.Fatal(err)
	}

	const day = `20\d\d-\d\d-\d\d`
	status, out, problems := h.terminal("renew --log-level error", nil)
	looksLike(t, "a first run", out,
		`NAME +RESULT +EXPIRES +NEXT`,
		`api +first certificate obta\S+ +`+day+` +obtain `+day,
		"\x1b\\[31ma-certificate-w\\S*… +first certificate obta\\S+ +"+day+" +deploy now\x1b\\[0m",
	)
	if status != 1 || !strings.HasPrefix(problems, "keepkey: a-certificate-with-quite-a-long-name-that-takes-most-of-a-line: certificate version 1 is installed, but a deploy hook failed") {
		t.Errorf("status %d\n%s", status, problems)
	}
	status, out, _ = h.terminal("status", nil)
	looksLike(t, "status", out,
		`NAME +CERTIFICATE +CHANNELS +GATE +PROBLEMS`,
		`api +\d+ days left +app +open`,
		"\x1b\\[31ma-certificate-\\S*… +\\d+ days left +open +deploy-failing\x1b\\[0m",
	)
	if status != 1 {
		t.Errorf("status is green: %d", status)
	}
	if _, out, _ = h.terminal("status", map[string]string{"NO_COLOR": "1"}); strings.Contains(out, "\x1b") {
		t.Errorf("coloured in spite of NO_COLOR: %q", out)
	}

	// All of one, in full and in lines.
	status, out, _ = h.terminal("status --name api", nil)
	for _, want := range []string{"api\n  names       api.example.com\n  certificate version 1, serial ", "\n  channel     app: version 1 of the pin set, confirmed "} {
		if status != 0 || !strings.Contains(out, want) {
			t.Errorf("status %d, want %q in\n%s", status, want, out)
		}
	}
	status, out, problems = h.terminal("renew --name api", nil)
	if status != 0 || problems != "" {
		t.Errorf("status %d\n%s", status, problems)
	}
	looksLike(t, "a run over one", strings.ReplaceAll(out, ", next", ",\nnext"), `api: nothing due, expires `+day+` \d\d:\d\d UTC,`, `next: obtain at `+day+` \d\d:\d\d UTC`)

	// Nothing due is told, too: somebody is looking.
	if err := os.WriteFile(server, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	status, out, problems = h.terminal("renew --log-level error", nil)
	looksLike(t, "a run with little to do", out,
		`NAME +RESULT +EXPIRES +NEXT`,
		`api +nothing due +`+day+` +obtain `+day,
		`a-certificate-w\S*… +brought up to date +`+day+` +obtain `+day,
	)
	if status != 0 || problems != "" {
		t.Errorf("status %d\n%s", status, problems)
	}
	if _, out, _ = h.terminal("status", nil); strings.Contains(out, "\x1b") {
		t.Errorf("coloured although all is well: %q", out)
	}

	// JSON is JSON.
	if _, out, _ = h.terminal("status --json", nil); !strings.HasPrefix(out, "[\n") {
		t.Errorf("no JSON: %s", out)
	}
}
