package config

import (
	"net"
	"net/url"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// hooks reads a list of hooks. Only a publication has something to write to a file.
func (d *decoder) hooks(dest *[]Hook, publish bool) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		d.sequence(n, path, func(n *yaml.Node, path string) {
			h := Hook{Timeout: time.Minute}
			known := fields{
				"command": func(n *yaml.Node, path string) { d.command(&h.Command, n, path) },
				"webhook": func(n *yaml.Node, path string) { d.webhook(&h, n, path) },
				"timeout": d.timeout(&h.Timeout),
			}
			kinds := []string{"command", "webhook"}
			if publish {
				known["file"] = d.publishFile(&h.File)
				kinds = []string{"command", "file", "webhook"}
			}
			before := len(d.errs)
			d.mapping(n, path, known)
			d.exactlyOne(n, path, before, kinds...)
			*dest = append(*dest, h)
		})
	}
}

func (d *decoder) command(dest *[]string, n *yaml.Node, path string) {
	if n.Kind == yaml.ScalarNode {
		d.errorf(n, path, "want a list of arguments, found %s; no shell is involved, so write [program, argument, ...]", found(n))
		return
	}
	args := []string{}
	before := len(d.errs)
	d.sequence(n, path, func(n *yaml.Node, path string) {
		if !d.is(n, path, yaml.ScalarNode, "an argument") {
			return
		}
		if n.Tag == "!!null" || n.Value == "" || strings.Contains(n.Value, "\x00") {
			d.errorf(n, path, "want an argument, found %s", found(n))
			return
		}
		args = append(args, n.Value) // 1 and true are arguments too
	})
	if len(d.errs) > before {
		return
	}
	if len(args) == 0 {
		d.errorf(n, path, "want a list that begins with a program")
		return
	}
	if strings.Contains(args[0], "/") {
		args[0] = d.resolve(args[0])
	}
	*dest = args
}

// exactlyOne complains unless one of the keys is given. A mapping in which
// something else is wrong may have meant one: before is the number of mistakes
// before it was read.
func (d *decoder) exactlyOne(n *yaml.Node, path string, before int, keys ...string) {
	count := given(n, keys...)
	if n.Kind == yaml.MappingNode && (count > 1 || (count == 0 && len(d.errs) == before)) {
		d.errorf(n, path, "want exactly one of %s", strings.Join(keys, ", "))
	}
}

// publishFile reads the path of a file to publish to. Two publications must not
// overwrite each other.
func (d *decoder) publishFile(dest *string) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		if !d.textAt(dest, "the path of a file", n, path) {
			return
		}
		*dest = d.resolve(*dest)
		if line, taken := d.published[*dest]; taken {
			d.errorf(n, path, "%q is published to already, in line %d", *dest, line)
			return
		}
		d.published[*dest] = n.Line
	}
}

func (d *decoder) webhook(h *Hook, n *yaml.Node, path string) {
	h.Webhook = &Webhook{}
	d.mapping(n, path, fields{
		"url":         d.httpsURL(&h.Webhook.URL),
		"secret_file": d.readable(&h.Webhook.SecretFile, "the path of a file with the key that signs requests"),
	})
	if n.Kind == yaml.MappingNode && given(n, "url") == 0 {
		d.errorf(n, path, "url is missing: want an https URL")
	}
}

func (d *decoder) httpsURL(dest *string) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		if !d.textAt(dest, "an https URL", n, path) {
			return
		}
		u, err := url.Parse(*dest)
		if err != nil || u.Hostname() == "" || (u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname()))) {
			d.errorf(n, path, "%.200q: want an https URL (http to this machine only)", *dest)
		}
	}
}

func (d *decoder) timeout(dest *time.Duration) func(*yaml.Node, string) {
	return d.duration(dest, time.Second, time.Hour, "a duration from 1s to 1h")
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}
