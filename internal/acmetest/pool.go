package acmetest

import (
	"net"
	"strings"
)

// poolIPs are where the servers of a pool are: of both families.
var poolIPs = []string{"127.0.0.2", "::1", "127.0.0.3", "127.0.0.4", "127.0.0.5"}

// Pool listens for several servers of one host, each at an IP of its own and all at one port,
// and lets the DNS have their addresses: 127.0.0.2, ::1, 127.0.0.3, and so on.
func (d *DNS) Pool(host string, n int) (servers []net.Listener, addr string, err error) {
	port := "0"
	for tries := 0; len(servers) < n; {
		l, err := net.Listen("tcp", net.JoinHostPort(poolIPs[len(servers)], port))
		if err == nil {
			servers = append(servers, l)
			_, port, _ = net.SplitHostPort(l.Addr().String())
			continue
		}
		for _, l := range servers {
			l.Close()
		}
		if tries++; tries == 20 {
			return nil, "", err
		}
		servers, port = nil, "0" // the port is taken there
	}
	for _, ip := range poolIPs[:n] {
		kind := "A"
		if strings.Contains(ip, ":") {
			kind = "AAAA"
		}
		if err := d.Add(host + ". " + kind + " " + ip); err != nil {
			return nil, "", err
		}
	}
	return servers, net.JoinHostPort(host, port), nil
}
