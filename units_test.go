package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// What the two services have to themselves. All else in their [Service] sections, which is
// who they run as and their sandbox, is the same.
var (
	ofTheTimersService = []string{"Type", "ExecStart", "TimeoutStartSec"}
	ofTheDaemon        = []string{"Type", "ExecStart", "ExecReload", "Restart", "RestartSec", "WatchdogSec", "RuntimeDirectory"}
)

func TestBothServicesHaveTheSameSandbox(t *testing.T) {
	t.Parallel()
	once := serviceLines(t, "contrib/systemd/keepkey.service", ofTheTimersService)
	daemon := serviceLines(t, "contrib/systemd/keepkey-daemon.service", ofTheDaemon)
	for _, line := range once {
		if !slices.Contains(daemon, line) {
			t.Errorf("the daemon's unit lacks %s", line)
		}
	}
	for _, line := range daemon {
		if !slices.Contains(once, line) {
			t.Errorf("keepkey.service lacks %s", line)
		}
	}
	if len(once) < 30 || !slices.Contains(once, "NoNewPrivileges=true") {
		t.Errorf("there are only %d lines: the test looks in the wrong place", len(once))
	}
}

// serviceLines returns the settings in the section [Service] of a unit, without its own.
// Those that it must have and does not are an error.
func serviceLines(t *testing.T, path string, own []string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(data), "\n[Service]\n")
	section, _, _ = strings.Cut(section, "\n[")
	var lines []string
	missing := slices.Clone(own)
	for line := range strings.Lines(section) {
		line = strings.TrimSpace(line)
		key, _, setting := strings.Cut(line, "=")
		if !setting || strings.HasPrefix(line, "#") {
			continue
		}
		if !slices.Contains(own, key) {
			lines = append(lines, line)
		}
		missing = slices.DeleteFunc(missing, func(k string) bool { return k == key })
	}
	if len(missing) > 0 {
		t.Errorf("%s lacks %q", path, missing)
	}
	return lines
}
