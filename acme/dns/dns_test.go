package dns

import (
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"cloudflare": "", "rfc2136": "", "acme-dns": "", "route53": "", "ns1": "",
		"gcloud":     "contrib/alldns",
		"rfc2163":    `there is no DNS provider "rfc2163"; did you mean "rfc2136"?`,
		"cloudfare":  `did you mean "cloudflare"?`,
		"manual":     "there is no DNS provider",
		"":           `there is no DNS provider ""; docs`,
		"\x1b[2J":    `"\x1b[2J"`,
		"Cloudflare": `did you mean "cloudflare"?`,
	} {
		err := Providers{}.Check(name)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want one that says %q", name, err, want)
		}
	}
}

func TestEveryProviderOfTheDefaultBuildIsOneOfLegos(t *testing.T) {
	t.Parallel()
	if len(curated) < 40 {
		t.Fatalf("%d providers", len(curated))
	}
	for name := range curated {
		if !slices.Contains(names, name) {
			t.Errorf("%s is not", name)
		}
	}
}

func TestDocumentationListsTheDefaultBuild(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/dns-providers.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(doc), "| provider | MB |")
	table, _, _ = strings.Cut(table, "\n\n")
	var documented []string
	for _, row := range strings.Split(table, "\n") {
		cell, _, _ := strings.Cut(strings.TrimPrefix(row, "|"), "|")
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
			documented = append(documented, m[1])
		}
	}
	slices.Sort(documented)
	if want := slices.Sorted(maps.Keys(curated)); !found || !slices.Equal(documented, want) {
		t.Errorf("docs/dns-providers.md has\n%q, the build has\n%q", documented, want)
	}
}

// The two modules must agree on lego: the names are those of the main module's.
func TestAllDNSIsBuiltWithTheSameLego(t *testing.T) {
	t.Parallel()
	lego := regexp.MustCompile(`(?m)^\s*github\.com/go-acme/lego/v4 (v\S+)`)
	var versions []string
	for _, file := range []string{"../../go.mod", "../../contrib/alldns/go.mod"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m := lego.FindSubmatch(data)
		if m == nil {
			t.Fatalf("%s does not require lego", file)
		}
		versions = append(versions, string(m[1]))
	}
	if versions[0] != versions[1] {
		t.Errorf("go.mod has lego %s, contrib/alldns/go.mod %s", versions[0], versions[1])
	}
}

type fake struct{ name string }

func (fake) Present(_, _, _ string) error { return nil }
func (fake) CleanUp(_, _, _ string) error { return nil }

func TestAllOpensEveryName(t *testing.T) {
	t.Parallel()
	all := All(func(name string) (fake, error) { return fake{name}, nil })
	for _, name := range names {
		if err := all.Check(name); err != nil {
			t.Error(err)
		}
		if p, err := all.Open(name, nil); p != (fake{name}) || err != nil {
			t.Errorf("%s: got %v, %v", name, p, err)
		}
	}
	if _, err := all.Open("nonesuch", nil); err == nil {
		t.Error("a provider that lego does not have was opened")
	}
}

func TestProviderThatFailsOrPanicsIsAnError(t *testing.T) {
	t.Parallel()
	for want, open := range map[string]func(string) (Provider, error){
		"DNS provider httpreq: no endpoint":         func(string) (Provider, error) { return nil, errors.New("no endpoint") },
		`DNS provider httpreq: it panicked: "\x1b"`: func(string) (Provider, error) { panic("\x1b") },
	} {
		if p, err := All(open).Open("httpreq", nil); p != nil || err == nil || err.Error() != want {
			t.Errorf("got %v, %v, want %q", p, err, want)
		}
	}
}

func TestOpenLeavesTheEnvironmentAsItWas(t *testing.T) {
	// Not parallel: the environment is the process's.
	t.Setenv("HTTPREQ_ENDPOINT", "https://before.example")
	os.Unsetenv("HTTPREQ_USERNAME")
	p, err := Providers{}.Open("httpreq", map[string]string{"HTTPREQ_ENDPOINT": "https://inside.example", "HTTPREQ_USERNAME": "u"})
	if err != nil || p == nil {
		t.Fatal(err)
	}
	if got := os.Getenv("HTTPREQ_ENDPOINT"); got != "https://before.example" {
		t.Errorf("HTTPREQ_ENDPOINT is %q afterwards", got)
	}
	if got, ok := os.LookupEnv("HTTPREQ_USERNAME"); ok {
		t.Errorf("HTTPREQ_USERNAME is %q afterwards", got)
	}
	if _, err := (Providers{}).Open("httpreq", map[string]string{"HTTPREQ_ENDPOINT": ""}); err == nil {
		t.Error("a provider without its settings was opened")
	}
	if _, err := (Providers{}).Open("httpreq", map[string]string{"HTTPREQ_PASSWORD": "secret\x00"}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a value that cannot be set: %v", err)
	}
}
