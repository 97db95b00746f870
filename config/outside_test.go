package config

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A link is followed when it is published to, so where it leads is what counts.
func TestWhereALinkLeadsCounts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	state, web := filepath.Join(dir, "state"), filepath.Join(dir, "web")
	err := errors.Join(
		os.Mkdir(state, 0o700), os.Mkdir(web, 0o700),
		os.Symlink(state, filepath.Join(dir, "other")),
		os.Symlink(filepath.Join(state, "host"), filepath.Join(web, "link.json")), os.WriteFile(filepath.Join(state, "host"), nil, 0o600),
		os.Symlink(web, filepath.Join(state, "out")),
	)
	if err != nil {
		t.Fatal(err)
	}
	for name, inside := range map[string]bool{
		"web/pins.json": false, "web/new/pins.json": false, "web/link.json": true, "other/pins.json": true, "other/new/pins.json": true,
		"web/../state/x": true, "state": true, "state-of-affairs/x": false, "state/out/pins.json": false,
	} {
		_, err := Parse(filepath.Join(dir, "c.yaml"), []byte("state: other\nacme: {accept_terms: true}\ncertificates: [{domains: [a.example], channels: [{name: a, format: json, lifetime: 1d, publish: [{file: "+name+"}]}]}]\n"), nil)
		if (err != nil) != inside {
			t.Errorf("%s: %v", name, err)
		}
		if c := (&Config{State: filepath.Join(dir, "other")}); c.Owns(filepath.Join(dir, name)) != inside {
			t.Errorf("%s: the state directory owns it: %v", name, !inside)
		}
	}
}
