package main

import (
	"errors"
	"maps"
	"os"
	"reflect"
	"strings"
	"testing"
)

const good = `The gate is not asked.

Test: go test -run Gate ./plan
Test: go test -run 'Script/rotate' ./cli
File: plan/next.go

-- old --
	if gate() {
		return
-- new --
	if true {
		return
-- old plan/after.go --
closed
-- new --
`

func TestMutantIsRead(t *testing.T) {
	t.Parallel()
	got, err := parse("03-gate", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	want := mutant{
		Name:        "03-gate",
		Description: "The gate is not asked.",
		Tests:       []string{"go test -run Gate ./plan", "go test -run 'Script/rotate' ./cli"},
		Edits: []edit{
			{"plan/next.go", "\tif gate() {\n\t\treturn", "\tif true {\n\t\treturn"},
			{"plan/after.go", "closed", ""},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %#v\nwant %#v", got, want)
	}
}

func TestMutantThatIsNotUnderstoodIsRefused(t *testing.T) {
	t.Parallel()
	const body = "-- old --\na\n-- new --\nb\n"
	const head = "What.\nTest: go test ./p\nFile: p/f.go\n"
	for name, c := range map[string]struct{ text, want string }{
		"no test":                {"What.\nFile: p/f.go\n" + body, "no test is named"},
		"test that is not go's":  {"What.\nTest: true\nFile: p/f.go\n" + body, `unexpected line "Test: true"`},
		"second line of words":   {"What.\nWhy.\n" + head + body, `unexpected line "Why."`},
		"two files at the top":   {head + "File: p/g.go\n" + body, `unexpected line "File: p/g.go"`},
		"no edit":                {head, "no -- old --"},
		"old without new":        {head + "-- old --\na\n", "-- old --: want pairs"},
		"new before old":         {head + "-- new --\nb\n-- old --\na\n", "-- new --: want pairs"},
		"new with a file":        {head + "-- old --\na\n-- new p/g.go --\nb\n", "-- old --: want pairs"},
		"no file":                {"What.\nTest: go test ./p\n" + body, `"" is not a file`},
		"file outside":           {head + "-- old ../f.go --\na\n-- new --\nb\n", `"../f.go" is not a file`},
		"old and new the same":   {head + "-- old --\na\n-- new --\na\n", "changes nothing"},
		"old that is empty":      {head + "-- old --\n-- new --\na\n", "changes nothing"},
		"old that is a line end": {head + "-- old --\n\n-- new --\na\n", "changes nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := parse("x", []byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestEditsAreApplied(t *testing.T) {
	t.Parallel()
	files := map[string]string{"a": "one two three", "b": "x x", "c": "left alone"}
	read := func(file string) ([]byte, error) {
		data, ok := files[file]
		if !ok {
			return nil, os.ErrNotExist
		}
		return []byte(data), nil
	}
	for name, c := range map[string]struct {
		edits []edit
		want  map[string]string
		err   string
	}{
		"part of a line":            {[]edit{{"a", "two", "2"}}, map[string]string{"a": "one 2 three"}, ""},
		"several places, in order":  {[]edit{{"a", "two", "2"}, {"b", "x x", ""}, {"a", "2 three", "3"}}, map[string]string{"a": "one 3", "b": ""}, ""},
		"text that is not there":    {[]edit{{"a", "four", "4"}}, nil, "a has the old text 0 times, want once:\n\tfour"},
		"text that is there twice":  {[]edit{{"b", "x", "y"}}, nil, "b has the old text 2 times"},
		"text that an edit removed": {[]edit{{"a", "two", ""}, {"a", "two", "2"}}, nil, "a has the old text 0 times"},
		"file that is not there":    {[]edit{{"d", "x", "y"}}, nil, os.ErrNotExist.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			changed, err := mutant{Edits: c.edits}.apply(read)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v, want %q", err, c.err)
				}
				return
			}
			got := make(map[string]string)
			for file, data := range changed {
				got[file] = string(data)
			}
			if err != nil || !maps.Equal(got, c.want) {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestMutantsAreChosenByPrefix(t *testing.T) {
	t.Parallel()
	all := []mutant{{Name: "01-a"}, {Name: "02-b"}, {Name: "12-c"}}
	for name, c := range map[string]struct {
		prefixes []string
		want     string
		err      string
	}{
		"none means all":         {nil, "01-a 02-b 12-c", ""},
		"numbers":                {[]string{"02", "12"}, "02-b 12-c", ""},
		"order of the files":     {[]string{"1", "01"}, "01-a 12-c", ""},
		"prefix of nothing":      {[]string{"01", "3"}, "", `"3"`},
		"text within is too far": {[]string{"b"}, "", `"b"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			chosen, err := choose(all, c.prefixes)
			var names []string
			for _, m := range chosen {
				names = append(names, m.Name)
			}
			if got := strings.Join(names, " "); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if (err == nil) != (c.err == "") || (err != nil && !strings.Contains(err.Error(), c.err)) {
				t.Errorf("got %v, want %q", err, c.err)
			}
		})
	}
}

func TestOnlyATestThatFailedHasNoticed(t *testing.T) {
	t.Parallel()
	exit := errors.New("exit status 1")
	for name, c := range map[string]struct {
		out     string
		err     error
		noticed string
		fails   bool
	}{
		"test passed":    {"ok  \tkeepkey/plan\t0.1s\n", nil, "", false},
		"test failed":    {"=== RUN\n--- FAIL: TestA (0.0s)\n    --- FAIL: TestA/b (0.0s)\nFAIL\n", exit, "--- FAIL: TestA", false},
		"subtest failed": {"    --- FAIL: TestA/b (0.0s)\n", exit, "--- FAIL: TestA/b", false},
		"code panicked":  {"panic: assignment to entry in nil map\n\ngoroutine 1\n", exit, "panic: assignment to entry in nil map", false},
		"not built":      {"FAIL\tkeepkey/plan [build failed]\n", exit, "", true},
		"not finished":   {"", errors.New("not finished after 5m0s"), "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			noticed, err := verdict([]byte(c.out), c.err)
			if noticed != c.noticed || (err != nil) != c.fails {
				t.Errorf("got %q, %v", noticed, err)
			}
		})
	}
}
