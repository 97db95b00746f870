package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestDemoTellsTheWholeStory(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := run(t.Context(), &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	dir := regexp.MustCompile(`configuration is in (\S+)\.\n`).FindStringSubmatch(out.String())
	if dir == nil {
		t.Fatalf("the demo does not say where its directory is:\n%s", out.String())
	}
	t.Cleanup(func() { os.RemoveAll(dir[1]) })
	for _, want := range []string{
		"renew --domain api.example.com", "first certificate obtained", "finds nothing to do, and so prints nothing", "renewed with the same key", "The certificate changed, the pin stayed.",
		"rotate --name api.example.com", "switched keys", "since the gate is closed until ", "version 1 on channel over-the-air lacks the key's pin",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the demo does not say %q", want)
		}
	}
	if _, err := os.Stat(dir[1] + "/state/lineages/api.example.com/live/privkey.pem"); err != nil {
		t.Errorf("nothing is left to explore: %v", err)
	}
}
