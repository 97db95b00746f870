package apply

import (
	"slices"
	"testing"

	"keepkey/config"
)

func TestServersAreAskedForADomainOfTheCertificate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		host    string
		domains []string
		want    string
	}{
		{"api.example.com", []string{"www.example.com", "api.example.com"}, "api.example.com"},
		{"web1.internal", []string{"www.example.com", "api.example.com"}, "www.example.com"},
		{"192.0.2.1", []string{"www.example.com"}, "www.example.com"},
		{"2001:db8::1", []string{"www.example.com"}, "www.example.com"},
		{"localhost", []string{"www.example.com"}, "www.example.com"},
		{"mail.example.com", []string{"*.example.com"}, "mail.example.com"},
		{"a.mail.example.com", []string{"*.example.com", "example.com"}, "example.com"},
		{"192.0.2.1", []string{"*.example.com"}, "www.example.com"},
	} {
		if got := nameAt(tt.host, tt.domains); got != tt.want {
			t.Errorf("%s with %q: %s, want %s", tt.host, tt.domains, got, tt.want)
		}
	}
}

func TestDomainsAreLookedAtWhereNothingElseIsConfigured(t *testing.T) {
	t.Parallel()
	cert := config.Certificate{Domains: []string{"www.example.com", "*.example.com", "api.example.com"}}
	if got := toCheck(cert); !slices.Equal(got, []string{"www.example.com:443", "api.example.com:443"}) {
		t.Errorf("%q", got)
	}
	cert.Check = []string{"smtp://mail.example.com:25"}
	if got := toCheck(cert); !slices.Equal(got, cert.Check) {
		t.Errorf("%q", got)
	}
}
