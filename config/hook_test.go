package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"keepkey/hooks"
	"keepkey/pinset"
)

// What comes out is what will act: nothing is left to be translated.
func TestChannelsAndHooksComeReadyToAct(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := Parse(filepath.Join(dir, "c.yaml"), []byte(`acme: {accept_terms: true}
certificates:
  - domains: [a.example.com]
    channels:
      - name: web
        format: json
        lifetime: 30d
        publish:
          - {file: pins.json}
          - {timeout: 5s, command: [bin/upload, --now, 1, true]}
          - {webhook: {url: "https://pins.example.com/?key=1", secret_file: secret}, timeout: 30s}
        read_back: {url: "http://localhost:8080/pins.json", timeout: 20s}
      - {name: app, format: json, lifetime: forever, confirm: manual, publish: [{command: [release]}]}
      - {name: old, format: json, lifetime: none, confirm: automatic, publish: [{command: [release, old]}], read_back: {file: out.json}}
      - {name: cdn, format: json, lifetime: 90m, publish: [{command: [push]}], read_back: {command: [curl, -sf, "https://cdn.example.com/"]}}
    deploy:
      - {command: [systemctl, reload, nginx]}
      - {webhook: {url: "https://ops.example.com/"}}
notify:
  - {command: [bin/page, 7]}
  - {email: root, timeout: 5s}
  - {email: {to: [a@example.com, b@example.com], from: keepkey@example.com, smtp: "localhost:2525"}}
  - {webhook: {url: "https://ops.example.com/alarm", secret_file: secret}}
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	cert := cfg.Certificates[0]
	day := 24 * time.Hour
	for i, want := range []Channel{
		{
			Name: "web", Lifetime: pinset.Lifetime{Duration: 30 * day},
			Publish: []hooks.Hook{
				hooks.File{Path: filepath.Join(dir, "pins.json")},
				hooks.Command{Args: []string{filepath.Join(dir, "bin/upload"), "--now", "1", "true"}, Timeout: 5 * time.Second},
				hooks.Webhook{URL: "https://pins.example.com/?key=1", SecretFile: secret, Timeout: 30 * time.Second},
			},
			ReadBack: hooks.URL{URL: "http://localhost:8080/pins.json", Timeout: 20 * time.Second},
		},
		{
			Name: "app", Lifetime: pinset.Lifetime{Forever: true}, Manual: true,
			Publish: []hooks.Hook{hooks.Command{Args: []string{"release"}, Timeout: time.Minute}},
		},
		{
			Name: "old", Lifetime: pinset.Lifetime{Forever: true},
			Publish:  []hooks.Hook{hooks.Command{Args: []string{"release", "old"}, Timeout: time.Minute}},
			ReadBack: hooks.File{Path: filepath.Join(dir, "out.json")},
		},
		{
			Name: "cdn", Lifetime: pinset.Lifetime{Duration: 90 * time.Minute},
			Publish:  []hooks.Hook{hooks.Command{Args: []string{"push"}, Timeout: time.Minute}},
			ReadBack: hooks.Command{Args: []string{"curl", "-sf", "https://cdn.example.com/"}, Timeout: time.Minute},
		},
	} {
		got := cert.Channels[i]
		if got.Format.Name != "json" || got.Format.Encode == nil {
			t.Errorf("channel %s: format %+v", want.Name, got.Format)
		}
		got.Format = want.Format // functions can't be compared
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got\n%#v\nwant\n%#v", got, want)
		}
	}
	if want := []hooks.Hook{
		hooks.Command{Args: []string{"systemctl", "reload", "nginx"}, Timeout: time.Minute},
		hooks.Webhook{URL: "https://ops.example.com/", Timeout: time.Minute},
	}; !reflect.DeepEqual(cert.Deploy, want) {
		t.Errorf("got\n%#v\nwant\n%#v", cert.Deploy, want)
	}
	if want := []hooks.Hook{
		hooks.Command{Args: []string{filepath.Join(dir, "bin/page"), "7"}, Timeout: time.Minute},
		hooks.Email{To: []string{"root"}, Timeout: 5 * time.Second},
		hooks.Email{To: []string{"a@example.com", "b@example.com"}, From: "keepkey@example.com", SMTP: "localhost:2525", Timeout: time.Minute},
		hooks.Webhook{URL: "https://ops.example.com/alarm", SecretFile: secret, Timeout: time.Minute},
	}; !reflect.DeepEqual(cfg.Notify, want) {
		t.Errorf("got\n%#v\nwant\n%#v", cfg.Notify, want)
	}
}

// What the daemon serves is read back from the daemon, unless clients get it elsewhere.
func TestServedChannelsAreReadBack(t *testing.T) {
	t.Parallel()
	cdn := hooks.URL{URL: "https://cdn.example.com/a", Timeout: time.Minute}
	for _, tt := range []struct {
		listen, keys string
		cache        time.Duration
		readBack     hooks.Reader
	}{
		{"unix:/run/http", "", time.Minute, hooks.Daemon{Network: "unix", Address: "/run/http"}},
		{"127.0.0.1:8443", ", cache: 5m", 5 * time.Minute, hooks.Daemon{Network: "tcp", Address: "127.0.0.1:8443"}},
		{"unix:/run/http", `, read_back: {url: "https://cdn.example.com/a"}`, time.Minute, cdn},
	} {
		// Wherever it is in the file.
		cfg, err := Parse("/c.yaml", []byte(channel("{name: a, format: json, lifetime: 1d, publish: [{serve: true}]"+tt.keys+"}")+"listen: "+tt.listen), nil)
		if err != nil {
			t.Fatal(err)
		}
		cert := cfg.Certificates[0]
		if ch := cert.Channels[0]; !cert.Serves("a") || cert.Serves("b") || ch.Cache != tt.cache || !reflect.DeepEqual(ch.ReadBack, tt.readBack) {
			t.Errorf("%s%s: cache %s, read back from %v", tt.listen, tt.keys, ch.Cache, ch.ReadBack)
		}
	}
}

// An unknown DNS provider is reported like any other mistake.
func TestProviderThatIsNotKnownIsReportedWhereItIs(t *testing.T) {
	t.Parallel()
	const file = `acme: {accept_terms: true}
defaults:
  challenge:
    dns-01:
      provider: exec
certificates:
  - domains: [a.example.com]
  - domains: ["*.example.com"]
    challenge: {dns-01: {provider: rout53}}
`
	known := func(name string) error {
		if name != "exec" {
			return fmt.Errorf("there is no DNS provider %q", name)
		}
		return nil
	}
	_, err := Parse("/c.yaml", []byte(file), known)
	var errs Errors
	want := `/c.yaml:9: certificates[1].challenge.dns-01.provider: there is no DNS provider "rout53"`
	if !errors.As(err, &errs) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	cfg, err := Parse("/c.yaml", []byte(file), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.Certificates[1].Challenge.DNS01.Provider; got != "rout53" {
		t.Errorf("provider %q", got)
	}
}
