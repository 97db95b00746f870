//go:build !alldns

package acme

import (
	"slices"
	"strings"
	"testing"
)

func TestKnownDNSProvider(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"cloudflare": "", "rfc2136": "", "acme-dns": "", "route53": "", "ns1": "",
		"gcloud":   "-tags alldns",
		"nonesuch": "there is no DNS provider",
		"manual":   "there is no DNS provider",
	} {
		err := KnownDNSProvider(name)
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
	if len(constructors) < 40 {
		t.Fatalf("%d providers", len(constructors))
	}
	for name := range constructors {
		if !slices.Contains(strings.Fields(legoProviders), name) {
			t.Errorf("%s is not", name)
		}
	}
}
