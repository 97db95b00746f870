package plan

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"keepkey/pinset"
	"keepkey/report"
)

// told is a report from clients that hold the keys with these numbers and were served one; 0
// says that the report does not show it.
func told(served byte, known ...byte) report.Report {
	r := report.Report{Host: "api.example.com"}
	for _, b := range known {
		r.Known = append(r.Known, testPin(b))
	}
	if served != 0 {
		r.Served = testPin(served)
		r.Matched = slices.Contains(known, served)
	}
	return r
}

// reportedTo is a lineage whose first pin set, of the keys 1 and 3, was retired on the 40th day,
// and whose second, of the keys 1 and 2, is the one that clients get. It is the 50th day.
func reportedTo() Input {
	in := settled()
	in.State.Keys = append(in.State.Keys, Key{Pin: testPin(3), Type: pinset.EC256, Role: Retired, Created: t0})
	forever := &pinset.Lifetime{Forever: true}
	in.Ledger = pinset.Ledger{}
	for _, e := range []pinset.Entry{
		{At: t0, Kind: pinset.Intent, Channel: "app", Version: 1, Pins: []pinset.Pin{testPin(1), testPin(3)}, Lifetime: forever, Places: at("file a")},
		{At: t0, Kind: pinset.Confirm, Channel: "app", Version: 1, By: pinset.ByKeepkey},
		{At: t0.Add(30 * day), Kind: pinset.Intent, Channel: "app", Version: 2, Pins: []pinset.Pin{testPin(1), testPin(2)}, Lifetime: forever, Places: at("file a")},
		{At: t0.Add(30 * day), Kind: pinset.Confirm, Channel: "app", Version: 2, By: pinset.ByKeepkey},
		{At: t0.Add(40 * day), Kind: pinset.Retire, Channel: "app", Version: 1, By: pinset.ByPerson},
	} {
		in.Ledger = appended(in.Ledger, e)
	}
	in.State.Channels = map[string]Publication{"app": {Version: 2, By: ByHooks, Done: []string{"file a"}}}
	in.Goal.Channels[0].Clients.Lifetime.Forever = true
	in.Now = t0.Add(50 * day)
	in.Reports = NewReports("salt")
	return in
}

func (in *Input) hear(r report.Report, source string, after time.Duration) {
	in.Reports = in.Reports.Add(*in, r, source, t0.Add(after))
}

// only is the ID of the one group that there is.
func only(t testing.TB, r Reports) string {
	t.Helper()
	if len(r.Groups) != 1 {
		t.Fatalf("%d groups of reports, want one: %+v", len(r.Groups), r.Groups)
	}
	return r.Groups[0].ID
}

