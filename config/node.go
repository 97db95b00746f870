package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"

	"keepkey/internal/nearest"
)

// decoder walks the nodes of a YAML document and collects every mistake. (The
// library's own strict mode stops at the first, and does not give its path.)
type decoder struct {
	file string
	dir  string // relative paths count from here
	errs Errors

	knownProvider func(name string) error // nil: any DNS provider is accepted

	termsMissing map[*yaml.Node]bool // the acme sections for which that was reported
	published    map[string]int      // the line of each file that is published to
	paths        []namedPath         // all paths but the state directory's
	http         *Listen             // where the daemon is to listen; nil for nowhere
}

// namedPath is a path that the configuration names.
type namedPath struct {
	line int
	key  string
	path string
}

func (d *decoder) errorf(n *yaml.Node, path, format string, args ...any) {
	d.errs = append(d.errs, Error{File: d.file, Line: n.Line, Path: path, Text: fmt.Sprintf(format, args...)})
}

// fields are the keys that a mapping can have, and what reads their values.
type fields map[string]func(n *yaml.Node, path string)

// mapping passes each value of a mapping to the function of its key, in the order of
// the file.
func (d *decoder) mapping(n *yaml.Node, path string, known fields) {
	if !d.is(n, path, yaml.MappingNode, "keys and values") {
		return
	}
	var names []string
	for name := range known {
		names = append(names, name)
	}
	slices.Sort(names)
	lines := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" || key.Anchor != "" {
			d.errorf(key, path, "a key must be a plain word; accepted: %s", strings.Join(names, ", "))
			continue
		}
		sub := key.Value
		if path != "" {
			sub = path + "." + key.Value
		}
		if line, twice := lines[key.Value]; twice {
			d.errorf(key, path, "the key %.100q is given twice, first in line %d", key.Value, line)
			continue
		}
		lines[key.Value] = key.Line
		decode, ok := known[key.Value]
		if !ok {
			hint := ";"
			if near := nearest.Word(key.Value, names); near != "" {
				hint = fmt.Sprintf("; did you mean %q?", near)
			}
			d.errorf(key, path, "unknown key %.100q%s accepted: %s", key.Value, hint, strings.Join(names, ", "))
			continue
		}
		decode(value, sub)
	}
}

// sequence passes each element of a list to f.
func (d *decoder) sequence(n *yaml.Node, path string, f func(n *yaml.Node, path string)) {
	if !d.is(n, path, yaml.SequenceNode, "a list") {
		return
	}
	for i, e := range n.Content {
		f(e, fmt.Sprintf("%s[%d]", path, i))
	}
}

// is reports whether a node is of the kind; if not, that is a mistake.
func (d *decoder) is(n *yaml.Node, path string, kind yaml.Kind, want string) bool {
	switch {
	case n.Kind == yaml.AliasNode:
		d.errorf(n, path, "aliases (*%s) are not supported: write the value out", n.Value)
		return false
	case n.Anchor != "":
		d.errorf(n, path, "anchors (&%s) are not supported: write the value out", n.Anchor)
		return false
	case n.Kind != kind:
		d.errorf(n, path, "want %s, found %s", want, found(n))
		return false
	}
	return true
}

func found(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.Tag {
	case "!!null":
		return "nothing"
	case "!!bool":
		return "the truth value " + bare(n.Value)
	case "!!int", "!!float":
		return "the number " + bare(n.Value)
	}
	return fmt.Sprintf("%.100q", n.Value)
}

// bare is a value as %q writes it, without the quotes. It has to be escaped: a tag can
// declare anything to be a number.
func bare(s string) string { return strings.Trim(fmt.Sprintf("%.100q", s), `"`) }

// valueOf returns the value of a key, or nil.
func valueOf(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// given counts those of the keys that a mapping has, whatever their values.
func given(n *yaml.Node, keys ...string) int {
	count := 0
	for _, key := range keys {
		if valueOf(n, key) != nil {
			count++
		}
	}
	return count
}

// text reads a string that is not empty and contains no control characters.
func (d *decoder) text(dest *string, want string) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) { d.textAt(dest, want, n, path) }
}

func (d *decoder) textAt(dest *string, want string, n *yaml.Node, path string) bool {
	if !d.is(n, path, yaml.ScalarNode, want) {
		return false
	}
	if n.Tag != "!!str" {
		d.errorf(n, path, "want %s, found %s", want, found(n))
		return false
	}
	if n.Value == "" {
		d.errorf(n, path, "want %s, found nothing", want)
		return false
	}
	if strings.ContainsFunc(n.Value, unicode.IsControl) {
		d.errorf(n, path, "want %s, found %.100q with control characters", want, n.Value)
		return false
	}
	*dest = n.Value
	return true
}

func (d *decoder) truth(dest *bool) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		if !d.is(n, path, yaml.ScalarNode, "true or false") {
			return
		}
		if n.Tag != "!!bool" {
			d.errorf(n, path, "want true or false, found %s", found(n))
			return
		}
		*dest = strings.EqualFold(n.Value, "true")
	}
}

func (d *decoder) integer(dest *int, low, high int) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		want := fmt.Sprintf("a whole number from %d to %d", low, high)
		if !d.is(n, path, yaml.ScalarNode, want) {
			return
		}
		v, err := strconv.Atoi(n.Value)
		if n.Tag != "!!int" || err != nil || v < low || v > high {
			d.errorf(n, path, "want %s, found %s", want, found(n))
			return
		}
		*dest = v
	}
}
