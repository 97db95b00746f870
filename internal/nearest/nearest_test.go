package nearest

import "testing"

func TestWord(t *testing.T) {
	t.Parallel()
	known := []string{"cloudflare", "cloudns", "route53", "rfc2136"}
	for typed, want := range map[string]string{
		"cloudflare": "cloudflare",
		"cloudfare":  "cloudflare",
		"rfc2163":    "rfc2136",
		"route-53":   "route53",
		"clouddns":   "cloudns",
		"ovh":        "",
		"":           "",
	} {
		if got := Word(typed, known); got != want {
			t.Errorf("%q: got %q, want %q", typed, got, want)
		}
	}
}

func TestEditDistance(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0},
		{"abc", "abd", 1}, {"abc", "ab", 1}, {"abc", "xabc", 1}, {"abc", "acb", 2}, {"kitten", "sitting", 3},
	} {
		if got := editDistance(tt.a, tt.b); got != tt.want {
			t.Errorf("%q, %q: got %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
