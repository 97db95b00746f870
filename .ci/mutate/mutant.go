package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"
)

// mutant is a deliberate fault.
type mutant struct {
	Name        string // of its file, without .txt
	Description string
	Tests       []string // commands, each of which must notice the fault on its own
	Edits       []edit
}

// edit replaces a text that occurs exactly once in a file.
type edit struct {
	File     string // slash-separated, from the root of the repository
	Old, New string
}

// parse reads a mutant. Its format:
//
//	What the fault does, in one line.
//
//	Test: go test -run TestThatNotices ./package
//	File: package/file.go
//
//	-- old --
//	the text to be replaced
//	-- new --
//	what stands there instead
//
// Test can be repeated. So can the pair of old and new; "-- old other/file.go --"
// names a file of its own. The line break before the next marker belongs to
// neither text, so that an old text need not be a whole line; an empty new text
// deletes the old one.
func parse(name string, data []byte) (mutant, error) {
	m := mutant{Name: name}
	archive := txtar.Parse(data)
	file := ""
	for line := range strings.Lines(string(archive.Comment)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch {
		case strings.TrimSpace(line) == "":
		case m.Description == "":
			m.Description = strings.TrimSpace(line)
		case key == "Test" && strings.HasPrefix(value, "go test "):
			m.Tests = append(m.Tests, value)
		case key == "File" && file == "":
			file = value
		default:
			return mutant{}, fmt.Errorf("unexpected line %q: want one line of description, lines Test: go test ..., and one line File: path", strings.TrimSpace(line))
		}
	}
	if len(m.Tests) == 0 {
		return mutant{}, errors.New("no test is named: want a line Test: go test ./package")
	}
	for pair := range slices.Chunk(archive.Files, 2) {
		marker, path, _ := strings.Cut(pair[0].Name, " ")
		if marker != "old" || len(pair) < 2 || pair[1].Name != "new" {
			return mutant{}, fmt.Errorf("-- %s --: want pairs of -- old -- and -- new --", pair[0].Name)
		}
		e := edit{File: file, Old: text(pair[0]), New: text(pair[1])}
		if path != "" {
			e.File = path
		}
		switch {
		case !filepath.IsLocal(e.File):
			return mutant{}, fmt.Errorf("-- %s --: %q is not a file of the repository: want a line File:, or -- old path/of/file.go --", pair[0].Name, e.File)
		case e.Old == "" || e.Old == e.New:
			return mutant{}, fmt.Errorf("-- %s --: changes nothing", pair[0].Name)
		}
		m.Edits = append(m.Edits, e)
	}
	if len(m.Edits) == 0 {
		return mutant{}, errors.New("no -- old -- and -- new --")
	}
	return m, nil
}

func text(f txtar.File) string { return strings.TrimSuffix(string(f.Data), "\n") }

// apply returns the new contents of the files that a mutant changes. Edits of one
// file build on each other.
func (m mutant) apply(read func(file string) ([]byte, error)) (map[string][]byte, error) {
	changed := make(map[string][]byte)
	for _, e := range m.Edits {
		data, ok := changed[e.File]
		if !ok {
			var err error
			if data, err = read(e.File); err != nil {
				return nil, err
			}
		}
		if n := bytes.Count(data, []byte(e.Old)); n != 1 {
			return nil, fmt.Errorf("%s has the old text %d times, want once:\n%s", e.File, n, indent(e.Old))
		}
		changed[e.File] = bytes.Replace(data, []byte(e.Old), []byte(e.New), 1)
	}
	return changed, nil
}

// load reads all mutants of a directory, in order.
func load(dir string) ([]mutant, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("there are no mutants in %s; run this from the root of the repository", dir)
	}
	var all []mutant
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		m, err := parse(strings.TrimSuffix(filepath.Base(file), ".txt"), data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, m)
	}
	return all, nil
}

// choose returns the mutants whose names begin with one of the prefixes, all of
// them when there is none.
func choose(all []mutant, prefixes []string) ([]mutant, error) {
	if len(prefixes) == 0 {
		return all, nil
	}
	for _, p := range prefixes {
		if !slices.ContainsFunc(all, func(m mutant) bool { return strings.HasPrefix(m.Name, p) }) {
			return nil, fmt.Errorf("no mutant's name begins with %q", p)
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(m mutant) bool {
		return !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(m.Name, p) })
	}), nil
}

func indent(s string) string { return "\t" + strings.ReplaceAll(s, "\n", "\n\t") }
