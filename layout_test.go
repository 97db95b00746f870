package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// mayImport is the architecture: what each package may import of ours. A package
// that is not in the table has no place yet; think before adding it.
var mayImport = map[string][]string{
	"keepkey":                         {"keepkey/acme/dns", "keepkey/cli"},
	"keepkey/cli":                     {"keepkey/acme", "keepkey/acme/dns", "keepkey/apply", "keepkey/config", "keepkey/daemon", "keepkey/hooks", "keepkey/internal/trusted", "keepkey/keystore", "keepkey/page", "keepkey/pinset", "keepkey/pinset/format", "keepkey/plan", "keepkey/report", "keepkey/status"},
	"keepkey/daemon":                  {"keepkey/apply", "keepkey/config", "keepkey/page", "keepkey/plan", "keepkey/report", "keepkey/status"},
	"keepkey/page":                    {"keepkey/pinset", "keepkey/plan", "keepkey/status"},
	"keepkey/status":                  {"keepkey/pinset", "keepkey/plan"},
	"keepkey/apply":                   {"keepkey/acme", "keepkey/acme/dns", "keepkey/config", "keepkey/hooks", "keepkey/internal/trusted", "keepkey/keystore", "keepkey/pinset", "keepkey/pinset/format", "keepkey/plan", "keepkey/probe", "keepkey/report", "keepkey/status"},
	"keepkey/plan":                    {"keepkey/pinset", "keepkey/report"},
	"keepkey/config":                  {"keepkey/hooks", "keepkey/internal/nearest", "keepkey/internal/trusted", "keepkey/pinset", "keepkey/pinset/format", "keepkey/probe"},
	"keepkey/invariant":               {"keepkey/internal/durable", "keepkey/keystore", "keepkey/pinset", "keepkey/plan"},
	"keepkey/keystore":                {"keepkey/internal/durable", "keepkey/internal/trusted", "keepkey/pinset"},
	"keepkey/acme":                    {"keepkey/internal/fault"},
	"keepkey/acme/dns":                {"keepkey/internal/nearest", "keepkey/internal/trusted"},
	"keepkey/acme/dns/internal/names": {}, // generates the list of lego's providers
	"keepkey/hooks":                   {"keepkey/internal/durable", "keepkey/internal/fault", "keepkey/internal/trusted"},
	"keepkey/probe":                   {},
	"keepkey/pinset":                  {},
	"keepkey/pinset/format":           {"keepkey/pinset"},
	"keepkey/report":                  {"keepkey/pinset"},
	"keepkey/internal/durable":        {"keepkey/internal/fault"},
	"keepkey/internal/fault":          {},
	"keepkey/internal/nearest":        {},
	"keepkey/internal/trusted":        {},
	"keepkey/internal/acmetest":       {},                                 // for tests and the demo alone
	"keepkey/internal/scene":          {"keepkey/pinset", "keepkey/plan"}, // for tests alone
	"keepkey/demo":                    {"keepkey/cli", "keepkey/internal/acmetest", "keepkey/pinset"},
}

// pure are the packages that decide, and so must not be able to act: neither by
// themselves nor through anything that they import, but for the standard library.
var pure = []string{"keepkey/pinset", "keepkey/pinset/format", "keepkey/plan", "keepkey/report", "keepkey/status", "keepkey/internal/scene"}

// notInThePure is what acting takes.
var notInThePure = []string{"os", "net", "net/http", "os/exec", "syscall", "math/rand", "math/rand/v2", "log/slog", "gopkg.in/yaml.v3"}

// notShipped must not be in the binary, by itself or through anything else.
var notShipped = []string{"testing", "github.com/letsencrypt/pebble/v2", "keepkey/internal/acmetest", "keepkey/internal/scene"}

// importTesting are packages of others that import "testing" where they should not.
// NS1's client does, for a mock that it ships beside its API; the import registers
// no flags and runs nothing.
var importTesting = []string{"gopkg.in/ns1/ns1-go.v2/rest"}

type listed struct {
	ImportPath string
	Imports    []string
	Standard   bool
}

func list(t *testing.T, patterns ...string) []listed {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports"}, patterns...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, out)
}

func decode(t *testing.T, out []byte) []listed {
	t.Helper()
	var packages []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

func TestPackagesImportOnlyWhatTheLayoutAllows(t *testing.T) {
	t.Parallel()
	packages := list(t, "./...")
	if len(packages) != len(mayImport) {
		t.Errorf("%d packages, and the table has %d", len(packages), len(mayImport))
	}
	for _, p := range packages {
		allowed, known := mayImport[p.ImportPath]
		if !known {
			t.Errorf("%s is not in the table", p.ImportPath)
		}
		for _, imported := range p.Imports {
			if strings.HasPrefix(imported, "keepkey/") && !slices.Contains(allowed, imported) {
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
	}
}

// CONTRIBUTING.md shows the table, and which packages are pure.
func TestContributingShowsTheLayout(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(data), "| package | may import of ours |")
	name := regexp.MustCompile("`([^`]+)`")
	shown := make(map[string]bool)
	for line := range strings.Lines(strings.SplitN(text, "\n\n", 2)[0]) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 || strings.HasPrefix(cells[1], " ---") {
			continue
		}
		var allowed []string
		for _, m := range name.FindAllStringSubmatch(cells[2], -1) {
			allowed = append(allowed, "keepkey/"+m[1])
		}
		for _, m := range name.FindAllStringSubmatch(cells[1], -1) {
			p := "keepkey/" + m[1]
			if m[1] == "main" {
				p = "keepkey"
			}
			shown[p] = true
			if !slices.Equal(allowed, mayImport[p]) {
				t.Errorf("%s may import %q, and CONTRIBUTING.md says %q", p, mayImport[p], allowed)
			}
			if isPure := strings.Contains(cells[1], "(pure)"); isPure != slices.Contains(pure, p) {
				t.Errorf("CONTRIBUTING.md says whether %s is pure: %v", p, isPure)
			}
		}
	}
	if len(shown) != len(mayImport) {
		t.Errorf("CONTRIBUTING.md shows %d packages, and there are %d", len(shown), len(mayImport))
	}
}

func TestThePureCannotActThroughAnybody(t *testing.T) {
	t.Parallel()
	for _, name := range pure {
		out, err := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports,Standard", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range decode(t, out) {
			if p.Standard {
				continue
			}
			if !strings.HasPrefix(p.ImportPath, "keepkey/") {
				t.Errorf("%s is pure, and depends on %s", name, p.ImportPath)
			}
			for _, imported := range p.Imports {
				if slices.Contains(notInThePure, imported) {
					t.Errorf("%s is pure, and %s imports %s", name, p.ImportPath, imported)
				}
			}
		}
	}
}

func TestLegoIsVisibleInTwoPackagesOnly(t *testing.T) {
	t.Parallel()
	may := []string{"keepkey/acme", "keepkey/acme/dns"}
	for _, p := range list(t, "./...") {
		for _, imported := range p.Imports {
			if strings.HasPrefix(imported, "github.com/go-acme/lego/") && !slices.Contains(may, p.ImportPath) {
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
	}
}

func TestNothingMadeForTestsIsShipped(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := decode(t, out)
	if len(packages) < 100 {
		t.Fatalf("only %d packages were listed", len(packages))
	}
	for _, p := range packages {
		for _, imported := range p.Imports {
			for _, not := range notShipped {
				same := imported == not || (not != "testing" && strings.HasPrefix(imported, not+"/"))
				if same && !slices.Contains(importTesting, p.ImportPath) {
					t.Errorf("the binary holds %s, through %s", imported, p.ImportPath)
				}
			}
		}
	}
}
