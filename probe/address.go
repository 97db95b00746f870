package probe

import (
	"fmt"
	"net"
	"strings"
)

// Address is where a server is looked at.
type Address struct {
	Protocol string // in which TLS is asked for; "" where it begins at once
	Host     string // a name or an IP address, without brackets
	Port     string
}

// Split takes the protocol off an address as people write it, and says which port is meant
// where none is given: "smtp://mail.example.com" has port 25. known is false for a protocol
// that there is no way to ask in.
func Split(s string) (protocol, rest, port string, known bool) {
	protocol, rest, found := strings.Cut(s, "://")
	if !found {
		return "", s, "443", true
	}
	p, known := protocols[protocol]
	return protocol, rest, p.port, known
}

// Parse reads an address with its port.
func Parse(s string) (Address, error) {
	protocol, rest, _, known := Split(s)
	if !known {
		return Address{}, fmt.Errorf("%.100q: there is no way to ask for TLS by %q", s, protocol)
	}
	host, port, err := net.SplitHostPort(rest)
	if err != nil {
		return Address{}, err
	}
	return Address{protocol, host, port}, nil
}

func (a Address) String() string {
	s := net.JoinHostPort(a.Host, a.Port)
	if a.Protocol != "" {
		s = a.Protocol + "://" + s
	}
	return s
}
