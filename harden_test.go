package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// built returns the binary, which is built once.
func built(t *testing.T) string {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "keepkey-built-")
	if err != nil {
		return "", err
	}
	builtIn = dir
	binary := filepath.Join(dir, "keepkey")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return binary, nil
})

// builtIn is the directory of the binary, once there is one.
var builtIn string

func TestMain(m *testing.M) {
	status := m.Run()
	if builtIn != "" {
		os.RemoveAll(builtIn)
	}
	os.Exit(status)
}

// The binary itself, since it is the process that is hardened.
func TestHooksInheritNothingAndNoCoreIsDumped(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("it reads /proc")
	}
	dir, binary := t.TempDir(), built(t)
	for name, content := range map[string]string{
		"secret": "open when keepkey was started",
		"hook":   "#!/bin/sh\ncat /proc/$PPID/limits >\"${0%/*}/limits\"\ncat <&7 >\"${0%/*}/seen\"\nexit 0\n",
		// Nobody answers there: the pin set is published before that matters.
		"keepkey.yaml": "state: state\nacme: {directory: \"https://127.0.0.1:1/\", accept_terms: true}\ncertificates:\n" +
			"  - {domains: [api.example.com], channels: [{name: app, format: json, lifetime: 1d, publish: [{command: [./hook]}]}]}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	// An open file that is not closed on exec, as a careless service manager leaves one.
	cmd := exec.Command("/bin/sh", "-c", `exec 7<"$1"; ulimit -c unlimited 2>/dev/null; exec "$0" --config "$2" renew`,
		binary, filepath.Join(dir, "secret"), filepath.Join(dir, "keepkey.yaml"))
	out, _ := cmd.CombinedOutput() // it fails: there is no CA
	limits, err := os.ReadFile(filepath.Join(dir, "limits"))
	if err != nil {
		t.Fatalf("the hook was not run: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(limits)) {
		if f := strings.Fields(line); strings.HasPrefix(line, "Max core file size") && (f[4] != "0" || f[5] != "0") {
			t.Errorf("core dumps are possible: %s", line)
		}
	}
	if seen, _ := os.ReadFile(filepath.Join(dir, "seen")); len(seen) > 0 {
		t.Errorf("the hook could read %q", seen)
	}
}
