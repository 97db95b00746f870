package config

import (
	"errors"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"keepkey/hooks"
)

// kinds are what a hook or a reader can be: the key that names the kind in the file,
// and the method that reads its value. The timeout is the one given beside that key.
type kinds[T any] map[string]func(d *decoder, n *yaml.Node, path string, timeout time.Duration) T

// publishing, deploying and notifying are the kinds of hooks that the file can name for
// each event, reading are the kinds of places where a document can be read back. A new kind
// is a file in package hooks, and here its method and its line in each table that it
// belongs in.
var (
	publishing = kinds[hooks.Hook]{
		"command": (*decoder).commandHook,
		"file":    (*decoder).fileHook,
		"serve":   (*decoder).serveHook,
		"webhook": (*decoder).webhook,
	}
	deploying = kinds[hooks.Hook]{ // there is no document to write to a file
		"command": (*decoder).commandHook,
		"webhook": (*decoder).webhook,
	}
	notifying = kinds[hooks.Hook]{
		"command": (*decoder).commandHook,
		"email":   (*decoder).email,
		"webhook": (*decoder).webhook,
	}
	reading = kinds[hooks.Reader]{
		"command": (*decoder).commandReader,
		"file":    (*decoder).fileReader,
		"url":     (*decoder).urlReader,
	}
)

// hooks reads a list of hooks.
func (d *decoder) hooks(dest *[]hooks.Hook, known kinds[hooks.Hook]) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		d.sequence(n, path, func(n *yaml.Node, path string) {
			*dest = append(*dest, oneOf(d, n, path, known, maxTimeout))
		})
	}
}

// notify reads the hooks that are told what is wrong.
func (d *decoder) notify(dest *[]hooks.Hook) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		told := make(map[string]string) // by whom, by what the hooks do
		d.sequence(n, path, func(n *yaml.Node, path string) {
			h := oneOf(d, n, path, notifying, maxNotifyTimeout)
			if h == nil {
				return // reported already
			}
			if other, twice := told[h.ID()]; twice {
				d.errorf(n, path, "this does the same as %s", other)
			}
			told[h.ID()] = path
			*dest = append(*dest, h)
		})
		if len(*dest) > maxNotify {
			d.errorf(n, path, "%d hooks: want at most %d", len(*dest), maxNotify)
		}
	}
}

func (d *decoder) readBack(dest *hooks.Reader) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) { *dest = oneOf(d, n, path, reading, maxTimeout) }
}

// How long a hook may take at most. Who waits to be told what is wrong does not wait for long.
const (
	maxTimeout       = time.Hour
	maxNotifyTimeout = 5 * time.Minute
)

// oneOf reads a mapping that names exactly one of the kinds, and perhaps a timeout of at most
// so much.
func oneOf[T any](d *decoder, n *yaml.Node, path string, known kinds[T], most time.Duration) (v T) {
	before := len(d.errs)
	timeout := time.Minute
	if t := valueOf(n, "timeout"); t != nil { // first, wherever it is
		d.duration(&timeout, time.Second, most, "a duration from 1s to "+FormatDuration(most))(t, path+".timeout")
	}
	keys := fields{"timeout": func(*yaml.Node, string) {}}
	for name, decode := range known {
		keys[name] = func(n *yaml.Node, path string) { v = decode(d, n, path, timeout) }
	}
	d.mapping(n, path, keys)
	// If something else is wrong, an unknown key may have been meant as one of them.
	names := slices.Sorted(maps.Keys(known))
	count := given(n, names...)
	if n.Kind == yaml.MappingNode && (count > 1 || (count == 0 && len(d.errs) == before)) {
		d.errorf(n, path, "want exactly one of %s", strings.Join(names, ", "))
	}
	return v
}

func (d *decoder) commandHook(n *yaml.Node, path string, timeout time.Duration) hooks.Hook {
	return hooks.Command{Args: d.command(n, path), Timeout: timeout}
}

func (d *decoder) commandReader(n *yaml.Node, path string, timeout time.Duration) hooks.Reader {
	return hooks.Command{Args: d.command(n, path), Timeout: timeout}
}

// command reads an argument list.
func (d *decoder) command(n *yaml.Node, path string) []string {
	if n.Kind == yaml.ScalarNode {
		d.errorf(n, path, "want a list of arguments, found %s; no shell is involved, so write [program, argument, ...]", found(n))
		return nil
	}
	var args []string
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
		return nil
	}
	if len(args) == 0 {
		d.errorf(n, path, "want a list that begins with a program")
		return nil
	}
	if strings.Contains(args[0], "/") {
		args[0] = d.resolve(args[0])
	}
	if words := strings.Fields(args[0]); len(words) > 1 {
		if _, err := exec.LookPath(args[0]); errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
			d.errorf(n, path, "there is no program %.100q: if these are a program and its arguments, write them apart: [%s]", args[0], strings.Join(words, ", "))
			return nil
		}
	}
	return args
}

