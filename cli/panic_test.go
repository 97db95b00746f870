package cli_test

import (
	"bytes"
	"strings"
	"testing"

	"keepkey/cli"
)

// Status 2 is for mistakes in the configuration, and is what Go ends with by itself.
func TestABugIsAFailure(t *testing.T) {
	t.Parallel()
	if raceDetector {
		oneAtATime.Lock()
		defer oneAtATime.Unlock()
	}
	var out bytes.Buffer
	status := cli.Run(t.Context(), cli.Env{
		Args: []string{"keepkey", "status"}, Stdout: &out, Stderr: &out, Getenv: func(string) string { panic("no environment") },
	})
	if status != 1 || !strings.Contains(out.String(), "keepkey: broke down (no environment); this is a bug in keepkey") {
		t.Errorf("status %d\n%s", status, &out)
	}
}
