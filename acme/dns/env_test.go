package dns

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseEnv(t *testing.T) {
	t.Parallel()
	if _, line, err := parseEnv("# a comment\n\nA=1\nexport B=two words\n  C = no\n"); err == nil || line != 5 {
		t.Errorf("a name with a space: line %d, %v", line, err)
	}
	env, _, err := parseEnv("A=1\nexport B=two words\nC=\"q=#1\"\nD='x'\nE=\n")
	if err != nil {
		t.Fatal(err)
	}
	got, _ := json.Marshal(env)
	if want := `{"A":"1","B":"two words","C":"q=#1","D":"x","E":""}`; string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, bad := range []string{"A", "=1", "1A=1", "A=1\nA=2", `A="secret`, `A="`, "A=\x00"} {
		_, line, err := parseEnv(bad)
		if err == nil || line == 0 || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: line %d, %v", bad, line, err)
		}
	}
}

func FuzzParseEnv(f *testing.F) {
	f.Add("A=1\nexport B='2'\n# c\n")
	f.Fuzz(func(t *testing.T, data string) {
		env, _, err := parseEnv(data)
		if err != nil {
			return
		}
		for name, value := range env {
			if !validVariable.MatchString(name) || strings.Contains(value, "\x00") {
				t.Errorf("%q=%q", name, value)
			}
		}
	})
}

func TestReadEnvFile(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	for name, tt := range map[string]struct {
		content string
		mode    os.FileMode
		want    string // in the error
	}{
		"one's own":                   {"A=" + secret, 0o600, ""},
		"for a group":                 {"A=" + secret, 0o640, ""},
		"that everybody can read":     {"A=" + secret, 0o644, "chmod o-r"},
		"that everybody can write":    {"A=" + secret, 0o602, "chmod o-w"},
		"with a mistake":              {"A=1\nB\nC=" + secret, 0o600, "file:2: want NAME=VALUE"},
		"with a secret without name":  {"A=1\n" + secret, 0o600, "file:2: want NAME=VALUE"},
		"that is longer than can be":  {"A=" + strings.Repeat("x", 64<<10), 0o600, "longer than 65536 bytes"},
		"that is just as long":        {"A=" + strings.Repeat("x", 64<<10-2), 0o600, ""},
		"that begins with a BOM":      {"\ufeffA=1", 0o600, "file:1: want NAME=VALUE"},
		"with lines ended by CR, LF":  {"A=" + secret + "\r\n", 0o600, ""},
		"with nothing in it":          {"", 0o600, ""},
		"with one variable set twice": {"A=1\nA=" + secret, 0o600, "file:2: A is listed twice"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			env, err := ReadEnvFile(path)
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want == "" && strings.Contains(tt.content, secret) && env["A"] != secret:
				t.Errorf("A is %q", env["A"])
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), secret)):
				t.Errorf("got %v, want one that says %q and shows no value", err, tt.want)
			}
		})
	}
	if _, err := ReadEnvFile(filepath.Join(t.TempDir(), "none")); !os.IsNotExist(err) {
		t.Errorf("no file: %v", err)
	}
}
