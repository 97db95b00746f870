package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestCompletionKnowsCommandsAndFlags has bash load the completion that is shipped, and
// complete what stands before the cursor.
func TestCompletionKnowsCommandsAndFlags(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash")
	}
	script, err := filepath.Abs("../contrib/completion/keepkey.bash")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, "keepkey")); err != nil { // see TestMain
		t.Fatal(err)
	}
	for _, test := range []struct {
		line    []string
		want    []string
		without string
	}{
		{[]string{"r"}, []string{"renew", "rotate"}, "status"},
		{[]string{"channel", ""}, []string{"confirm", "retire"}, "renew"},
		{[]string{"rotate", "--"}, []string{"--name", "--domain", "--compromised", "--undo", "--config"}, "--force"},
		{[]string{"rotate", "--com"}, []string{"--compromised"}, "--name"},
		{[]string{"--config", "other.yaml", "st"}, []string{"status"}, "renew"},
		{[]string{"rotate", "--name", ""}, nil, "--name"},
		{[]string{"$(touch " + bin + "/ran)", ""}, nil, ""},
	} {
		cmd := exec.Command(bash, append([]string{"--norc", "-c", `source "$1"; shift; COMP_WORDS=(keepkey "$@"); COMP_CWORD=$#; _keepkey; printf '%s\n' "${COMPREPLY[@]}"`, "bash", script}, test.line...)...)
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Fields(string(out))
		for _, want := range test.want {
			if !slices.Contains(got, want) {
				t.Errorf("%q: %q, want %s among them", test.line, got, want)
			}
		}
		if slices.Contains(got, test.without) {
			t.Errorf("%q: %q, which should be without %s", test.line, got, test.without)
		}
	}
	if _, err := os.Stat(filepath.Join(bin, "ran")); err == nil {
		t.Error("a command in the line was run")
	}
}
