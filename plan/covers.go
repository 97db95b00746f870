package plan

import "strings"

// Covers reports whether names of a certificate, of which some may be wildcards, include a host
// (RFC 9525 section 6.3): a wildcard stands for exactly one label.
func Covers(names []string, host string) bool {
	_, parent, below := strings.Cut(host, ".")
	for _, name := range names {
		if of, wildcard := strings.CutPrefix(name, "*."); name == host || (wildcard && below && of == parent) {
			return true
		}
	}
	return false
}
