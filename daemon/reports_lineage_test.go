package daemon_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"keepkey/acme"
	"keepkey/apply"
	"keepkey/config"
	"keepkey/daemon"
	"keepkey/hooks"
	"keepkey/internal/acmetest"
	"keepkey/keystore"
	"keepkey/pinset"
	"keepkey/pinset/format"
	"keepkey/plan"
	"keepkey/report"
)

// From an app with TrustKit, over HTTP, to the gate: a person said that nobody carries the first
// pin set any more, and somebody does.
func TestWhatAnAppReportsClosesTheGate(t *testing.T) {
	t.Parallel()
	acme.SetLogger(slog.New(slog.DiscardHandler))
	ca, err := acmetest.Start(acmetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ca.Close)
	dir := t.TempDir()
	bundle := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(bundle, ca.CAPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := keystore.OpenLocked(filepath.Join(dir, "state"), "")
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	cert := config.Certificate{
		Name: "api", Domains: []string{"api.example.com"}, KeyType: pinset.EC256, Backups: 1,
		ACME:      config.ACME{Directory: ca.Directory, AcceptTerms: true, CABundle: bundle},
		Challenge: config.Challenge{HTTP01: &config.HTTP01{Listen: ca.HTTPAddr}},
		Channels: []config.Channel{{
			Name: "ios-app", Format: format.JSON, Lifetime: pinset.Lifetime{Forever: true}, Publish: []hooks.Hook{hooks.File{Path: filepath.Join(dir, "pins.json")}},
		}},
	}
	runner := &apply.Runner{Store: store, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	defer runner.Close()
	renew := func() apply.Report {
		t.Helper()
		rep := runner.Renew(t.Context(), cert, apply.Options{})
		for _, p := range rep.Problems {
			if p.Code != plan.ReportedInUse {
				t.Fatalf("%+v", p)
			}
		}
		return rep
	}
	renew()
	if err := runner.Rotate(t.Context(), cert, apply.RotateOptions{}); err != nil {
		t.Fatal(err)
	}
	renew()
	in := renew().Input
	next, first := plan.NextActive(in), in.Ledger.Published()[0]
	if err := runner.Retire(t.Context(), cert, first.Channel, first.Version); err != nil {
		t.Fatal(err)
	}
	if in = renew().Input; slices.Contains(first.Pins, next) || !plan.Gate(in, next).Open {
		t.Fatalf("the gate is not open for a key that the first pin set lacks: %+v", plan.Gate(in, next))
	}

	reports, heard := daemon.NewReports(), make(chan []string, 1)
	reports.Now = time.Now
	reports.About = func(r report.Report) []config.Certificate {
		if plan.Covers(cert.Domains, r.Host) {
			return []config.Certificate{cert}
		}
		return nil
	}
	reports.Hear = func(ctx context.Context, certs []config.Certificate, all []apply.Received) {
		news, err := runner.Hear(ctx, certs, all)
		if err != nil {
			t.Error(err)
		}
		heard <- news
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); reports.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	server := httptest.NewServer(reports)
	defer server.Close()
	send := func(host string) int {
		t.Helper()
		body := trustKit(t, host, filepath.Join(dir, "state/lineages/api/live/fullchain.pem"), first.Pins)
		resp, err := http.Post(server.URL, "application/json", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if code := send("www.example.org"); code != http.StatusNotFound {
		t.Errorf("a report about another's host is answered with %d", code)
	}
	if code := send("api.example.com"); code != http.StatusNoContent {
		t.Fatalf("status %d", code)
	}
	if news := <-heard; !slices.Equal(news, []string{"api"}) {
		t.Errorf("news of %q", news)
	}
	in = renew().Input
	if v := plan.Gate(in, next); v.Open || len(v.Reported) != 1 || v.Reported[0].Set.Version != 1 {
		t.Errorf("the gate says %+v", v)
	}
	if got := in.Reported()[0]; len(got.Served) != 1 || got.Served[0].Pin != in.State.Active().Pin || !slices.Equal(got.Apps, []string{"com.example.app 1.2 (IOS)"}) {
		t.Errorf("the report is on record as %+v", got)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "state/lineages/api/reports.json")); err != nil || strings.Contains(string(data), "127.0.0") {
		t.Errorf("the source can be read: %s (%v)", data, err)
	}
}

// trustKit is a report as TrustKit sends it.
func trustKit(t *testing.T, host, chain string, known []pinset.Pin) []byte {
	t.Helper()
	data, err := os.ReadFile(chain)
	if err != nil {
		t.Fatal(err)
	}
	var certificates, pins []string
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		certificates = append(certificates, strings.ReplaceAll(string(pem.EncodeToMemory(block)), "\n", "\r\n"))
	}
	for _, p := range known {
		pins = append(pins, fmt.Sprintf("pin-sha256=%q", p))
	}
	body, err := json.Marshal(map[string]any{
		"app-bundle-id": "com.example.app", "app-version": "1.2", "app-platform": "IOS", "trustkit-version": "3.0.7", "date-time": "2026-11-30T12:00:00Z",
		"hostname": host, "port": 0, "noted-hostname": "api.example.com", "include-subdomains": false, "enforce-pinning": true,
		"validated-certificate-chain": certificates, "known-pins": pins, "validation-result": 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	return body
}
