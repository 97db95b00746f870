package config

import (
	"net"
	"strings"

	"gopkg.in/yaml.v3"
)

// Listen is where the daemon answers over HTTP. The zero Listen is nowhere.
type Listen struct {
	Network string // "unix" or "tcp"; "" for nowhere
	Address string // the absolute path of a socket, or host:port
	Public  bool   // other machines may reach it
}

// String writes it as the configuration has it.
func (l Listen) String() string {
	if l.Network == "unix" {
		return "unix:" + l.Address
	}
	return l.Address
}

// maxSocket is how long the path of a Unix socket may be, in bytes, on every system.
const maxSocket = 103

// web reads where the daemon listens, and listen_public with it, wherever they are in the file.
func (d *decoder) web(dest *Listen, root *yaml.Node) {
	public := false
	if n := valueOf(root, "listen_public"); n != nil {
		d.truth(&public)(n, "listen_public")
		if given(root, "listen") == 0 {
			d.errorf(n, "listen_public", "there is no `listen` that it could be about: say where to listen, such as listen: \":8443\"")
		}
	}
	n := valueOf(root, "listen")
	if n == nil {
		return
	}
	d.http = dest
	d.webAt(dest, n)
	if dest.Public && !public {
		d.errorf(n, "listen", "other machines can reach %s, and would see the page: want a Unix socket, or an address of this machine alone such as \"127.0.0.1:8443\"; if others may see it, say so with listen_public: true", dest)
	}
}

func (d *decoder) webAt(dest *Listen, n *yaml.Node) {
	const path, want = "listen", `the path of a socket such as unix:/run/keepkey/http, or an address such as "127.0.0.1:8443"`
	var s string
	if !d.textAt(&s, want, n, path) {
		return
	}
	if file, unix := strings.CutPrefix(s, "unix:"); unix {
		file = d.resolve(file)
		if file == d.dir || len(file) > maxSocket {
			d.errorf(n, path, "%.200q: want the path of a socket, at most %d bytes long", s, maxSocket)
			return
		}
		d.paths = append(d.paths, namedPath{n.Line, path, file})
		*dest = Listen{Network: "unix", Address: file}
		return
	}
	host, port, err := net.SplitHostPort(s)
	if err == nil && host != "" {
		host, err = parseHost(host)
	}
	if err != nil || !validPort(port) {
		d.errorf(n, path, "%.100q: want %s", s, want)
		return
	}
	*dest = Listen{Network: "tcp", Address: net.JoinHostPort(host, port), Public: !loopback(host)}
}
