package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"keepkey/config"
)

func readme(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestConfigurationsInTheReadmeAreValid(t *testing.T) {
	t.Parallel()
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(readme(t), -1)
	if len(blocks) == 0 {
		t.Fatal("the README shows no configuration")
	}
	for _, b := range blocks {
		if _, err := config.Parse("/etc/keepkey/config.yaml", []byte(b[1])); err != nil {
			t.Errorf("%v in\n%s", err, b[1])
		}
	}
}

func TestLinksInTheDocumentationLeadSomewhere(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("docs/*.md")
	if err != nil || len(files) < 4 {
		t.Fatalf("%q, %v", files, err)
	}
	checked := 0
	for _, file := range append(files, "README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md") {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range regexp.MustCompile(`\]\(([^)#]+)\)`).FindAllStringSubmatch(string(data), -1) {
			if strings.Contains(link[1], "://") {
				continue
			}
			checked++
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), link[1])); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
	if checked < 5 {
		t.Errorf("only %d links were found", checked)
	}
}

// The README's table of dependencies and go.mod must agree.
func TestEveryDependencyHasItsLine(t *testing.T) {
	t.Parallel()
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	direct, _, _ := strings.Cut(string(mod), "\n)")
	modules := regexp.MustCompile(`(?m)^\t(\S+) v`).FindAllStringSubmatch(direct, -1)
	if len(modules) < 5 {
		t.Fatalf("%d modules were found in go.mod", len(modules))
	}
	for _, m := range modules {
		if !strings.Contains(readme(t), "| "+m[1]+" |") {
			t.Errorf("the README does not say what %s is for", m[1])
		}
	}
}
