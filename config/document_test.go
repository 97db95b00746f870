package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Root, and who hands work to a daemon, read what belongs to the owner of the state directory.
func TestTheOwnerOfTheStateDirectoryMayHaveTheConfiguration(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	const service, other = 65531, 65532
	for name, tt := range map[string]struct {
		state, file int // whose they are; no state directory with -1
		mode        os.FileMode
		want        string // part of the error
	}{
		"both the service's": {state: service, file: service, mode: 0o600},
		"root's file":        {state: service, file: 0, mode: 0o640},
		"no state directory": {state: -1, file: service, mode: 0o600, want: "/config.yaml belongs to uid 65531, who could change it"},
		"another's file":     {state: service, file: other, mode: 0o600, want: "/config.yaml belongs to uid 65532, who could change it"},
		"for all to write":   {state: service, file: service, mode: 0o602, want: "/config.yaml belongs to uid 65531, who could change it"},
		"root's state":       {state: 0, file: other, mode: 0o600, want: "/config.yaml belongs to uid 65532, who could change it"},
	} {
		dir, err := os.MkdirTemp("", "keepkey-config-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		path, state := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "state")
		if err := os.WriteFile(path, []byte("operators: ops\nstate: state\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, tt.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, tt.file, tt.file); err != nil {
			t.Fatal(err)
		}
		if tt.state >= 0 {
			if err := os.Mkdir(state, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(state, tt.state, tt.state); err != nil {
				t.Fatal(err)
			}
		}
		d, err := Read(path)
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %q", name, err, tt.want)
			}
			continue
		}
		if err != nil || d.State != state || d.Operators != "ops" || d.File != path {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}

func TestAMistakeInTheStateDirectoryMeansNone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.yaml")
	for text, want := range map[string]string{
		"certificates: []\n": "/var/lib/keepkey", "state: [a]\n": "", "state: \"\"\n": "", "state: /x/../y\n": "/y", "- a\n": "/var/lib/keepkey",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := Read(path)
		if err != nil || d.State != want {
			t.Errorf("%q: %+v, %v, want %q", text, d, err, want)
		}
	}
}

// What is known before all is read is what the whole says.
func TestWhatIsReadFirstIsWhatTheWholeSays(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte("operators: ops\ngroup: web\nstate: ./state/\n"+minimal), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := d.Parse(nil)
	if err != nil || cfg.Operators != "ops" || cfg.Group != "web" || cfg.State != filepath.Join(filepath.Dir(path), "state") || cfg.State != d.State || cfg.Operators != d.Operators {
		t.Errorf("%+v and then %+v, %v", d, cfg, err)
	}
}
