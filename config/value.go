package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"keepkey/internal/trusted"
	"keepkey/probe"
)

// pathAt reads a path, which must not lead into the state directory: see [decoder.outside].
func (d *decoder) pathAt(dest *string, want string, n *yaml.Node, path string) bool {
	if !d.textAt(dest, want, n, path) {
		return false
	}
	*dest = d.resolve(*dest)
	d.paths = append(d.paths, namedPath{n.Line, path, *dest})
	return true
}

// outside refuses paths that lead into the state directory: what is published there, or
// answers a challenge, would overwrite keys.
func (d *decoder) outside(state string) {
	known := make(map[string]string) // directories, where they really are
	root := real(state, known)
	for _, n := range d.paths {
		if within(root, real(n.path, known)) {
			d.errs = append(d.errs, Error{File: d.file, Line: n.line, Path: n.key, Text: fmt.Sprintf("%q is in the state directory %s, where only keepkey's own files are: choose another place", n.path, state)})
		}
	}
}

// Owns reports whether an absolute path leads into the state directory, where only keepkey's
// own files are.
func (c *Config) Owns(path string) bool {
	known := make(map[string]string)
	return within(real(c.State, known), real(path, known))
}

// within reports whether a path is a directory, or leads into it.
func within(root, path string) bool {
	return path == root || strings.HasPrefix(path, root+string(filepath.Separator))
}

// real returns where a path leads, as far as it is there.
func real(path string, known map[string]string) string {
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		if target, err := filepath.EvalSymlinks(path); err == nil {
			return target
		}
	}
	dir := filepath.Dir(path)
	if dir == path {
		return path
	}
	if _, seen := known[dir]; !seen {
		known[dir] = real(dir, known)
	}
	return filepath.Join(known[dir], filepath.Base(path))
}

func (d *decoder) resolve(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(d.dir, path)
}

func (d *decoder) path(dest *string, want string) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		if d.textAt(dest, want, n, path) {
			*dest = d.resolve(*dest)
		}
	}
}

// maxBundle bounds a file of certificates, in bytes.
const maxBundle = 1 << 20

// readable reads the path of a file that must be there for keepkey to read, and that is to be
// trusted.
func (d *decoder) readable(dest *string, want string) func(*yaml.Node, string) {
	return d.named(dest, want, func(path string) ([]byte, error) { return trusted.Read(path, maxBundle) })
}

// secret does the same for a file that holds a secret.
func (d *decoder) secret(dest *string, want string) func(*yaml.Node, string) {
	return d.named(dest, want, trusted.ReadSecret)
}

func (d *decoder) named(dest *string, want string, read func(path string) ([]byte, error)) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		if !d.pathAt(dest, want, n, path) {
			return
		}
		info, err := os.Stat(*dest)
		if err == nil && info.IsDir() {
			d.errorf(n, path, "%q is a directory: want %s", *dest, want)
			return
		}
		if err == nil {
			_, err = read(*dest)
		}
		switch pe := (*fs.PathError)(nil); {
		case errors.As(err, &pe):
			d.errorf(n, path, "cannot read %q: %v", *dest, pe.Err)
		case err != nil:
			d.errorf(n, path, "%v", err)
		}
	}
}

func (d *decoder) directory(dest *string, want string) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		if !d.pathAt(dest, want, n, path) {
			return
		}
		info, err := os.Stat(*dest)
		switch {
		case err != nil:
			d.errorf(n, path, "cannot use %q: %v", *dest, reason(err))
		case !info.IsDir():
			d.errorf(n, path, "%q is not a directory", *dest)
		}
	}
}

// reason removes the path from an error of the file system: the message has it
// already, quoted.
func reason(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

func (d *decoder) listen(dest *string) func(*yaml.Node, string) {
	const want = `an address to listen on, such as ":80" or "192.0.2.1:80"`
	return func(n *yaml.Node, path string) {
		var s string
		if !d.textAt(&s, want, n, path) {
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
		*dest = net.JoinHostPort(host, port)
	}
}

func (d *decoder) addresses(dest *[]string, want string, read func(string) (string, error)) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		d.sequence(n, path, func(n *yaml.Node, path string) {
			var s string
			if !d.textAt(&s, want, n, path) {
				return
			}
			addr, err := read(s)
			if err != nil {
				d.errorf(n, path, "%.100q: want %s", s, want)
				return
			}
			*dest = append(*dest, addr)
		})
	}
}

// toResolve reads the address of a DNS server.
func toResolve(s string) (string, error) { return withPort(s, "53") }

// whatToCheck are the forms of an address at which a server is looked at.
const whatToCheck = "an address as host or host:port where TLS begins at once, with smtp://, imap://, pop3://, ldap://, xmpp:// or postgres:// before it for STARTTLS"

// toCheck reads an address at which a server is looked at.
func toCheck(s string) (string, error) {
	protocol, rest, port, known := probe.Split(s)
	if !known {
		return "", errNoAddress
	}
	addr, err := withPort(rest, port)
	if protocol != "" {
		addr = protocol + "://" + addr
	}
	return addr, err
}

var errNoAddress = errors.New("not an address")

// withPort reads host or host:port.
func withPort(s, defaultPort string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil { // no port; an IPv6 address may be in brackets
		host, port = s, defaultPort
		if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
			host = s[1 : len(s)-1]
		}
	}
	if host, err = parseHost(host); err != nil {
		return "", err
	}
	if !validPort(port) {
		return "", errNoAddress
	}
	return net.JoinHostPort(host, port), nil
}

// parseHost reads what can be connected to: an IP address or a host name, which may
// have a single label.
func parseHost(s string) (string, error) {
	if _, err := netip.ParseAddr(s); err == nil {
		return s, nil
	}
	return toASCII(s)
}

func validPort(s string) bool {
	port, err := strconv.ParseUint(s, 10, 16) // takes no sign
	return err == nil && port >= 1
}
