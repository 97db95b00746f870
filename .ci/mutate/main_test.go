package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

const repository = `
-- go.mod --
module example.com/gate

go 1.26
-- gate.go --
package gate

// Open says whether the gate is open.
func Open(n int) bool { return n > 3 }

func Unseen() bool { return true }
-- gate_test.go --
package gate

import "testing"

func TestOpen(t *testing.T) {
	if Open(3) || !Open(4) {
		t.Error("the gate is wrong")
	}
}

func TestOther(t *testing.T) {}

func TestBroken(t *testing.T) { t.Error("always") }
-- ignored.go --
this is not Go, and ignored
-- .gitignore --
ignored.go
-- .ci/mutants/01-noticed.txt --
The gate opens early.
Test: go test -run Open .
Test: go test -run O .
File: gate.go
-@ old @-
n > 3
-@ new @-
n >= 3
-- .ci/mutants/02-survives.txt --
Nobody looks at this.
Test: go test -run Open .
File: gate.go
-@ old @-
return true
-@ new @-
return false
-- .ci/mutants/03-one-test-survives.txt --
Each test has to notice.
Test: go test -run Open .
Test: go test -run Other .
File: gate.go
-@ old @-
n > 3
-@ new @-
true
-- .ci/mutants/04-not-go.txt --
This does not compile.
Test: go test -run Open .
File: gate.go
-@ old @-
n > 3
-@ new @-
n > "3"
-- .ci/mutants/05-fails-anyway.txt --
This test proves nothing.
Test: go test -run Broken .
File: gate.go
-@ old @-
n > 3
-@ new @-
true
-- .ci/mutants/07-no-test.txt --
Nothing is run.
Test: go test -run Nothing .
File: gate.go
-@ old @-
n > 3
-@ new @-
true
-- .ci/mutants/06-noticed-too.txt --
The faults before it were taken out again.
Test: go test -run Open .
File: gate.go
-@ old @-
n > 3
-@ new @-
n > 4
`

// TestFaultsAreTriedInACopyOfTheRepository runs everything, in a repository of its own.
func TestFaultsAreTriedInACopyOfTheRepository(t *testing.T) {
	dir := t.TempDir()
	for _, f := range txtar.Parse([]byte(repository)).Files {
		path := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		data := strings.NewReplacer("-@", "--", "@-", "--").Replace(string(f.Data))
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	if out, err := exec.Command("git", "init", "-q").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Setenv("GOWORK", "off")

	var out bytes.Buffer
	err := run(t.Context(), &out, false, 2, nil)
	if err == nil || err.Error() != "5 of 7 faults were not noticed as they should be" {
		t.Errorf("got %v", err)
	}
	for _, want := range []string{
		"noticed  01-noticed: --- FAIL: TestOpen, --- FAIL: TestOpen\n",
		"SURVIVED 02-survives: Nobody looks at this. Passed: go test -run Open .\n",
		"SURVIVED 03-one-test-survives: Each test has to notice. Passed: go test -run Other .\n",
		"ERROR    04-not-go: it does not pass go vet: exit status 1\n",
		"ERROR    05-fails-anyway: go test -run Broken . fails without any fault:\n",
		"ERROR    07-no-test: go test -run Nothing . runs no test\n",
		"noticed  06-noticed-too: --- FAIL: TestOpen\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("missing %q", want)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}

	out.Reset()
	if err := run(t.Context(), &out, false, 1, []string{"01", "06"}); err != nil {
		t.Errorf("the good ones: %v", err)
	}
	if err := os.Remove("ignored.go"); err != nil { // --check builds in the work tree
		t.Fatal(err)
	}
	out.Reset()
	if err := run(t.Context(), &out, true, 1, []string{"01", "02", "03"}); err != nil || out.String() != "3 fit\n" {
		t.Errorf("--check: %q, %v", out.String(), err)
	}
	if err := run(t.Context(), &out, true, 1, nil); err == nil || !strings.Contains(err.Error(), "04-not-go does not fit the code: it does not build") {
		t.Errorf("--check of a fault that does not build: %v", err)
	}
	if err := os.WriteFile("gate.go", []byte("package gate\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	err = run(t.Context(), &out, true, 1, []string{"06"})
	if err == nil || !strings.Contains(err.Error(), "06-noticed-too does not fit the code: gate.go has the old text 0 times") {
		t.Errorf("--check of a fault that does not fit: %v", err)
	}
}