func TestWhatReportsMean(t *testing.T) {
	t.Parallel()
	const strange = 77 // a key that was never ours
	for _, tt := range []struct {
		name   string
		report report.Report
		after  time.Duration
		change func(*Input)
		want   string // codes; "closed" says that the gate is closed for the backup key
	}{
		{name: "a retired pin set is in use", report: told(1, 1, 3), after: 45 * day, want: "closed reported-in-use reported-no-failure"},
		{name: "of clients that refuse the active key", report: told(2, 1, 3), after: 45 * day, want: "closed reported-in-use"},
		{name: "of which nothing more is told", report: told(0, 1, 3), after: 45 * day, want: "closed reported-in-use"},
		{name: "and no month makes it a matter of the past", report: told(0, 1, 3), after: 45 * day, change: func(in *Input) { in.Now = t0.Add(400 * day) }, want: "closed reported-in-use"},
		{name: "it was in use before it was retired", report: told(0, 1, 3), after: 39 * day, want: ""},
		{name: "clients that act by nothing hold it", report: lax(told(0, 1, 3)), after: 45 * day, want: ""},
		{name: "a pin set whose lifetime is over is in use", report: told(0, 1, 3), after: 75 * day, change: func(in *Input) { superseded(in) }, want: "closed reported-in-use"},
		{name: "one whose lifetime was not over then", report: told(0, 1, 3), after: 55 * day, change: func(in *Input) { superseded(in) }, want: ""},
		{name: "one that was given up is in use", report: told(2, 1, 3), after: 45 * day, change: func(in *Input) {
			in.Ledger = appended(in.Ledger, pinset.Entry{At: t0.Add(41 * day), Kind: pinset.Abandon, Channel: "app", Version: 1, By: pinset.ByPerson})
		}, want: ""},
		{name: "one that came back counts anyway", report: told(0, 1, 3), after: 45 * day, change: func(in *Input) {
			in.Ledger = appended(in.Ledger, pinset.Entry{At: t0.Add(46 * day), Kind: pinset.Seen, Channel: "app", Version: 1, Place: "file a", By: pinset.ByKeepkey})
		}, want: "closed"},
		{name: "the newest pin set is in use", report: told(0, 1, 2), after: 45 * day, want: ""},
		{name: "its clients refuse an old key that was served", report: told(3, 1, 2), after: 45 * day, want: "reported-locked-out"},
		{name: "clients that act by nothing saw an old key", report: lax(told(3, 1, 2)), after: 45 * day, want: ""},
		{name: "its clients met a strange key", report: told(strange, 1, 2), after: 45 * day, want: "reported-interception"},
		{name: "its clients met the right key", report: told(1, 1, 2), after: 45 * day, want: "reported-no-failure"},
		{name: "clients of a retired pin set met a strange key", report: told(strange, 1, 3), after: 45 * day, want: "closed reported-in-use reported-interception"},
		{name: "nobody ever published the pin set", report: told(1, 8, 9), after: 45 * day, want: "reported-unknown-pins"},
		{name: "nor this one, which would not survive a rollover", report: told(0, 1, 9), after: 45 * day, want: "reported-backup-missing reported-unknown-pins"},
		{name: "nor this one, which would", report: told(0, 1, 2, 9), after: 45 * day, want: "reported-unknown-pins"},
		{name: "a month later that is nothing to tell any more", report: told(strange, 8, 9), after: 45 * day, change: func(in *Input) { in.Now = t0.Add(76 * day) }, want: ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := reportedTo()
			if tt.change != nil {
				tt.change(&in)
			}
			in.hear(tt.report, "somebody", tt.after)
			var got []string
			if !Gate(in, testPin(2)).Open {
				got = append(got, "closed")
			}
			for _, code := range in.Reported()[0].Codes {
				got = append(got, string(code))
			}
			if text := strings.Join(got, " "); text != tt.want {
				t.Errorf("got %q, want %q", text, tt.want)
			}
			if v := Gate(in, testPin(1)); !v.Open {
				t.Errorf("the gate is closed for the key that every pin set has: %+v", v)
			}
		})
	}
}

func lax(r report.Report) report.Report {
	r.Lax = true
	return r
}

// superseded has the lifetime of the first pin set end on the 60th day, and no person say
// anything. It is the 80th day.
func superseded(in *Input) {
	month := &pinset.Lifetime{Duration: 30 * day}
	in.Ledger = pinset.Ledger{}
	for _, e := range []pinset.Entry{
		{At: t0, Kind: pinset.Intent, Channel: "app", Version: 1, Pins: []pinset.Pin{testPin(1), testPin(3)}, Lifetime: month, Places: at("file a")},
		{At: t0.Add(30 * day), Kind: pinset.Intent, Channel: "app", Version: 2, Pins: []pinset.Pin{testPin(1), testPin(2)}, Lifetime: month, Places: at("file a")},
		{At: t0.Add(30 * day), Kind: pinset.Confirm, Channel: "app", Version: 2, By: pinset.ByKeepkey},
	} {
		in.Ledger = appended(in.Ledger, e)
	}
	in.Goal.Channels[0].Clients.Lifetime = *month
	in.Now = t0.Add(80 * day)
}

// Where several channels have the same pins, those are what counts whose clients may act by them
// the longest.
func TestAReportDoesNotSayWhichChannelItsClientHas(t *testing.T) {
	t.Parallel()
	in := reportedTo()
	in.Ledger = appended(in.Ledger, pinset.Entry{At: t0.Add(41 * day), Kind: pinset.Intent, Channel: "tv", Version: 1, Pins: []pinset.Pin{testPin(1), testPin(3)}, Lifetime: &pinset.Lifetime{Forever: true}})
	in.hear(told(0, 1, 3), "somebody", 45*day)
	if got := in.Reported()[0]; got.Closes || got.Set.Channel != "tv" || !got.Over.IsZero() {
		t.Errorf("clients of the channel tv may hold the pin set, and the report counts as %+v", got)
	}
	in.Ledger = appended(in.Ledger, pinset.Entry{At: t0.Add(46 * day), Kind: pinset.Retire, Channel: "tv", Version: 1, By: pinset.ByPerson})
	if in.Reported()[0].Closes {
		t.Error("a report from before it was retired counts")
	}
	in.hear(told(0, 1, 3), "somebody", 47*day)
	if got := in.Reported()[0]; !got.Closes || got.Set.Channel != "tv" || !got.Over.Equal(t0.Add(46*day)) {
		t.Errorf("one from after that counts as %+v", got)
	}
}

