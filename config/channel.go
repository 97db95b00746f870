package config

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"keepkey/hooks"
	"keepkey/pinset"
	"keepkey/pinset/format"
)

func (d *decoder) channels(dest *[]Channel) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		names := make(map[string]int) // the line of each
		d.sequence(n, path, func(n *yaml.Node, path string) {
			*dest = append(*dest, d.channel(n, path, names))
		})
	}
}

func (d *decoder) channel(n *yaml.Node, path string, names map[string]int) Channel {
	var ch Channel
	d.mapping(n, path, fields{
		"name":      d.channelName(&ch.Name, names),
		"format":    d.format(&ch.Format),
		"lifetime":  d.lifetime(&ch.Lifetime),
		"cache":     d.duration(&ch.Cache, 0, 366*day, "a duration such as 1h, at most 366d"),
		"confirm":   d.confirm(&ch.Manual),
		"publish":   d.publish(&ch.Publish),
		"read_back": d.readBack(&ch.ReadBack),
	})
	if n.Kind != yaml.MappingNode {
		return ch
	}
	if ch.Serves() {
		d.served(&ch, n, path)
	}
	if ch.Manual && given(n, "read_back") > 0 {
		d.errorf(n, path, "confirm: manual and read_back exclude each other: either a person says that a pin set is out, or keepkey looks for it")
	}
	for _, required := range []struct{ key, want string }{
		{"name", "a name for the channel"},
		{"lifetime", "how long a client goes on enforcing a pin set that it got, such as 30d, or forever when there is no limit"},
		{"format", strings.Join(format.Names(), ", ")},
		{"publish", "a list with at least one hook"},
	} {
		// Where a person carries pins to clients by hand, there is nothing to publish.
		byHand := ch.Manual && given(n, "publish", "format") == 0 && (required.key == "publish" || required.key == "format")
		if given(n, required.key) == 0 && !byHand {
			d.errorf(n, path, "%s is missing: want %s", required.key, required.want)
		}
	}
	return ch
}

// servedCache is how long a client may take, at least, to get what the daemon serves.
const servedCache = time.Minute

// served is about a channel whose pin sets the daemon serves: it is read back there.
func (d *decoder) served(ch *Channel, n *yaml.Node, path string) {
	hook := valueOf(n, "publish")
	if d.http == nil {
		d.errorf(hook, path+".publish", "serve needs `listen` at the top of the file, which says where the daemon answers, such as listen: unix:/run/keepkey/http")
		return
	}
	if ch.Manual {
		d.errorf(hook, path+".publish", "serve and confirm: manual exclude each other: clients get what is served at once")
	}
	serves := func(h hooks.Hook) bool { return h == hooks.Hook(hooks.Serve{}) }
	if rest := ch.Publish[slices.IndexFunc(ch.Publish, serves)+1:]; slices.ContainsFunc(rest, serves) {
		d.errorf(hook, path+".publish", "serve is given twice, and once is enough")
	}
	switch cache := valueOf(n, "cache"); {
	case cache == nil:
		ch.Cache = servedCache
	case ch.Cache < servedCache:
		d.errorf(cache, path+".cache", "want at least %s with serve: a slow client takes that long to get the pin set that was served a moment ago", FormatDuration(servedCache))
	}
	if given(n, "read_back") == 0 {
		ch.ReadBack = hooks.Daemon{Network: d.http.Network, Address: d.http.Address}
	}
}

var validChannel = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

func (d *decoder) channelName(dest *string, names map[string]int) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		if !d.textAt(dest, "a name", n, path) {
			return
		}
		if !validChannel.MatchString(*dest) {
			d.errorf(n, path, "%.100q is not a valid channel name: want lower-case letters, digits and '-', at most 64, beginning with a letter or digit", *dest)
		}
		if line, taken := names[*dest]; taken {
			d.errorf(n, path, "the name %.100q is taken by the channel in line %d", *dest, line)
		}
		names[*dest] = n.Line
	}
}

func (d *decoder) format(dest *format.Format) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		var s string
		if !d.textAt(&s, "a format", n, path) {
			return
		}
		f, ok := format.ByName(s)
		if !ok {
			d.errorf(n, path, "%.100q is not a format: want %s", s, strings.Join(format.Names(), ", "))
			return
		}
		*dest = f
	}
}

func (d *decoder) lifetime(dest *pinset.Lifetime) func(*yaml.Node, string) {
	const want = "a duration such as 30d, from 1s, or forever"
	return func(n *yaml.Node, path string) {
		var s string
		if !d.textAt(&s, want, n, path) {
			return
		}
		if s == "forever" || s == "none" { // none: the older word
			*dest = pinset.Lifetime{Forever: true}
			return
		}
		duration, err := ParseDuration(s)
		if err != nil || duration < time.Second || duration > 100*365*day {
			d.errorf(n, path, "%.100q: want %s", s, want)
			return
		}
		*dest = pinset.Lifetime{Duration: duration}
	}
}

func (d *decoder) confirm(manual *bool) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		var s string
		if !d.textAt(&s, "automatic or manual", n, path) {
			return
		}
		if s != "automatic" && s != "manual" {
			d.errorf(n, path, "%.100q: want automatic or manual", s)
			return
		}
		*manual = s == "manual"
	}
}

func (d *decoder) publish(dest *[]hooks.Hook) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		d.hooks(dest, publishing)(n, path)
		if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
			d.errorf(n, path, "want a list with at least one hook")
		}
	}
}
