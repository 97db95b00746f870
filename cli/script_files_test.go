package cli_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"keepkey/keystore"
	"keepkey/pinset"
	"keepkey/plan"
)

// lineageDir returns the directory of the certificate named last in args, else of the
// only one.
func lineageDir(ts *testscript.TestScript, args []string) string {
	dirs, err := filepath.Glob(ts.MkAbs("state/lineages/*"))
	ts.Check(err)
	if len(args) > 0 {
		return ts.MkAbs("state/lineages/" + args[0])
	}
	if len(dirs) != 1 {
		ts.Fatalf("there are %d lineages: name one", len(dirs))
	}
	return dirs[0]
}

// keyWithRole returns the pin of the first key with a role.
func keyWithRole(ts *testscript.TestScript, dir string, role plan.Role) pinset.Pin {
	store, err := keystore.Open(ts.MkAbs("state"), "")
	ts.Check(err)
	name := filepath.Base(dir)
	l, err := store.Lineage(name)
	ts.Check(err)
	records, err := l.Records.Load()
	ts.Check(err)
	state, err := plan.ParseState(name, records.State)
	ts.Check(err)
	for _, k := range state.Keys {
		if k.Role == role {
			return k.Pin
		}
	}
	ts.Fatalf("%s has no %s key", name, role)
	return pinset.Pin{}
}

// output takes the "> FILE" at the end of the arguments.
func output(ts *testscript.TestScript, args []string) (rest []string, file string) {
	if n := len(args); n >= 3 && args[n-2] == ">" {
		return args[:n-2], ts.MkAbs(args[n-1])
	}
	ts.Fatalf("the result has to go somewhere: > FILE")
	return nil, ""
}

func pinCommand(ts *testscript.TestScript, args []string) {
	args, file := output(ts, args)
	dir := lineageDir(ts, args[1:])
	var pin string
	if args[0] == "served" {
		pin = certificatePinAsOpensslHasIt(ts, dir+"/live/cert.pem")
	} else {
		pin = keyWithRole(ts, dir, plan.Role(args[0])).String()
	}
	ts.Check(os.WriteFile(file, []byte(pin+"\n"), 0o600))
}

// certificatePinAsOpensslHasIt uses nothing of keepkey's.
func certificatePinAsOpensslHasIt(ts *testscript.TestScript, path string) string {
	block, _ := pem.Decode([]byte(ts.ReadFile(path)))
	if block == nil {
		ts.Fatalf("%s holds no certificate", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	ts.Check(err)
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}

func keyFile(ts *testscript.TestScript, role string, args []string) string {
	dir := lineageDir(ts, args)
	return dir + "/keys/" + keyWithRole(ts, dir, plan.Role(role)).Hex() + ".pem"
}

func keyFileCommand(ts *testscript.TestScript, args []string) {
	ts.Setenv(args[len(args)-1], keyFile(ts, args[0], args[1:len(args)-1]))
}

func removeKeyCommand(ts *testscript.TestScript, args []string) {
	ts.Check(os.Remove(keyFile(ts, args[0], args[1:])))
}

func contains(ts *testscript.TestScript, args []string) bool {
	pin := strings.TrimSpace(ts.ReadFile(args[1]))
	if pin == "" {
		ts.Fatalf("%s is empty", args[1])
	}
	return strings.Contains(ts.ReadFile(args[0]), pin)
}

func hasCommand(ts *testscript.TestScript, args []string) {
	if !contains(ts, args) {
		ts.Fatalf("%s does not have what %s says", args[0], args[1])
	}
}

func lacksCommand(ts *testscript.TestScript, args []string) {
	if contains(ts, args) {
		ts.Fatalf("%s has what %s says", args[0], args[1])
	}
}

func differCommand(ts *testscript.TestScript, args []string) {
	if ts.ReadFile(args[0]) == ts.ReadFile(args[1]) {
		ts.Fatalf("%s and %s are the same", args[0], args[1])
	}
}

// matches returns the lines of a file that a pattern matches.
func matches(ts *testscript.TestScript, pattern, file string) []string {
	re, err := regexp.Compile(pattern)
	ts.Check(err)
	var found []string
	for line := range strings.Lines(ts.ReadFile(file)) {
		if re.MatchString(line) {
			found = append(found, line)
		}
	}
	return found
}

func number(ts *testscript.TestScript, s string) int {
	n, err := strconv.Atoi(s)
	ts.Check(err)
	return n
}

func countCommand(ts *testscript.TestScript, args []string) {
	if lines := matches(ts, args[1], args[2]); len(lines) != number(ts, args[0]) {
		ts.Fatalf("%s has %d lines with %q, want %s", args[2], len(lines), args[1], args[0])
	}
}

func distinctCommand(ts *testscript.TestScript, args []string) {
	different := make(map[string]bool)
	for _, line := range matches(ts, args[1], args[2]) {
		different[line] = true
	}
	if len(different) != number(ts, args[0]) {
		ts.Fatalf("%s has %d different lines with %q, want %s", args[2], len(different), args[1], args[0])
	}
}

// rewrite changes a file in place, and nothing else about it.
func rewrite(ts *testscript.TestScript, path string, change func([]byte) []byte) {
	path = ts.MkAbs(path)
	data, err := os.ReadFile(path)
	ts.Check(err)
	ts.Check(os.WriteFile(path, change(data), 0o600))
}

func editCommand(ts *testscript.TestScript, args []string) {
	re, err := regexp.Compile(args[1])
	ts.Check(err)
	rewrite(ts, args[0], func(data []byte) []byte {
		if n := len(re.FindAllIndex(data, -1)); n != 1 {
			ts.Fatalf("%s has %q %d times, want once", args[0], args[1], n)
		}
		return re.ReplaceAllLiteral(data, []byte(args[2]))
	})
}

func appendCommand(ts *testscript.TestScript, args []string) {
	rewrite(ts, args[0], func(data []byte) []byte { return append(data, strings.ReplaceAll(args[1], `\n`, "\n")...) })
}

func truncateCommand(ts *testscript.TestScript, args []string) {
	files, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(files) == 0 {
		ts.Fatalf("there is no %s", args[0])
	}
	for _, f := range files {
		ts.Check(os.Truncate(f, int64(number(ts, args[1]))))
	}
}

func findCommand(ts *testscript.TestScript, args []string) {
	files, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(files) != 1 {
		ts.Fatalf("%d files match %s, want one", len(files), args[0])
	}
	ts.Setenv(args[1], files[0])
}

func readCommand(ts *testscript.TestScript, args []string) {
	ts.Setenv(args[1], strings.TrimSpace(ts.ReadFile(args[0])))
}

func treeCommand(ts *testscript.TestScript, args []string) {
	dirs, file := output(ts, args)
	var b strings.Builder
	for _, dir := range dirs {
		ts.Check(filepath.WalkDir(ts.MkAbs(dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			what := "-> "
			if d.Type()&fs.ModeSymlink != 0 {
				target, err := os.Readlink(path)
				if err != nil {
					return err
				}
				what += target
			} else {
				data, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				what = fmt.Sprintf("%x", sha256.Sum256(data))
			}
			fmt.Fprintf(&b, "%s %s\n", strings.TrimPrefix(path, ts.MkAbs(".")+"/"), what)
			return nil
		}))
	}
	if b.Len() == 0 {
		ts.Fatalf("there are no files in %s", strings.Join(dirs, " "))
	}
	ts.Check(os.WriteFile(file, []byte(b.String()), 0o600))
}
