package status_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"keepkey/pinset"
	"keepkey/plan"
	"keepkey/status"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// days is a time so many days, and perhaps some more, after the beginning.
func days(n int, more ...time.Duration) time.Time {
	at := t0.Add(time.Duration(n) * 24 * time.Hour)
	for _, d := range more {
		at = at.Add(d)
	}
	return at
}

// told is what a history says, a line for each event.
func told(journal []plan.Event, ledger []pinset.Entry) []string {
	var lines []string
	for _, e := range status.HistoryOf("api", journal, ledger, map[string]string{"h1": `"reload"`}, nil).Events {
		lines = append(lines, e.At.Format(time.DateOnly)+" "+e.String())
	}
	return lines
}

func TestWhatJournalAndLedgerBothHaveIsToldOnce(t *testing.T) {
	t.Parallel()
	publish := func(at time.Time, version, entry int) plan.Event {
		return plan.Event{At: at, Action: plan.Publish, Reason: plan.WhyNeverPublished, By: plan.AskedByDaemon, Channel: "app", Version: version, Entry: entry}
	}
	intent := func(n int, at time.Time, version int) pinset.Entry {
		return pinset.Entry{N: n, At: at, Kind: pinset.Intent, Channel: "app", Version: version}
	}
	confirm := func(n int, at time.Time, version int) pinset.Entry {
		return pinset.Entry{N: n, At: at, Kind: pinset.Confirm, Channel: "app", Version: version, By: pinset.ByKeepkey}
	}
	const done, begun, out = "published version 1 of the pin set on channel app, and confirmed it (the channel had none; by the daemon)",
		"began to publish version 1 of the pin set on channel app: from here on some client may hold it", "version 1 of the pin set is out on channel app"
	failed := publish(days(0, time.Minute), 1, 0)
	failed.Error = "hook: no"
	later := publish(days(2), 1, 2)
	later.Reason = plan.WhyUnfinished
	for _, tt := range []struct {
		name    string
		journal []plan.Event
		ledger  []pinset.Entry
		want    []string
	}{
		{"published", []plan.Event{publish(days(0, time.Minute), 1, 2)}, []pinset.Entry{intent(1, days(0), 1), confirm(2, days(0, time.Minute), 1)}, []string{"2026-03-01 " + done}},
		{"no journal", nil, []pinset.Entry{intent(1, days(0), 1), confirm(2, days(1), 1)}, []string{"2026-03-01 " + begun, "2026-03-02 " + out}},
		{"no ledger", []plan.Event{publish(days(0), 1, 2)}, nil, []string{"2026-03-01 " + done}},
		{"a hook fails first", []plan.Event{failed, later}, []pinset.Entry{intent(1, days(0), 1), confirm(2, days(2), 1)}, []string{
			"2026-03-01 failed to publish version 1 of the pin set on channel app: hook: no (the channel had none; by the daemon)",
			"2026-03-03 published version 1 of the pin set on channel app, and confirmed it (it had not succeeded before; by the daemon)",
		}},
		{"killed before any hook ran", []plan.Event{publish(days(1), 1, 2)}, []pinset.Entry{intent(1, days(0), 1), confirm(2, days(1), 1)}, []string{"2026-03-01 " + begun, "2026-03-02 " + done}},
		{"a journal of a ledger that was lost", []plan.Event{publish(days(0), 1, 2)}, []pinset.Entry{intent(1, days(8), 1), confirm(2, days(9), 1)}, []string{
			"2026-03-01 " + done, "2026-03-09 " + begun, "2026-03-10 " + out,
		}},
		{"the clock went back", []plan.Event{publish(days(0), 1, 2)}, []pinset.Entry{intent(1, days(1), 1), confirm(2, days(1), 1)}, []string{"2026-03-01 " + done, "2026-03-02 " + begun}},
		{"another channel", []plan.Event{publish(days(0), 1, 1)}, []pinset.Entry{{N: 1, At: days(0), Kind: pinset.Confirm, Channel: "web", Version: 1}}, []string{
			"2026-03-01 " + done, "2026-03-01 version 1 of the pin set is out on channel web",
		}},
		{"a person says so", []plan.Event{{At: days(3), Action: plan.Retire, By: plan.AskedByPerson + " ann", Channel: "app", Version: 1, Entry: 4}},
			[]pinset.Entry{{N: 4, At: days(3), Kind: pinset.Retire, Channel: "app", Version: 1, By: pinset.ByPerson}, {N: 5, At: days(3), Kind: pinset.Gone, Channel: "app", Place: "p1", By: pinset.ByPerson}}, []string{
				"2026-03-04 said that no supported client of channel app carries version 1 of the pin set any more (asked for by ann)",
				"2026-03-04 clients of channel app get nothing from the place p1 any more (asked for by a person)",
			}},
		{"a hook by its name", []plan.Event{{At: days(0), Action: plan.Deploy, Version: 2, Target: "h1", By: plan.AskedByRun}}, nil, []string{`2026-03-01 deployed certificate version 2 with the hook "reload" (by keepkey renew)`}},
	} {
		if got := told(tt.journal, tt.ledger); !slices.Equal(got, tt.want) {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
		}
	}
}

// What has no words of its own would be shown as its token.
func TestEverythingThatIsDoneHasWords(t *testing.T) {
	t.Parallel()
	for _, kind := range []plan.Kind{
		plan.BeginLineage, plan.GenerateKey, plan.Publish, plan.ReadBack, plan.Install, plan.Deploy, plan.Check, plan.Obtain, plan.SwitchKey, plan.RetirePin,
		plan.Abandon, plan.Revoke, plan.BeginRollover, plan.WriteOff, plan.Collect,
		plan.Undo, plan.DeclareCompromise, plan.Confirm, plan.Retire, plan.ClosePlace, plan.ForgetHost, plan.AdoptChannel, plan.AdoptKey, plan.RestartLedger,
	} {
		got := told([]plan.Event{{At: t0, Action: kind}}, nil)[0]
		if words := strings.ReplaceAll(string(kind), "-", " "); strings.HasSuffix(got, " "+words) {
			t.Errorf("%s has no words: %q", kind, got)
		}
	}
	for _, kind := range []pinset.EntryKind{
		pinset.Intent, pinset.Extend, pinset.Confirm, pinset.Retire, pinset.Abandon, pinset.Readmit, pinset.Seen, pinset.Gone, pinset.Unknown,
	} {
		if got := told(nil, []pinset.Entry{{N: 1, At: t0, Kind: kind}})[0]; len(got) < len("2026-03-01 ")+10 {
			t.Errorf("%s has no words: %q", kind, got)
		}
	}
}

func TestWhatCannotBeReadIsSaid(t *testing.T) {
	t.Parallel()
	h := status.HistoryOf("api", nil, nil, nil, []error{errors.New("line 3"), errors.New(strings.Repeat("x", 1<<20))})
	if len(h.Unread) != 2 || h.Unread[0] != "line 3" || len(h.Unread[1]) > 10<<10 {
		t.Errorf("%.300q", h.Unread)
	}
}
