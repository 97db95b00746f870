package keystore

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"keepkey/internal/durable"
)

func TestWhatWasToldIsKeptByLineage(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	record := func(name string) *Told {
		t.Helper()
		r, err := s.Told(name)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, name := range []string{"", "api", "www"} {
		if data := record(name).Load(); data != nil {
			t.Errorf("%q has the record %q before there is one", name, data)
		}
		if err := record(name).Save([]byte("of " + name)); err != nil {
			t.Fatal(err)
		}
		if data := record(name).Load(); string(data) != "of "+name {
			t.Errorf("%q has the record %q", name, data)
		}
	}
	if names, err := s.ToldOf(); err != nil || !slices.Equal(names, []string{"api", "www"}) {
		t.Errorf("%q, %v", names, err)
	}
	// It makes no lineage of what was never begun.
	if names, err := s.Names(); err != nil || len(names) > 0 {
		t.Errorf("lineages %q, %v", names, err)
	}
	for range 2 {
		if err := record("www").Save(nil); err != nil {
			t.Error(err)
		}
	}
	if err := record("").Save(make([]byte, maxFile+1)); err == nil || string(record("").Load()) != "of " {
		t.Errorf("what could not be read back was written: %v", err)
	}

	// What is not ours is no record, and what is unfinished is removed.
	dir := s.toldDir()
	err := errors.Join(os.Remove(dir+"/api.json"), os.Symlink("/etc/passwd", dir+"/api.json"), os.WriteFile(dir+"/"+durable.TempPrefix+"x", nil, 0o600), os.WriteFile(dir+"/..json", nil, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	if data := record("api").Load(); data != nil {
		t.Errorf("read through a link: %.20q", data)
	}
	if names, err := s.ToldOf(); err != nil || !slices.Equal(names, []string{"api"}) {
		t.Errorf("%q, %v", names, err)
	}
	s.untidy.Store(true)
	if err := s.Tidy(); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(dir + "/" + durable.TempPrefix + "*"); err != nil || len(left) > 0 {
		t.Errorf("%q are left (%v)", left, err)
	}
	if _, err := s.Told("../api"); err == nil {
		t.Error("a record outside of its directory")
	}
	reader, err := Open(s.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	r, err := reader.Told("api")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Save(nil); !errors.Is(err, errReadOnly) {
		t.Errorf("a reader wrote: %v", err)
	}
}
