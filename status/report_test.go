package status_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"keepkey/pinset"
	"keepkey/plan"
	"keepkey/report"
	"keepkey/status"
)

func TestWhatIsSaidOfReports(t *testing.T) {
	t.Parallel()
	at := time.Date(2027, 3, 4, 10, 0, 0, 0, time.UTC)
	one := plan.ReportSum{Count: 1, Sources: 1, Last: at, Hosts: []string{"api.example.com"}, IDs: []string{"aaaaaaaaaaaa"}}
	many := plan.ReportSum{Count: 7, Sources: 2, Last: at, Hosts: []string{"api.example.com", "www.example.com"}, IDs: strings.Fields(strings.Repeat("bbbbbbbbbbbb ", 6))}
	pins := []pinset.Pin{{1}, {2}, {3}, {4}}
	for _, tt := range []struct {
		finding  plan.Finding
		severity status.Severity
		want     []string
	}{
		{plan.Finding{Code: plan.ReportedInUse, Channel: "ios-app", Version: 12, Time: at.AddDate(0, 0, -3), Retired: true, Target: "aaaaaaaaaaaa", Reports: one}, status.Warning, []string{
			"version 12 of the pin set of channel ios-app, retired at 2027-03-01 10:00 UTC, is still in use: 1 report, the last at 2027-03-04 10:00 UTC", "keepkey report dismiss --name api --id aaaaaaaaaaaa",
		}},
		{plan.Finding{Code: plan.ReportedInUse, Channel: "ota", Version: 3, Time: at.AddDate(0, 0, -3), Target: "aaaaaaaaaaaa", Pins: pins[:1], Reports: many}, status.Warning, []string{
			"version 3 of the pin set of channel ota, whose lifetime ended at 2027-03-01 10:00 UTC, is still in use, by clients that refuse the key that is served (" + pins[0].String() + "): 7 reports from 2 sources, the last at",
		}},
		{plan.Finding{Code: plan.ReportedLockedOut, Channel: "ota", Version: 4, Pins: pins[:1], Reports: one}, status.Critical, []string{"see which server serves it: api.example.com", "to hear no more of them: keepkey report dismiss --name api --id aaaaaaaaaaaa"}},
		{plan.Finding{Code: plan.ReportedInterception, Pins: pins, Reports: many}, status.Warning, []string{
			"a key that this lineage never had (" + pins[0].String() + ", " + pins[1].String() + ", " + pins[2].String() + ", and 1 more), by somebody in between, a proxy, or another server", "api.example.com, www.example.com", "keepkey report dismiss --name api --all",
		}},
		{plan.Finding{Code: plan.ReportedUnknownPins, Reports: one}, status.Warning, []string{"a pin set that keepkey never published", "safe: the gate does not count it"}},
		{plan.Finding{Code: plan.ReportedBackupMissing, Pins: pins[:1], Reports: one}, status.Warning, []string{"without the backup key's (" + pins[0].String() + "): a rollover would lock them out"}},
		{plan.Finding{Code: plan.ReportedNoFailure, Reports: one}, status.Info, []string{"a key that their pins allow", "keepkey report list --name api"}},
		{plan.Finding{Code: plan.ReportsDamaged, Err: errors.New("rubbish")}, status.Warning, []string{"what clients reported can't be read: rubbish", "keepkey report restart --name api"}},
	} {
		p := status.ProblemOf("api", tt.finding)
		text := strings.Join(p.Lines(), "\n")
		for _, want := range tt.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s says\n%s\nand not %s", tt.finding.Code, text, want)
			}
		}
		if p.Severity != tt.severity {
			t.Errorf("%s is %s, want %s", tt.finding.Code, p.Severity, tt.severity)
		}
	}
}

// In JSON, too, lists are lists, and roles are those of our keys alone.
func TestReportsAreListed(t *testing.T) {
	t.Parallel()
	own := pinset.Pin{1}
	in := plan.Input{Goal: plan.Goal{Name: "api"}, State: plan.State{Keys: []plan.Key{{Pin: own, Role: plan.Retired}}}, Now: time.Date(2027, 3, 4, 10, 0, 0, 0, time.UTC)}
	if got, err := json.Marshal(status.ReportsOf(in)); err != nil || string(got) != `{"name":"api","reports":[]}` {
		t.Errorf("%s, %v", got, err)
	}
	in.Reports = plan.NewReports("salt")
	for _, served := range []pinset.Pin{own, {2}, {}} {
		in.Reports = in.Reports.Add(in, report.Report{Host: "api.example.com", Known: []pinset.Pin{{9}}, Served: served}, "a", in.Now)
	}
	got := status.ReportsOf(in).Reports
	if len(got) != 1 || len(got[0].Served) != 2 || got[0].Served[0].Role != plan.Retired || got[0].Served[1].Role != "" || got[0].Count != 3 || got[0].Sources != 1 || got[0].Text != "a pin set that keepkey never published" {
		t.Errorf("%+v", got)
	}
	s := status.Served{Pin: own, Role: plan.Active, Count: 2, Last: in.Now, Allowed: true, Untrusted: true}
	if want := own.String() + ", the active key, which their pins allow, with a certificate that they do not trust: 2 times, the last at 2027-03-04 10:00 UTC"; s.String() != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
	if data, err := json.Marshal(got); err != nil || strings.Contains(string(data), "null") {
		t.Errorf("%s, %v", data, err)
	}
}
