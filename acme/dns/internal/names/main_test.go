package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestListOfProvidersIsTheOneThatWouldBeGenerated(t *testing.T) {
	t.Parallel()
	want, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join("../..", target))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("acme/dns/%s is not what lego has: run go generate ./acme/dns", target)
	}
}

func TestSourceThatIsNotLegosListIsRefused(t *testing.T) {
	t.Parallel()
	for name, src := range map[string]string{
		"not Go":      "<html>",
		"another one": "package dns\nfunc f(s string) { switch s { case \"acme-dns\": } }",
	} {
		if names, err := parse([]byte(src)); err == nil {
			t.Errorf("%s: got %q", name, names)
		}
	}
}