func TestAPersonDismissesReports(t *testing.T) {
	t.Parallel()
	in := reportedTo()
	in.Now = t0.Add(90 * day)
	closed := func(want bool, when string) {
		t.Helper()
		if v := Gate(in, testPin(2)); v.Open == want {
			t.Errorf("%s, the gate is open: %v", when, v.Open)
		}
	}
	in.hear(told(0, 1, 3), "a", 45*day)
	in.hear(told(0, 1, 3), "b", 45*day)
	closed(true, "after the first reports")
	id := only(t, in.Reports)
	r, err := in.Reports.Dismiss("api", id, "person ada", t0.Add(50*day))
	if err != nil {
		t.Fatal(err)
	}
	in.Reports = r
	closed(false, "after the dismissal")
	for _, source := range []string{"a", "b", "c", "d", "e"} {
		in.hear(told(0, 1, 3), source, 56*day)
	}
	closed(false, "after reports within a week")
	for _, source := range []string{"a", "b", "a", "c", "d", "d"} {
		in.hear(told(0, 1, 3), source, 58*day)
	}
	closed(false, "after reports of old sources and two new ones")
	in.hear(told(0, 1, 3), "e", 60*day)
	closed(true, "after three new sources")
	if g := in.Reports.Groups[0]; g.Count != 14 || len(g.AllSources()) != 5 {
		t.Errorf("%d reports from %d sources, want 14 from 5", g.Count, len(g.AllSources()))
	}
	if in.Reports, err = in.Reports.Dismiss("api", id, "person ada", t0.Add(61*day)); err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		in.hear(told(0, 1, 3), source, 80*day)
	}
	closed(false, "after all of them again, and two new sources")
	if _, err := in.Reports.Dismiss("api", "0123456789ab", "", in.Now); !isRefusal(err, NoSuchReport) {
		t.Errorf("a report that there is not is dismissed: %v", err)
	}
}

func isRefusal(err error, code Code) bool {
	refused, ok := err.(*Refusal)
	return ok && refused.Finding.Code == code
}

// What was dismissed while the pin set was in use says nothing of what is reported once nobody
// should hold it.
func TestADismissalIsOfWhatThereWas(t *testing.T) {
	t.Parallel()
	in := reportedTo()
	in.hear(told(77, 1, 3), "a", 38*day)
	r, err := in.Reports.Dismiss("api", only(t, in.Reports), "", t0.Add(39*day))
	if err != nil {
		t.Fatal(err)
	}
	in.Reports = r
	if Gate(in, testPin(2)).Reported != nil {
		t.Fatal("it counts before it was retired")
	}
	in.hear(told(0, 1, 3), "a", 41*day)
	if Gate(in, testPin(2)).Open {
		t.Error("the gate is open, since something else was dismissed")
	}
}

func TestReportsStopNoRenewalAndNoEmergency(t *testing.T) {
	t.Parallel()
	in := reportedTo()
	in.State.Keys = append(in.State.Keys, Key{Pin: testPin(4), Type: pinset.EC256, Role: Backup, Created: t0})
	in.hear(told(0, 1, 3), "a", 45*day)
	in.Now = t0.Add(70 * day) // a renewal is due
	renews := func() bool {
		return slices.ContainsFunc(Next(in).Actions, func(a Action) bool { return a.Kind == Obtain && !a.At.After(in.Now) })
	}
	if !renews() {
		t.Error("no renewal is due")
	}
	if in.Disk.ReportsProblem = errors.New("rubbish"); !renews() {
		t.Error("no renewal is due, since the reports are damaged")
	}
	if v := Gate(in, testPin(2)); v.Shut != ReportsDamaged {
		t.Errorf("the reports are damaged, and the gate says %+v", v)
	}
	// The emergency: what is reported is told, and stops nothing.
	if Successor(in) != testPin(2) {
		t.Errorf("the successor is %s", Successor(in))
	}
	for _, damaged := range []error{in.Disk.ReportsProblem, nil} {
		in.Disk.ReportsProblem = damaged
		urgent := in
		urgent.State = after(t, in.State, Action{Kind: DeclareCompromise, Pin: testPin(2)}, Result{At: in.Now})
		v := Gate(urgent, testPin(2))
		if !v.Open || (damaged == nil && len(v.Reported) != 1) {
			t.Errorf("with a compromised key and damage %v the gate says %+v", damaged, v)
		}
		if a, note := switchKey(urgent); a.Kind != SwitchKey || a.At.After(in.Now) {
			t.Errorf("the switch waits: %+v, %+v", a, note)
		}
		if CheckSwitch(urgent, testPin(2), 0) != nil {
			t.Error("the switch is refused at last")
		}
	}
}

