package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"keepkey/internal/trusted"
)

// Document is a configuration file that was read, and nothing that it names. It says where a
// daemon may listen, and as whom keepkey has to run: that user alone may be able to read the
// files that the rest is about.
type Document struct {
	File      string // its absolute path
	State     string // state directory, absolute, or "" if there is a mistake in it
	Operators string // the group that may hand work to a daemon, or ""

	root *yaml.Node
}

// maxFile bounds a configuration file.
const maxFile = 4 << 20

// Read reads a configuration file that belongs to us, to root, or to the owner of the state
// directory that it names.
func Read(path string) (*Document, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	data, err := trusted.Read(abs, maxFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no configuration file %s; name another with --config or $KEEPKEY_CONFIG", abs)
	}
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("configuration: %w; run keepkey as root, or as the user that it is for: sudo keepkey COMMAND", err)
	}
	if err != nil {
		if d := theirs(abs); d != nil {
			return d, nil
		}
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return newDocument(abs, data)
}

// theirs reads a file of the owner of the state directory, or returns nil. The owner decides
// what is done there; we are root, or somebody who hands work to the owner's daemon.
func theirs(abs string) *Document {
	data, writer, err := trusted.ReadTheirs(abs, maxFile)
	if err != nil {
		return nil
	}
	d, err := newDocument(abs, data)
	if err != nil {
		return nil
	}
	if owner, err := trusted.Owner(d.State); err != nil || owner != writer {
		return nil
	}
	return d
}

func newDocument(abs string, data []byte) (*Document, error) {
	root, err := document(abs, data)
	if err != nil {
		return nil, err
	}
	d := &Document{File: abs, State: defaultState, root: root}
	// Mistakes in these are reported by Parse.
	look := &decoder{file: abs, dir: filepath.Dir(abs)}
	if n := valueOf(root, "operators"); n != nil {
		look.group(&d.Operators)(n, "operators")
	}
	if n := valueOf(root, "state"); n != nil {
		d.State = ""
		look.path(&d.State, "the path of the state directory")(n, "state")
	}
	return d, nil
}

// document reads the one YAML document of a file.
func document(file string, data []byte) (*yaml.Node, error) {
	refuse := func(line int, format string, args ...any) (*yaml.Node, error) {
		return nil, Errors{{File: file, Line: line, Text: fmt.Sprintf(format, args...)}}
	}
	if line, text := notText(data); text != "" {
		return refuse(line, "%s", text)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return refuse(0, "the file is empty")
	} else if err != nil {
		line, text := yamlError(err)
		return refuse(line, "%s", inWords(text, data, line))
	}
	if err := dec.Decode(&second); err == nil {
		return refuse(second.Line, "a second document begins here; want only one")
	} else if !errors.Is(err, io.EOF) {
		line, text := yamlError(err)
		return refuse(line, "%s", text)
	}
	return doc.Content[0], nil
}

// notText finds the first thing that is not text, and its line. (The library reports
// neither.)
func notText(data []byte) (line int, text string) {
	line = 1
	for i := 0; i < len(data); {
		r, size := rune(data[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(data[i:])
		}
		switch {
		case r == '\n':
			line++
		case r == utf8.RuneError && size == 1:
			return line, fmt.Sprintf("the file is not UTF-8 text: it has the byte %#02x here", data[i])
		case (r < ' ' && r != '\t' && r != '\r') || (r >= 0x7f && r < 0xa0 && r != 0x85):
			return line, fmt.Sprintf("control characters are not allowed: %U", r)
		}
		i += size
	}
	return 0, ""
}

// inWords says what the library's commonest errors mean.
func inWords(text string, data []byte, line int) string {
	switch text {
	case "did not find expected alphabetic or numeric character":
		return text + ": put a value that begins with * or & in quotes"
	case "mapping values are not allowed in this context":
		return text + `: put a value that has ": " in it in quotes, and see that the lines are indented alike`
	case "did not find expected '-' indicator", "did not find expected key":
		return text + ": after this line, one is indented by more or fewer spaces than those that it belongs with"
	case "did not find expected ',' or ']'", "did not find expected ',' or '}'":
		return text + ": a bracket that opens here is not closed"
	}
	if !strings.HasPrefix(text, "found character that cannot start any token") {
		return text
	}
	lines := strings.Split(string(data), "\n")
	if line < 1 || line > len(lines) {
		return text
	}
	if at := lines[line-1]; strings.Contains(at[:len(at)-len(strings.TrimLeft(at, " \t"))], "\t") {
		return "the line is indented by a tab: want spaces"
	}
	return text + ": put the value in quotes"
}

var yamlLine = regexp.MustCompile(`^line (\d+): `)

// yamlError splits an error of the YAML library into line and text. The library
// does not mention line 1.
func yamlError(err error) (line int, text string) {
	text = strings.TrimPrefix(err.Error(), "yaml: ")
	m := yamlLine.FindStringSubmatch(text)
	if m == nil {
		return 1, text
	}
	line, err = strconv.Atoi(m[1])
	if err != nil {
		return 0, text // more digits than a file has lines
	}
	return line, strings.TrimPrefix(text, m[0])
}
