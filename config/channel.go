package config

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"keepkey/pinset"
)

var validChannel = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

func (d *decoder) channels(dest *[]Channel) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		lines := make(map[string]int)
		d.sequence(n, path, func(n *yaml.Node, path string) {
			var ch Channel
			d.mapping(n, path, fields{
				"name": func(n *yaml.Node, path string) {
					if !d.textAt(&ch.Name, "a name", n, path) {
						return
					}
					if !validChannel.MatchString(ch.Name) {
						d.errorf(n, path, "%.100q is no channel name: want lower-case letters, digits and '-', at most 64, not beginning with '-'", ch.Name)
					}
					if line, taken := lines[ch.Name]; taken {
						d.errorf(n, path, "the name %q is taken by the channel in line %d", ch.Name, line)
					}
					lines[ch.Name] = n.Line
				},
				"format": func(n *yaml.Node, path string) {
					if d.textAt(&ch.Format, "a format", n, path) && !slices.Contains(pinset.Formats(), ch.Format) {
						d.errorf(n, path, "%.100q is no format: want %s", ch.Format, strings.Join(pinset.Formats(), ", "))
					}
				},
				"lifetime": func(n *yaml.Node, path string) { d.lifetime(&ch.Lifetime, n, path) },
				"confirm": func(n *yaml.Node, path string) {
					var s string
					if !d.textAt(&s, "automatic or manual", n, path) {
						return
					}
					if s != "automatic" && s != "manual" {
						d.errorf(n, path, "%.100q: want automatic or manual", s)
						return
					}
					ch.Manual = s == "manual"
				},
				"publish": func(n *yaml.Node, path string) {
					d.hooks(&ch.Publish, true)(n, path)
					if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
						d.errorf(n, path, "want a list with at least one hook")
					}
				},
				"read_back": func(n *yaml.Node, path string) { ch.ReadBack = d.readBack(n, path) },
			})
			if n.Kind != yaml.MappingNode {
				return
			}
			if ch.Manual && ch.ReadBack != nil {
				d.errorf(n, path, "confirm: manual and read_back exclude each other: a person says that it is out, or keepkey looks")
			}
			for _, required := range []struct{ key, want string }{
				{"name", "a name for the channel"},
				{"format", strings.Join(pinset.Formats(), ", ")},
				{"lifetime", "how long a client goes on enforcing a pin set after a newer one is out, such as 30d, or forever when there is no limit"},
				{"publish", "a list with at least one hook"},
			} {
				if given(n, required.key) == 0 {
					d.errorf(n, path, "%s is missing: want %s", required.key, required.want)
				}
			}
			*dest = append(*dest, ch)
		})
	}
}

func (d *decoder) readBack(n *yaml.Node, path string) *ReadBack {
	r := &ReadBack{Timeout: time.Minute}
	before := len(d.errs)
	d.mapping(n, path, fields{
		"url":     d.httpsURL(&r.URL),
		"command": func(n *yaml.Node, path string) { d.command(&r.Command, n, path) },
		"file":    d.path(&r.File, "the path of a file"),
		"timeout": d.timeout(&r.Timeout),
	})
	d.exactlyOne(n, path, before, "url", "command", "file")
	return r
}

func (d *decoder) lifetime(dest *pinset.Lifetime, n *yaml.Node, path string) {
	const want = "a duration such as 30d, or forever"
	var s string
	if !d.textAt(&s, want, n, path) {
		return
	}
	if s == "forever" || s == "none" { // none: the older word
		*dest = pinset.Lifetime{Forever: true}
		return
	}
	duration, err := ParseDuration(s)
	if err != nil || duration <= 0 || duration > 100*365*day {
		d.errorf(n, path, "%.100q: want %s", s, want)
		return
	}
	*dest = pinset.Lifetime{Duration: duration}
}
