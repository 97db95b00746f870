package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
)

var hostnames = idna.New(
	idna.MapForLookup(), idna.Transitional(false), idna.BidiRule(),
	idna.StrictDomainName(true), idna.VerifyDNSLength(true),
)

// ParseDomain brings a domain name to the form in which it is kept: A-labels
// (RFC 5890 section 2.3.2.1) in lower case without a trailing dot, perhaps
// beginning with "*.".
func ParseDomain(s string) (string, error) {
	rest, wildcard := strings.CutPrefix(s, "*.")
	rest = strings.TrimSuffix(rest, ".")
	if rest == "" {
		return "", errors.New("a domain name is empty")
	}
	if _, err := netip.ParseAddr(rest); err == nil {
		return "", fmt.Errorf("%q is an address: want a domain name", s)
	}
	ascii, err := hostnames.ToASCII(rest)
	if err != nil {
		return "", fmt.Errorf("%q is no domain name: want labels of letters, digits and hyphens, up to 63 octets each and 253 in all", s)
	}
	if len(ascii) > 253 {
		return "", fmt.Errorf("%q is too long: a domain name has at most 253 octets", s)
	}
	labels := strings.Split(ascii, ".")
	if len(labels) < 2 {
		return "", fmt.Errorf("%q has one label only: want a full domain name such as www.example.com", s)
	}
	if strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		return "", fmt.Errorf("%q is no domain name: its last label is a number", s)
	}
	if wildcard {
		return "*." + ascii, nil
	}
	return ascii, nil
}
