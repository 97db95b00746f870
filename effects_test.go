package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// effects are the calls that change something outside the process, by the name of
// the function; those with a dot are of a package, the others methods of anything.
var effects = []string{
	"os.Chmod", "os.Chown", "os.Chtimes", "os.Create", "os.CreateTemp", "os.Lchown", "os.Link", "os.Mkdir", "os.MkdirAll",
	"os.MkdirTemp", "os.OpenFile", "os.Remove", "os.RemoveAll", "os.Rename", "os.Symlink", "os.Truncate", "os.WriteFile",
	"syscall.Open", "http.Get", "http.Head", "http.Post", "http.PostForm", "net.Dial", "net.DialTimeout", "net.Listen", "tls.Dial",
	"Chmod", "Chown", "CleanUp", "CombinedOutput", "DialContext", "Do", "MkdirAll", "OpenFile", "Output", "Present", "Remove",
	"RoundTrip", "Start", "Sync", "TryLock", "Truncate", "WriteAt", "WriteFile",
}

// unmarked are the calls that need no point of their own, and why.
var unmarked = map[string]string{
	"acme/dns/dns.go p.sequential.Present":    "within \"present challenge\"",
	"acme/dns/dns.go p.sequential.CleanUp":    "within \"clean up challenge\"",
	"acme/listener.go net.Listen":             "within \"present challenge\"",
	"acme/webroot.go root.Chmod":              "within \"present challenge\"",
	"acme/webroot.go root.OpenFile":           "within \"present challenge\"",
	"acme/webroot.go f.Chmod":                 "within \"present challenge\"",
	"acme/webroot.go root.Remove":             "within \"clean up challenge\"",
	"acme/challenge.go s.provider.Present":    "within \"present challenge\"",
	"acme/process.go d.DialContext":           "looks only",
	"apply/health.go c.connecting.TryLock":    "a lock within the process",
	"cli/cli.go c.Args().Present":             "arguments of the command line",
	"daemon/http.go net.Dial":                 "the page's own socket, before anything is done",
	"daemon/http.go net.Listen":               "the page's own socket, before anything is done",
	"daemon/http.go os.Chmod":                 "the page's own socket, before anything is done",
	"daemon/http.go os.Chown":                 "the page's own socket, before anything is done",
	"daemon/http.go os.Remove":                "an earlier daemon's socket, before anything is done",
	"daemon/schedule.go heap.Remove":          "of a heap",
	"daemon/socket.go d.DialContext":          "asks a daemon, whose effects are marked",
	"daemon/socket.go os.Chown":               "the daemon's own socket, before anything is done",
	"daemon/socket.go os.Chmod":               "the daemon's own socket, before anything is done",
	"daemon/socket.go os.Remove":              "an earlier daemon's socket, before anything is done",
	"hooks/file.go os.OpenFile":               "to read",
	"hooks/leash.go os.OpenFile":              "to lock; the one that creates is marked",
	"hooks/serve.go dialer.DialContext":       "looks only",
	"hooks/url.go client.Do":                  "looks only",
	"internal/durable/durable.go os.OpenFile": "Grant, to get a descriptor; the one that creates is marked",
	"internal/trusted/trusted.go os.OpenFile": "to read",
	"keystore/read.go syscall.Open":           "to read",
	"probe/probe.go d.DialContext":            "looks only",
	"probe/probe.go net.Dial":                 "sends nothing",
	"probe/resolve.go d.DialContext":          "asks only",
	"pinset/format/json.go t.UTC().Truncate":  "of a time",
}

// TestEveryEffectIsAFaultPoint keeps a new write, request or hook from landing
// before the tests in cli/sweep_test.go can make it fail.
func TestEveryEffectIsAFaultPoint(t *testing.T) {
	t.Parallel()
	used := make(map[string]bool)
	marked := 0
	for _, file := range shippedFiles(t) {
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		var points []ast.Node
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			name := callee(call.Fun)
			if name == "fault.Do" {
				marked++
				points = append(points, call)
				return true
			}
			if !isEffect(name) || slices.ContainsFunc(points, func(p ast.Node) bool { return p.Pos() < call.Pos() && call.End() <= p.End() }) {
				return true
			}
			key := file + " " + name
			if _, known := unmarked[key]; !known {
				t.Errorf("%s: %s is an effect without a fault point: put it into fault.Do, or say in this test why it needs none", set.Position(call.Pos()), name)
			}
			used[key] = true
			return true
		})
	}
	for key := range unmarked {
		if !used[key] {
			t.Errorf("there is no call %s any more", key)
		}
	}
	if marked < 15 {
		t.Errorf("only %d fault points were found", marked)
	}
}

func isEffect(name string) bool {
	method := name[strings.LastIndex(name, ".")+1:]
	return slices.Contains(effects, name) || slices.Contains(effects, method)
}

// callee writes what is called as it stands in the source.
func callee(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return callee(e.X) + "." + e.Sel.Name
	case *ast.CallExpr:
		return callee(e.Fun) + "()"
	}
	return "?"
}

// shippedFiles lists the sources of the binary.
func shippedFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (path == "demo" || path == "internal/acmetest" || path == "contrib/bench" || path == "acme/dns/internal/names" || (path != "." && strings.HasPrefix(d.Name(), "."))):
			return fs.SkipDir
		case strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go"):
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