// fileHook reads the path of a file to publish to. Two publications must not
// overwrite each other.
func (d *decoder) fileHook(n *yaml.Node, path string, _ time.Duration) hooks.Hook {
	var f hooks.File
	if !d.pathAt(&f.Path, "the path of a file", n, path) {
		return f
	}
	if line, taken := d.published[f.Path]; taken {
		d.errorf(n, path, "%q is already published to, in line %d", f.Path, line)
		return f
	}
	d.published[f.Path] = n.Line
	return f
}

// serveHook reads `serve: true`. What else it asks for is for [decoder.served] to see.
func (d *decoder) serveHook(n *yaml.Node, path string, _ time.Duration) hooks.Hook {
	yes := false
	d.truth(&yes)(n, path)
	if n.Kind == yaml.ScalarNode && n.Tag == "!!bool" && !yes {
		d.errorf(n, path, "want true; without the hook, the daemon does not serve the channel's pin sets")
	}
	return hooks.Serve{}
}

func (d *decoder) fileReader(n *yaml.Node, path string, _ time.Duration) hooks.Reader {
	var f hooks.File
	d.pathAt(&f.Path, "the path of a file", n, path)
	return f
}

func (d *decoder) webhook(n *yaml.Node, path string, timeout time.Duration) hooks.Hook {
	w := hooks.Webhook{Timeout: timeout}
	d.mapping(n, path, fields{
		"url":         d.httpsURL(&w.URL),
		"secret_file": d.secret(&w.SecretFile, "the path of a file with the key that signs requests"),
	})
	if n.Kind == yaml.MappingNode && given(n, "url") == 0 {
		d.errorf(n, path, "url is missing: want an https URL")
	}
	return w
}

// email reads whom to write to: an address, a list of them, or keys and values with either
// as `to`.
func (d *decoder) email(n *yaml.Node, path string, timeout time.Duration) hooks.Hook {
	m := hooks.Email{Timeout: timeout}
	if n.Kind != yaml.MappingNode {
		d.recipients(&m.To)(n, path)
		return m
	}
	d.mapping(n, path, fields{
		"to":   d.recipients(&m.To),
		"from": d.mailAddress(&m.From),
		"smtp": func(n *yaml.Node, path string) {
			const want = "a mail server on this machine, such as localhost:25"
			if !d.textAt(&m.SMTP, want, n, path) {
				return
			}
			host, port, err := net.SplitHostPort(m.SMTP)
			if err != nil || !loopback(host) || !validPort(port) {
				d.errorf(n, path, "%.200q: want %s", m.SMTP, want)
			}
		},
	})
	if given(n, "to") == 0 {
		d.errorf(n, path, "to is missing: want an e-mail address")
	}
	return m
}

// recipients reads an address, or a list of at least one.
func (d *decoder) recipients(dest *[]string) func(*yaml.Node, string) {
	one := func(n *yaml.Node, path string) {
		var to string
		d.mailAddress(&to)(n, path)
		*dest = append(*dest, to)
	}
	return func(n *yaml.Node, path string) {
		if n.Kind != yaml.SequenceNode {
			one(n, path)
			return
		}
		d.sequence(n, path, one)
		if len(n.Content) == 0 || len(n.Content) > maxRecipients {
			d.errorf(n, path, "%d addresses: want 1 to %d", len(n.Content), maxRecipients)
		}
	}
}

func (d *decoder) mailAddress(dest *string) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		if !d.textAt(dest, "an e-mail address", n, path) {
			return
		}
		if err := hooks.CheckAddress(*dest); err != nil {
			d.errorf(n, path, "%v", err)
		}
	}
}

// Bounds of what is notified.
const (
	maxNotify     = 20
	maxRecipients = 50
)

func (d *decoder) urlReader(n *yaml.Node, path string, timeout time.Duration) hooks.Reader {
	u := hooks.URL{Timeout: timeout}
	d.httpsURL(&u.URL)(n, path)
	return u
}

func (d *decoder) httpsURL(dest *string) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		if !d.textAt(dest, "an https URL", n, path) {
			return
		}
		u, err := url.Parse(*dest)
		if err != nil || u.Hostname() == "" || (u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname()))) {
			d.errorf(n, path, "%.200q: want an https URL (http to this machine only)", shown(*dest))
		}
	}
}

// shown returns what was given for an address, without what may be a secret in it.
func shown(address string) string {
	start, rest := "", address
	if scheme, after, ok := strings.Cut(rest, "://"); ok {
		start, rest = scheme+"://", after
	}
	host, path := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		host = "...@" + host[i+1:]
	}
	if path, _, ok := strings.Cut(path, "?"); ok {
		return start + host + path + "?..."
	}
	return start + host + path
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}