func TestARolloverWaitsForAPerson(t *testing.T) {
	t.Parallel()
	in := reportedTo()
	in.State.Keys = append(in.State.Keys, Key{Pin: testPin(4), Type: pinset.EC256, Role: Backup, Created: t0})
	in.Ledger = appended(in.Ledger, pinset.Entry{At: t0.Add(42 * day), Kind: pinset.Intent, Channel: "app", Version: 3, Pins: []pinset.Pin{testPin(1), testPin(2), testPin(4)}, Lifetime: &pinset.Lifetime{Forever: true}, Places: at("file a")})
	in.Ledger = appended(in.Ledger, pinset.Entry{At: t0.Add(42 * day), Kind: pinset.Confirm, Channel: "app", Version: 3, By: pinset.ByKeepkey})
	in.State.Channels = map[string]Publication{"app": {Version: 3, By: ByHooks, Done: []string{"file a"}}}
	in.State = after(t, in.State, Action{Kind: BeginRollover, Pin: testPin(2)}, Result{At: in.Now})
	if a, note := switchKey(in); a.Kind != SwitchKey || note != nil {
		t.Fatalf("without reports it waits: %+v", note)
	}
	in.hear(told(0, 1, 3), "a", 45*day)
	a, note := switchKey(in)
	if a.Kind != "" || note == nil || note.Code != RolloverWaits || len(note.Gate.Reported) != 1 || !note.Gate.OpensAt.IsZero() {
		t.Errorf("with a report: %+v, %+v", a, note)
	}
	if p := Forecast(in); slices.ContainsFunc(p.Actions, func(a Action) bool { return a.Kind == SwitchKey }) {
		t.Error("the forecast has a switch")
	}
	if CheckSwitch(in, testPin(2), 0) == nil {
		t.Error("the last word is that it may be")
	}
}

// A lineage with any history, and any reports: they never open a gate, and when all are
// dismissed it is the same as without.
func TestReportsOnlyClose(t *testing.T) {
	t.Parallel()
	closings := 0
	rapid.Check(t, func(t *rapid.T) {
		in := reportedTo()
		number := func(label string, low, high int) int { return rapid.IntRange(low, high).Draw(t, label) }
		set := func() []pinset.Pin {
			pins := [][]pinset.Pin{{testPin(1), testPin(2)}, {testPin(2), testPin(3)}, {testPin(1), testPin(3)}}
			return pins[number("pins", 0, 2)]
		}
		channels := []string{"app", "tv"}
		newest := 2
		for range number("steps", 1, 40) {
			in.Now = in.Now.Add(time.Duration(number("hours", 0, 72)) * time.Hour)
			e := pinset.Entry{At: in.Now, Channel: rapid.SampledFrom(channels).Draw(t, "channel"), Version: number("version", 1, newest+1), By: pinset.ByPerson}
			switch number("what", 0, 9) {
			default:
				r := report.Report{Host: "api.example.com", Known: set(), Lax: number("lax", 0, 5) == 5, Served: testPin(byte(number("served", 0, 6)))}
				in.Reports = in.Reports.Add(in, r, fmt.Sprint(number("source", 0, 9)), in.Now)
				if groups := in.Reports.Groups; number("dismiss", 0, 4) == 4 {
					in.Reports, _ = in.Reports.Dismiss("api", groups[number("group", 0, len(groups)-1)].ID, "", in.Now)
				}
				onlyCloses(t, in, &closings)
				continue
			case 5, 6:
				e.Kind, e.Pins, e.Version = pinset.Intent, set(), newest+1
				e = *e.WithClients(pinset.Clients{Lifetime: pinset.Lifetime{Duration: 5 * day}})
			case 7, 8:
				e.Kind = pinset.Confirm
			case 9:
				e.Kind = rapid.SampledFrom([]pinset.EntryKind{pinset.Retire, pinset.Abandon, pinset.Seen}).Draw(t, "kind")
			}
			if next, _, err := in.Ledger.Append(e); err == nil {
				in.Ledger = next
				newest = max(newest, e.Version)
			}
		}
		onlyCloses(t, in, &closings)
	})
	if closings == 0 {
		t.Error("no report ever closed the gate")
	}
}

