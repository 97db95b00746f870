package cli_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const mistakes = "../testdata/mistakes"

// TestMistakes runs testdata/mistakes/*.txtar: what people get wrong, and what they are
// told. The README there says how to add one.
func TestMistakes(t *testing.T) {
	t.Parallel()
	runScripts(t, scriptsIn(t, mistakes), false)
}

// mistake is the line with which each mistake begins.
var mistake = regexp.MustCompile(`(?m)^# mistake: (.*)$`)

// TestEveryMistakeIsListed holds the table in the README to the scripts beside it, and
// each mistake to saying with which status keepkey ends and what it says.
func TestEveryMistakeIsListed(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(mistakes + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := make(map[string]bool)
	for _, m := range regexp.MustCompile("(?m)^\\| (.+) \\| `(.+)` \\|$").FindAllStringSubmatch(string(readme), -1) {
		listed[m[2]+": "+m[1]] = true
	}
	files, err := filepath.Glob(mistakes + "/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d scripts (%v)", len(files), err)
	}
	count := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		script, _, _ := strings.Cut(string(data), "\n-- ")
		group := strings.TrimSuffix(filepath.Base(file), ".txtar")
		found := mistake.FindAllStringSubmatchIndex(script, -1)
		for i, at := range found {
			end := len(script)
			if i+1 < len(found) {
				end = found[i+1][0]
			}
			name, body := group+": "+script[at[2]:at[3]], script[at[1]:end]
			if !listed[name] {
				t.Errorf("the README does not list it, or it is there twice: %s", name)
			}
			delete(listed, name)
			count++
			if !regexp.MustCompile(`(?m)^(\[.*\] )?(! )?(status|plain|exec) .*keepkey`).MatchString(body) || !regexp.MustCompile(`(?m)^(\[.*\] )?(! )?(stdout|stderr) `).MatchString(body) {
				t.Errorf("nothing shows what keepkey says: %s", name)
			}
		}
	}
	for name := range listed {
		t.Errorf("the README lists it, and no script has it: %s", name)
	}
	if count < 68 {
		t.Errorf("%d mistakes, and the trial alone had 68", count)
	}
}
