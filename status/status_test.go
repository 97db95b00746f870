package status

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"keepkey/pinset"
	"keepkey/plan"
)

// The gate is asked for each backup key that could take over, the next active key first.
func TestEachBackupKeyHasAGate(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	active, lost, known, new := pinset.Pin{1}, pinset.Pin{2}, pinset.Pin{3}, pinset.Pin{4}
	ledger, _, err := pinset.Ledger{}.Append(*pinset.Entry{
		At: now, Kind: pinset.Intent, Channel: "app", Version: 1, Pins: []pinset.Pin{active, lost, known},
	}.WithClients(pinset.Clients{Lifetime: pinset.Lifetime{Forever: true}}))
	if err != nil {
		t.Fatal(err)
	}
	in := plan.Input{
		Goal: plan.Goal{Name: "api", Channels: []plan.Channel{{Name: "app"}}}, Ledger: ledger, Now: now,
		State: plan.State{Begun: now, Keys: []plan.Key{
			{Pin: active, Role: plan.Active}, {Pin: lost, Role: plan.Backup}, {Pin: known, Role: plan.Backup}, {Pin: new, Role: plan.Backup},
		}},
		Disk: plan.Disk{KeyProblems: map[pinset.Pin]error{lost: errors.New("it is missing")}},
	}
	l := Of(in, plan.Plan{})
	if len(l.Gates) != 2 || l.Gates[0].Pin != known || !l.Gates[0].Open || l.Gates[1].Pin != new || l.Gates[1].Open {
		t.Errorf("%+v", l.Gates)
	}
	if !reflect.DeepEqual(*l.Gate, l.Gates[0]) {
		t.Errorf("%+v", l.Gate)
	}
	if left := LeftOver(in, plan.Finding{Code: plan.LineageLeft}); left.Gate != nil || len(left.Gates) != 0 {
		t.Errorf("what is not configured has a gate: %+v", left.Gates)
	}
}

// Where the key that is served was last seen, and whether it was the right one.
func TestAddressesSayWhereTheKeyWasSeen(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	certificate := &plan.Certificate{Version: 2, Pin: pinset.Pin{1}}
	looked := map[string]time.Time{"a:443": now}
	failing := func(kind plan.Kind) map[string]plan.Failure {
		s, _, err := plan.After(plan.State{Schema: plan.Schema, Begun: now, Lineage: "api"}, plan.Action{Kind: kind, Target: "a:443", Host: "here"}, plan.Result{At: now, Failed: &plan.Failed{Text: "no"}})
		if err != nil {
			t.Fatal(err)
		}
		return s.Hosts["here"].Failures
	}
	for _, tt := range []struct {
		name string
		host plan.Host
		want Address
	}{
		{"it was seen", plan.Host{Installed: 2, Checked: []string{"a:443"}, Looked: looked}, Address{"a:443", now, true}},
		{"nobody looked yet", plan.Host{Installed: 2}, Address{Address: "a:443"}},
		{"that was the certificate before", plan.Host{Installed: 1, Checked: []string{"a:443"}, Looked: looked}, Address{"a:443", now, false}},
		{"it was seen, and is not any more", plan.Host{Installed: 2, Checked: []string{"a:443"}, Looked: looked, Failures: failing(plan.Look)}, Address{"a:443", now, false}},
		{"the check after the deployment failed", plan.Host{Installed: 2, Failures: failing(plan.Check)}, Address{Address: "a:443"}},
	} {
		in := plan.Input{
			Goal: plan.Goal{Check: []string{"a:443"}}, Host: "here", Now: now,
			State: plan.State{Begun: now, Certificate: certificate, Hosts: map[string]plan.Host{"here": tt.host}},
		}
		if got := Of(in, plan.Plan{}).Hosts[0].Addresses; !reflect.DeepEqual(got, []Address{tt.want}) {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
}