// onlyCloses holds the gate of a lineage to what reports may do.
func onlyCloses(t *rapid.T, in Input, closings *int) {
	without, dismissed, broken := in, in, in
	without.Reports = Reports{}
	for _, g := range in.Reports.Groups {
		dismissed.Reports, _ = dismissed.Reports.Dismiss("api", g.ID, "", in.Now.Add(time.Second))
	}
	broken.Disk.ReportsProblem = errors.New("rubbish")
	for n := range byte(8) {
		key := testPin(n)
		with, bare := Gate(in, key), Gate(without, key)
		if with.Open != (bare.Open && len(with.Reported) == 0) || !reflect.DeepEqual(with.Obstacles, bare.Obstacles) {
			t.Fatalf("for %s the gate says %+v, and without reports %+v", key, with, bare)
		}
		if bare.Open && !with.Open {
			*closings++
		}
		for _, r := range with.Reported {
			if slices.Contains(r.Known, key) || !slices.ContainsFunc(in.Ledger.Published(), func(p pinset.Published) bool { return pinset.SamePins(p.Pins, r.Known) }) {
				t.Fatalf("the gate for %s is closed by what keepkey never published: %+v", key, r)
			}
		}
		if got := Gate(dismissed, key); !reflect.DeepEqual(got, bare) {
			t.Fatalf("with all reports dismissed the gate says %+v, and without any %+v", got, bare)
		}
		if EmergencyGate(in, key).Open != EmergencyGate(without, key).Open {
			t.Fatal("a report counts in an emergency")
		}
		if Gate(broken, key).Open {
			t.Fatal("damaged reports opened the gate")
		}
	}
}

func TestAFloodOfForgedReportsPushesOutNothingThatClosesTheGate(t *testing.T) {
	t.Parallel()
	in := reportedTo()
	in.hear(told(0, 1, 3), "an honest client", 45*day)
	id := only(t, in.Reports)
	forged := func(i int) report.Report {
		r := told(byte(i), 1)
		r.Known = append(r.Known, pinset.Pin{200, byte(i >> 8), byte(i)})
		return r
	}
	for i := range 3000 {
		in.hear(forged(i), fmt.Sprintf("source %d", i%700), 46*day+time.Duration(i)*time.Second)
	}
	// The same source can't fill it, either.
	for i := range 300 {
		in.hear(forged(5000+i), "one source", 47*day+time.Duration(i)*time.Second)
	}
	// Nor does it help to tell of other keys, hosts or apps in the same group.
	for i := range 3000 {
		r := told(0, 1, 3)
		r.Served, r.Host, r.App = pinset.Pin{100, byte(i >> 8), byte(i)}, fmt.Sprintf("h%d.example.com", i), fmt.Sprintf("app %d", i)
		in.hear(r, fmt.Sprintf("source %d", i), 47*day)
	}
	if len(in.Reports.Groups) != maxGroups || in.Reports.Groups[0].ID != id || Gate(in, testPin(2)).Open {
		t.Fatalf("%d groups, of which the first is %+v; the gate says %+v", len(in.Reports.Groups), in.Reports.Groups[0], Gate(in, testPin(2)))
	}
	if g := in.Reports.Groups[0]; len(g.Served) != maxServed || len(g.Hosts) != maxHosts || len(g.Apps) != maxApps || len(g.Sources) != maxSources || g.Count != 3001 {
		t.Errorf("the group was not bounded: %+v", g)
	}
	one := 0
	for _, g := range in.Reports.Groups {
		if slices.Equal(g.Sources, []string{in.Reports.hash("source", []byte("one source"))}) {
			one++
		}
	}
	if one != maxPerSource {
		t.Errorf("one source has %d groups, want %d", one, maxPerSource)
	}
	problems, _ := in.ReportFindings()
	if len(problems) > 6 {
		t.Errorf("%d problems", len(problems))
	}
}

