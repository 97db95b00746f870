package status_test

import (
	"crypto/x509"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"keepkey/pinset"
	"keepkey/plan"
	"keepkey/status"
)

// checked is a lineage with the servers that a check found.
func checked(name string, left, lifetime time.Duration, servers ...plan.Server) status.Check {
	leaf := &x509.Certificate{SerialNumber: big.NewInt(0x5e), DNSNames: []string{"api.example.com"}, NotBefore: goldenNow.Add(left - lifetime), NotAfter: goldenNow.Add(left)}
	in := plan.Input{Goal: plan.Goal{Name: name, Domains: leaf.DNSNames, Check: []string{"api.example.com:443"}}, Now: goldenNow}
	in.State.Begun = leaf.NotBefore
	in.State.Keys = []plan.Key{{Pin: pinset.OfCertificate(leaf), Role: plan.Active}}
	in.State.Certificate = &plan.Certificate{Version: 1, Pin: pinset.OfCertificate(leaf), Serial: "5e", NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter}
	in.State.Issued = []plan.Issued{{Version: 1, Serial: "5e"}}
	for i := range servers {
		servers[i].Addr, servers[i].Name = "api.example.com:443", "api.example.com"
		if servers[i].Err == nil {
			servers[i].Chain = []*x509.Certificate{leaf}
		}
	}
	return status.CheckOf(in, plan.Checked{Servers: servers})
}

var goldenNow = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// The first line is all that most pages and calls at night show.
func TestTheFirstLineOfAPlugin(t *testing.T) {
	t.Parallel()
	good := plan.Server{IP: "192.0.2.1"}
	down := plan.Server{IP: "192.0.2.2", Err: errors.New("connection | refused\nand more")}
	away := plan.Server{IP: "2001:db8::1", Err: errors.New("this machine has no route to it"), NoRoute: true}
	unread := status.Unchecked("www", []string{"www.example.com"}, plan.Finding{Code: plan.StateUnreadable, Err: errors.New("damaged")})
	for _, tt := range []struct {
		name  string
		all   []status.Check
		level status.Level
		want  string
	}{
		{"well", []status.Check{checked("api", 58*day, 90*day, good, good)}, status.LevelOK, "OK: 2 servers, 0 channels | 'api'=58d;23:;15:;;"},
		{"short-lived", []status.Check{checked("api", 3*day+8*time.Hour, 6*day, good)}, status.LevelOK, "OK: 1 server, 0 channels | 'api'=3.3d;2.5:;1:;;"},
		{"ending", []status.Check{checked("api", 20*day, 90*day, good)}, status.LevelWarning,
			"WARNING: api: the certificate served at api.example.com:443 at 192.0.2.1 ends soon, and was due for renewal: it expires at 2026-12-11 12:00 UTC; 1 server, 0 channels | 'api'=20d;23:;15:;;"},
		{"skipped", []status.Check{checked("api", 58*day, 90*day, good, away)}, status.LevelOK, "OK: 1 server, 0 channels, 1 skipped | 'api'=58d;23:;15:;;"},
		{"skipped everywhere", []status.Check{checked("api", 58*day, 90*day, away)}, status.LevelUnknown,
			"UNKNOWN: api: there is no server that could be looked at from here (and 1 more); 0 servers, 0 channels, 1 skipped | 'api'=U"},
		{"down", []status.Check{checked("api", 58*day, 90*day, good, down)}, status.LevelWarning,
			"WARNING: api: nobody can tell which key is served at api.example.com:443 at 192.0.2.2: connection / refused; and more; 2 servers, 0 channels | 'api'=58d;23:;15:;;"},
		{"expired, where another is down and of a third nobody can tell", []status.Check{unread, checked("one", 58*day, 90*day, down), checked("two", -time.Hour, 90*day, good)}, status.LevelCritical,
			"CRITICAL: two: the certificate served at api.example.com:443 at 192.0.2.1 is not valid: it expired at 2026-11-21T11:00:00Z; 2 servers, 0 channels | 'www'=U 'one'=U 'two'=-1d;23:;15:;;"},
		{"nobody can tell", []status.Check{unread, checked("api", 58*day, 90*day, good)}, status.LevelUnknown,
			"UNKNOWN: www: the state can't be used: damaged; 1 server, 0 channels | 'www'=U 'api'=58d;23:;15:;;"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			level, got := status.Summary(tt.all)
			if level != tt.level || got != tt.want || strings.Count(got, "|") != 1 {
				t.Errorf("%s\ngot  %s\nwant %s", level, got, tt.want)
			}
		})
	}
}
