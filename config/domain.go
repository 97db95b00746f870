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

// ParseDomain normalizes a domain name: A-labels (RFC 5890 section 2.3.2.1) in lower
// case, without a trailing dot, perhaps beginning with "*.".
func ParseDomain(s string) (string, error) {
	rest, wildcard := strings.CutPrefix(s, "*.")
	if strings.Trim(rest, ".") == "" {
		return "", errors.New("a domain name is empty")
	}
	if _, err := netip.ParseAddr(strings.TrimSuffix(rest, ".")); err == nil {
		return "", fmt.Errorf("%.300q is an IP address, for which keepkey obtains no certificates: want a domain name", s)
	}
	ascii, err := toASCII(rest)
	if err != nil {
		return "", fmt.Errorf("%.300q %w%s", s, err, meant(s))
	}
	if !strings.Contains(ascii, ".") {
		return "", fmt.Errorf("%.300q has only one label: want a full domain name such as www.example.com", s)
	}
	if wildcard {
		ascii = "*." + ascii
		if len(ascii) > maxName {
			return "", fmt.Errorf("%.300q %w", s, errTooLong)
		}
	}
	return ascii, nil
}

// meant says what somebody may have meant by what is no domain name.
func meant(s string) string {
	switch {
	case strings.ContainsAny(s, " ,"):
		return "; several names are a list: [www.example.com, api.example.com]"
	case strings.ContainsAny(s, ":/"):
		return "; give the name alone, without https://, port and path"
	case strings.Contains(s, "_"):
		return "; no CA issues certificates for a name with an underscore"
	case strings.Contains(s, "*"):
		return `; a "*" can only be all of the first label`
	}
	return ""
}

const (
	maxName = 253
	// maxInput bounds a name before it is converted, in octets: more than any name of
	// maxName octets is converted from, and little enough for a conversion whose time
	// grows with the square of the length.
	maxInput = 1024
)

var (
	errNoName  = errors.New("is not a domain name: want labels of letters, digits and hyphens, up to 63 octets each and 253 in all")
	errNumeric = errors.New("is not a domain name: its last label is a number")
	errTooLong = errors.New("is too long: a domain name has at most 253 octets")
)

// toASCII normalizes a host name, without a trailing dot.
func toASCII(s string) (string, error) {
	if len(s) > maxInput {
		return "", errTooLong
	}
	ascii, err := hostnames.ToASCII(s)
	if err != nil {
		return "", errNoName
	}
	ascii = strings.TrimSuffix(ascii, ".") // after the conversion, which maps other full stops to this one
	if len(ascii) > maxName {
		return "", errTooLong
	}
	last := ascii[strings.LastIndexByte(ascii, '.')+1:]
	switch {
	case last == "":
		return "", errNoName
	case strings.Trim(last, "0123456789") == "":
		return "", errNumeric
	}
	return ascii, nil
}