// Which key of ours was served is not forgotten, whatever else is told.
func TestAFloodOfForgedKeysPushesOutNoKeyOfOurs(t *testing.T) {
	t.Parallel()
	in := reportedTo()
	in.hear(told(3, 1, 2), "an honest client", 45*day)
	for i := range 100 {
		r := told(0, 1, 2)
		r.Served = pinset.Pin{100, byte(i)}
		in.hear(r, "somebody", 46*day)
	}
	if r := in.Reported()[0]; !slices.Contains(r.Codes, ReportedLockedOut) || len(r.Served) != maxServed {
		t.Errorf("%+v", r)
	}
}

// With more pin sets than there is room for, those stay that lack the most keys.
func TestTheOldestPinSetsStayOnRecord(t *testing.T) {
	t.Parallel()
	in := reportedTo()
	in.Ledger = pinset.Ledger{}
	at := t0
	set := func(i int) []pinset.Pin { return []pinset.Pin{{10, byte(i)}, {10, byte(i + 1)}} }
	for i := range 150 {
		at = at.Add(time.Minute)
		in.Ledger = appended(in.Ledger, pinset.Entry{At: at, Kind: pinset.Intent, Channel: "app", Version: i + 1, Pins: set(i), Lifetime: &pinset.Lifetime{}})
		in.Ledger = appended(in.Ledger, pinset.Entry{At: at, Kind: pinset.Confirm, Channel: "app", Version: i + 1, By: pinset.ByKeepkey})
	}
	in.Goal.Channels[0].Clients = pinset.Clients{}
	for i := range 149 {
		n := 148 - i
		in.Reports = in.Reports.Add(in, report.Report{Host: "api.example.com", Known: set(n)}, "a", t0.Add(day))
	}
	for i := range 149 {
		has := slices.ContainsFunc(in.Reports.Groups, func(g ReportGroup) bool { return pinset.SamePins(g.Known, set(i)) })
		if has != (i < maxGroups) {
			t.Errorf("version %d is on record: %v", i+1, has)
		}
	}
}

func TestReportsAreReadAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	in := reportedTo()
	r := told(2, 1, 3)
	r.App = "com.example.app 1.2 <IOS>"
	in.hear(r, "192.0.2.1", 45*day)
	in.hear(told(0, 8, 9), "192.0.2.1", 46*day)
	in.Reports, _ = in.Reports.Dismiss("api", in.Reports.Groups[0].ID, strings.Repeat("ä", 400), in.Now)
	data, err := in.Reports.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte("192.0.2.1")) {
		t.Errorf("the source can be read: %s", data)
	}
	if got, err := ParseReports(data); err != nil || !reflect.DeepEqual(got, in.Reports) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, got, in.Reports)
	}
	for name, bad := range map[string]string{
		"nothing": "", "half of it": string(data[:len(data)/2]), "a newer one": `{"schema": 2, "salt": "a", "groups": []}`, "another thing": `{"schema": 1, "salt": "a", "groups": [], "more": 1}`,
		"no salt": `{"schema": 1, "groups": []}`, "too much": `{"schema": 1, "salt": "a", "groups": [` + strings.TrimSuffix(strings.Repeat("{},", 101), ",") + `]}`, "more behind it": string(data) + "{}",
	} {
		if _, err := ParseReports([]byte(bad)); err == nil {
			t.Errorf("%s is read", name)
		}
	}
}

func FuzzParseReports(f *testing.F) {
	in := reportedTo()
	in.hear(told(2, 1, 3), "a", 45*day)
	in.Reports, _ = in.Reports.Dismiss("api", in.Reports.Groups[0].ID, "person ada", in.Now)
	data, err := in.Reports.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseReports(data)
		if err != nil {
			return
		}
		in := reportedTo()
		without := Gate(in, testPin(2))
		in.Reports = r
		if v := Gate(in, testPin(2)); v.Open && !without.Open {
			t.Error("it opened the gate")
		}
		Next(in)
		in.hear(told(1, 1, 3), "b", 46*day)
		if len(in.Reports.Groups) > maxGroups {
			t.Errorf("%d groups", len(in.Reports.Groups))
		}
	})
}
