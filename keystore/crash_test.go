package keystore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keepkey/internal/durable"
	"keepkey/internal/fault"
)

// crash is an operation that is tried again and again, and interrupted at another point
// each time.
type crash struct {
	before func(l *Lineage)                          // what is there when it begins
	do     func(l *Lineage) error                    // the operation
	after  func(t *testing.T, l *Lineage, done bool) // what must hold, in the next process
}

var errDead = errors.New("the process is dead")

// crashEverywhere runs an operation until it was interrupted at each of its effects, in
// three ways: before the effect, after it, and, where it writes, in its middle. From
// there on nothing of that process has an effect. Then the next process opens the store,
// tidies, and looks. (Not for parallel tests: there is one fault handler.)
func crashEverywhere(t *testing.T, c crash) {
	t.Helper()
	for _, how := range []string{"before", "after", "within"} {
		for at := 1; ; at++ {
			dir := filepath.Join(t.TempDir(), "state")
			s, l := reopen(t, dir)
			c.before(l)
			var where fault.Point
			n := 0
			fault.Handle(func(p fault.Point, effect func() error) error {
				if !strings.HasPrefix(p.Where, dir) {
					return effect()
				}
				if n++; n < at {
					return effect()
				}
				if n > at {
					return errDead
				}
				where = p
				switch how {
				case "after":
					return errors.Join(effect(), errDead)
				case "within":
					return errors.Join(half(p, effect), errDead)
				}
				return errDead
			})
			err := c.do(l)
			closed := s.Close()
			fault.Handle(nil)
			if closed != nil {
				t.Fatal(closed)
			}
			if n < at {
				if err != nil {
					t.Fatal(err)
				}
				if at < 4 {
					t.Fatalf("only %d effects: this proves nothing", at-1)
				}
			}
			ok := t.Run(fmt.Sprintf("%s %d %s", how, at, where.Op), func(t *testing.T) {
				s, l := reopen(t, dir)
				defer s.Close()
				if err := s.Tidy(); err != nil {
					t.Fatal(err)
				}
				if left := unfinished(t, dir); len(left) > 0 {
					t.Errorf("left behind: %q", left)
				}
				c.after(t, l, err == nil)
			})
			if !ok || n < at {
				break
			}
		}
	}
}

// half carries out the first half of a write; of another effect nothing.
func half(p fault.Point, effect func() error) error {
	if p.Op != "write" {
		return nil
	}
	before, err := os.Stat(p.Where)
	if err != nil {
		return err
	}
	if err := effect(); err != nil {
		return err
	}
	after, err := os.Stat(p.Where)
	if err != nil || after.Size() == before.Size() {
		return err
	}
	return os.Truncate(p.Where, (before.Size()+after.Size())/2)
}

// reopen opens a store as the next process does, with its lineage.
func reopen(t *testing.T, dir string) (*Store, *Lineage) {
	t.Helper()
	s, err := OpenLocked(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	l, err := s.Lineage("api.example.com")
	if err != nil {
		t.Fatal(err)
	}
	return s, l
}

// unfinished lists what has a temporary name.
func unfinished(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(d.Name(), durable.TempPrefix) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// points records the effects of a function below a directory, in order.
func points(t *testing.T, dir string, f func() error) []string {
	t.Helper()
	var seen []string
	fault.Handle(func(p fault.Point, effect func() error) error {
		if strings.HasPrefix(p.Where, dir) {
			seen = append(seen, p.Op+" "+strings.TrimPrefix(p.Where, dir))
		}
		return effect()
	})
	defer fault.Handle(nil)
	if err := f(); err != nil {
		t.Fatal(err)
	}
	return seen
}
