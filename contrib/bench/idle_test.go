package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Not parallel: it shortens what others wait for.
func TestIdleProgramIsMeasured(t *testing.T) {
	defer func(d time.Duration) { still = d }(still)
	still = 300 * time.Millisecond
	config := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(config, []byte("one\ntwo\nthree\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := idler{name: "a shell", args: []string{"sh", "-c", `trap 'cat "$1" >&2; echo read again >&2' HUP; while :; do sleep 0.01; done`, "sh", config}, config: config, reload: "read again"}
	r, err := p.measure(t.Context(), 100*time.Millisecond)
	if err != nil || r.memory <= 0 || r.later <= 0 || r.reload <= 0 || r.reloads <= 0 {
		t.Errorf("got %+v, %v", r, err)
	}
	if data, err := os.ReadFile(config); string(data) != "one\ntwo\n" {
		t.Errorf("the configuration is %q, %v", data, err)
	}
	p.args = []string{"sh", "-c", "echo what is wrong >&2; exit 3"}
	if _, err := p.measure(t.Context(), time.Minute); err == nil {
		t.Error("a program that ends: no error")
	}
}
