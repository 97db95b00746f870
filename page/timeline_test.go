package page

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"keepkey/internal/scene"
	"keepkey/pinset"
	"keepkey/plan"
)

var t0 = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// after is a day of the story that a test tells.
func after(days int) time.Time { return t0.Add(time.Duration(days) * day) }

func goal(channels ...plan.Channel) plan.Goal {
	return plan.Goal{
		Name: "api", Domains: []string{"api.example.com"}, CA: "https://ca.example/dir", KeyType: pinset.EC256, Backups: 1, KeepOldPin: 7 * day, Channels: channels,
	}
}

// web is a channel from which clients download their pins, and app one of clients that have
// them compiled in.
var (
	web = plan.Channel{Name: "web", Clients: pinset.Clients{Lifetime: pinset.Lifetime{Duration: 30 * day}}, Publish: []pinset.Place{{ID: "p1", Name: "/srv/pins"}}}
	app = plan.Channel{Name: "app", Manual: true, Clients: pinset.Clients{Lifetime: pinset.Lifetime{Forever: true}}}
)

// story is a world that began at t0.
type story struct{ *scene.World }

func begin(g plan.Goal) story { return story{scene.Begin(g, t0, 0)} }

// on lets time go by until a day.
func (s story) on(d int) story {
	s.Run(after(d).Sub(s.In.Now))
	return s
}

func (s story) ask(a plan.Action) story {
	s.Ask(a)
	s.Run(0)
	return s
}

func (s story) rotate() story { return s.ask(plan.Action{Kind: plan.BeginRollover}) }

func (s story) confirm(v int) story {
	return s.ask(plan.Action{Kind: plan.Confirm, Channel: "app", Version: v})
}

func (s story) timeline() Timeline { return TimelineOf(s.In, plan.Forecast(s.In), s.Events) }

// pin is that of the lineage's nth key.
func (s story) pin(n int) pinset.Pin { return s.In.State.Keys[n].Pin }

func TestKeysAreShownAsTheyWereServedAndWillBe(t *testing.T) {
	t.Parallel()
	rolled := func() story { return begin(goal(web)).on(10).rotate() }
	every := goal(web)
	every.RolloverEvery = 100 * day
	type keys = map[int][]Span // by the key's number; the last is what lies ahead
	for _, tt := range []struct {
		name   string
		story  story
		events func([]plan.Event) []plan.Event
		want   keys
	}{
		{"before there is a certificate", begin(goal(web)), nil, keys{}},
		{"never switched", begin(goal(web)).on(5), nil, keys{0: {{t0, after(5)}, {From: after(5)}}}},
		{"switched", rolled().on(12), nil, keys{0: {{t0, after(10)}, {}}, 1: {{after(10), after(12)}, {From: after(12)}}}},
		{"switched, and the journal is lost", rolled().on(12), lose, keys{0: {{t0, after(10)}, {}}, 1: {{after(10), after(12)}, {From: after(12)}}}},
		{"switched long ago, and the journal is lost", rolled().on(40), lose, keys{1: {{after(10), after(40)}, {From: after(40)}}}},
		{"a failed attempt is no switch", begin(goal(web)).on(5), fail, keys{0: {{t0, after(5)}, {From: after(5)}}}},
		{"undone", rolled().on(11).ask(plan.Action{Kind: plan.Undo}).on(12), nil,
			keys{0: {{t0, after(10)}, {after(11), after(12)}, {From: after(12)}}, 1: {{after(10), after(11)}, {}}}},
		{"the schedule has one", begin(every).on(60), nil, keys{0: {{t0, after(60)}, {after(60), after(100)}}, 1: {{From: after(100)}}}},
		{"one waits for the gate", rolled().on(20).rotate(), nil,
			keys{0: {{t0, after(10)}, {}}, 1: {{after(10), after(20)}, {after(20), after(40).Add(2*time.Second + 1)}}, 2: {{From: after(40).Add(2*time.Second + 1)}}}},
		{"one waits for a person", begin(goal(app)).on(10).rotate().confirm(2).on(20).rotate(), nil,
			keys{0: {{t0, after(10)}, {}}, 1: {{after(10), after(20)}, {From: after(20)}}}},
	} {
		events := tt.story.Events
		if tt.events != nil {
			events = tt.events(events)
		}
		got := keys{}
		for _, k := range TimelineOf(tt.story.In, plan.Forecast(tt.story.In), events).Keys {
			n := slices.IndexFunc(tt.story.In.State.Keys, func(known plan.Key) bool { return known.Pin == k.Pin })
			got[n] = append(slices.Clone(k.Served), k.Ahead)
			if k.Role != tt.story.In.State.Keys[n].Role {
				t.Errorf("%s: key %d is shown as %s", tt.name, n, k.Role)
			}
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s:\n%v, want\n%v", tt.name, got, tt.want)
		}
	}
}

func lose([]plan.Event) []plan.Event { return nil }

// fail has a switch in the journal that did not come about.
func fail(events []plan.Event) []plan.Event {
	return append(events, plan.Event{At: after(3), Action: plan.SwitchKey, Pin: pinset.Pin{1}, From: pinset.Pin{2}, Error: "no"})
}

func TestPinSetsAreShownForAsLongAsTheyMayBeEnforced(t *testing.T) {
	t.Parallel()
	type sets = []PinSetTime
	removed := begin(goal(web)).on(10)
	removed.In.Goal.Channels = []plan.Channel{app}
	broken := begin(goal(web)).on(10)
	broken.In.Goal.Backups = 2
	broken.Break(plan.Failed{Text: "no"}, func(a plan.Action) bool { return a.Kind == plan.Publish })
	compromised := begin(goal(app)).on(10).rotate().confirm(2).on(20)
	compromised.ask(plan.Action{Kind: plan.DeclareCompromise, Pin: compromised.pin(2), Accept: true, Entries: 99}).on(21)
	for _, tt := range []struct {
		name    string
		story   story
		channel string
		want    sets
	}{
		{"the newest", begin(goal(web)).on(5), "web", sets{{Version: 1, Span: Span{From: t0}, Confirmed: true}}},
		{"one that was superseded", begin(goal(web)).on(10).rotate().on(12), "web", sets{
			{Version: 1, Span: Span{t0, after(40)}, Confirmed: true, Lacks: true}, {Version: 2, Span: Span{From: after(10)}, Confirmed: true}}},
		{"what is over", begin(goal(web)).on(10).rotate().on(50), "web", sets{
			{Version: 1, Span: Span{t0, after(40)}, Confirmed: true}, {Version: 2, Span: Span{after(10), after(47)}, Confirmed: true}, {Version: 3, Span: Span{From: after(17)}, Confirmed: true}}},
		{"prepared, and not out", begin(goal(app)).on(5), "app", sets{{Version: 1, Span: Span{From: t0}}}},
		{"compiled in, with a newer one that is not out", begin(goal(app)).on(5).confirm(1).rotate().on(6), "app", sets{
			{Version: 1, Span: Span{From: t0}, Confirmed: true, Lacks: true}, {Version: 2, Span: Span{From: after(5)}}}},
		{"compiled in, with a newer one that is out", begin(goal(app)).on(5).confirm(1).rotate().confirm(2).on(6), "app", sets{
			{Version: 1, Span: Span{From: t0}, Confirmed: true, Lacks: true, Person: true}, {Version: 2, Span: Span{From: after(5)}, Confirmed: true}}},
		{"retired", begin(goal(app)).on(5).confirm(1).rotate().confirm(2).ask(plan.Action{Kind: plan.Retire, Channel: "app", Version: 1}).on(6), "app", sets{
			{Version: 1, Span: Span{t0, after(5)}, Confirmed: true}, {Version: 2, Span: Span{From: after(5)}, Confirmed: true}}},
		{"of a channel that is not configured any more", removed, "web", sets{{Version: 1, Span: Span{From: t0}, Confirmed: true, Person: true}}},
		{"one whose publication fails", broken.on(11), "web", sets{{Version: 1, Span: Span{From: t0}, Confirmed: true}}},
	} {
		var got sets
		for _, ch := range tt.story.timeline().Channels {
			if ch.Name == tt.channel {
				got = ch.PinSets
			}
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s:\n%+v, want\n%+v", tt.name, got, tt.want)
		}
	}
	if got := compromised.timeline().Channels[0].PinSets; got[0].To.IsZero() || got[0].Lacks {
		t.Errorf("given up: %+v", got)
	}
}

// TestThePictureAgreesWithTheGate goes through two years of rollovers, and compares what
// keeps the gate closed in the picture with what the gate says.
func TestThePictureAgreesWithTheGate(t *testing.T) {
	t.Parallel()
	g := goal(web, app)
	g.RolloverEvery, g.Backups = 60*day, 2
	s := begin(g)
	closed := 0
	for d := range 700 {
		s.on(d)
		if d%90 == 50 {
			s.confirm(s.In.State.Channels["app"].Version)
		}
		if d%150 == 149 {
			s.ask(plan.Action{Kind: plan.Retire, Channel: "app", Version: 1})
		}
		tl := s.timeline()
		want, got := make(map[string]time.Time), make(map[string]time.Time)
		v := plan.Gate(s.In, plan.NextActive(s.In))
		for _, o := range v.Obstacles {
			want[fmt.Sprint(o.Channel, o.Version, o.Retire)] = o.Until
		}
		left := 0
		for _, ch := range tl.Channels {
			for _, set := range ch.PinSets {
				if set.Lacks {
					retire := set.To.IsZero() && ch.Name == "app"
					got[fmt.Sprint(ch.Name, set.Version, retire)] = set.To
				}
			}
			if len(ch.PinSets) == maxPinSets {
				left = tl.LeftOut
			}
		}
		if left == 0 && !reflect.DeepEqual(got, want) {
			t.Fatalf("day %d: %v, and the gate says %v", d, got, want)
		}
		if gate := tl.Gates[0]; gate.Open != v.Open || !gate.Opens.Equal(v.OpensAt) {
			t.Fatalf("day %d: %+v, and the gate says %+v", d, gate, v)
		}
		if tl.Switch.Ready && !v.Open {
			t.Fatalf("day %d: %q, and the gate is closed", d, tl.Switch.Text)
		}
		if !v.Open {
			closed++
		}
		checkFrame(t, tl)
	}
	if closed == 0 || closed == 700 {
		t.Errorf("the gate was closed on %d days", closed)
	}
}

// checkFrame holds the picture to its bounds.
func checkFrame(t *testing.T, tl Timeline) {
	t.Helper()
	if span := tl.To.Sub(tl.From); span < minSpan || span > maxSpan || tl.Now.Before(tl.From) || tl.Now.After(tl.To) {
		t.Errorf("the picture shows %s to %s at %s", tl.From, tl.To, tl.Now)
	}
}

func TestThePictureShowsWhatMatters(t *testing.T) {
	t.Parallel()
	now := after(1000)
	at := func(days int) time.Time { return now.Add(time.Duration(days) * day) }
	certificate := func(from, renewal, to int) *CertificateTime {
		return &CertificateTime{Span: Span{at(from), at(to)}, Renewal: at(renewal)}
	}
	old := []ChannelTime{{"web", []PinSetTime{{Span: Span{From: at(-900)}}}}}
	for _, tt := range []struct {
		name string
		t    Timeline
		ends []int // days that must be in it
		most int   // days that it may span
	}{
		{"nothing", Timeline{}, []int{0}, 30},
		{"a certificate of six days", Timeline{Certificate: certificate(-1, 2, 5)}, []int{-1, 2, 5}, 30},
		{"a certificate of ninety days", Timeline{Certificate: certificate(-30, 30, 60)}, []int{0, 30, 60}, 140},
		{"a pin set that is very old", Timeline{Certificate: certificate(-30, 30, 60), Channels: old}, []int{0, 60}, 140},
		{"a gate that opens soon, far before anything else", Timeline{Gates: []GateTime{{Opens: at(3)}}, Certificate: certificate(-30, 300, 360)}, []int{0, 3}, 61},
		{"a gate that opens in ten years", Timeline{Gates: []GateTime{{Opens: at(3650)}}, Channels: old}, []int{0}, 730},
		{"a rollover that the schedule has", Timeline{Rollover: &RolloverTime{At: at(200)}, Certificate: certificate(-30, 30, 60)}, []int{0, 30, 60, 200}, 450},
		{"times that make no sense", Timeline{Gates: []GateTime{{Opens: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}}, Channels: []ChannelTime{{"web", []PinSetTime{{Span: Span{From: time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC)}}}}}}, []int{0}, 730},
		{"a certificate that expired long ago", Timeline{Certificate: certificate(-500, -430, -400)}, []int{0}, 30},
	} {
		tt.t.Now = now
		tt.t.frame()
		checkFrame(t, tt.t)
		if days := int(tt.t.To.Sub(tt.t.From) / day); days > tt.most {
			t.Errorf("%s: it spans %d days", tt.name, days)
		}
		for _, d := range tt.ends {
			if at(d).Before(tt.t.From) || at(d).After(tt.t.To) {
				t.Errorf("%s: day %d is not in it: %s to %s", tt.name, d, tt.t.From, tt.t.To)
			}
		}
	}
}

func TestAPictureHasRoomForSoMuch(t *testing.T) {
	t.Parallel()
	g := goal()
	for i := range maxChannels + 4 {
		ch := web
		ch.Name = fmt.Sprintf("channel %02d", i)
		g.Channels = append(g.Channels, ch)
	}
	g.Backups = maxGates + 4
	s := begin(g).on(1)
	for d := range maxPinSets + 4 {
		s.on(d)
		s.In.Goal.Backups++ // another pin set each day
	}
	tl := s.timeline()
	if len(tl.Channels) != maxChannels || len(tl.Gates) != maxGates || tl.LeftOut < 4+4+4*maxChannels {
		t.Errorf("%d channels, %d gates, %d left out", len(tl.Channels), len(tl.Gates), tl.LeftOut)
	}
	for _, ch := range tl.Channels {
		if last := ch.PinSets[len(ch.PinSets)-1]; len(ch.PinSets) > maxPinSets || last.Version != s.In.Ledger.Newest().Version {
			t.Errorf("%d pin sets, the last of version %d", len(ch.PinSets), last.Version)
		}
	}
	if !tl.Channels[0].PinSets[0].Lacks && tl.Channels[0].lacks() {
		t.Error("what keeps the gate closed is left out before what does not")
	}
}

// What answers the question that people come with.
func TestWhetherKeysCanBeSwitched(t *testing.T) {
	t.Parallel()
	rolled := begin(goal(web)).on(10).rotate()
	with := func(s story, change func(*plan.Input)) story {
		change(&s.In)
		return s
	}
	failing := begin(goal(web)).on(10)
	failing.In.Goal.Backups = 2
	failing.Break(plan.Failed{Text: "no"}, func(a plan.Action) bool { return a.Kind == plan.Publish })
	// The ledger is lost, and what takes the place of what was in it is not out yet.
	unconfirmed := begin(goal(web)).on(5)
	unconfirmed.In.Ledger = pinset.Ledger{}
	for _, e := range plan.Restart(unconfirmed.In, nil) {
		var err error
		if unconfirmed.In.Ledger, _, err = unconfirmed.In.Ledger.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	nobody := goal()
	nobody.NobodyPins = true
	for _, tt := range []struct {
		name  string
		story story
		want  Switch
	}{
		{"nothing is there", begin(goal(web)), Switch{Text: "There is no certificate yet."}},
		{"the gate is open", begin(goal(web)).on(5), Switch{Ready: true, At: after(5), Text: "Keys can be switched now."}},
		{"nobody pins", begin(nobody).on(5), Switch{Ready: true, At: after(5), Text: "Keys can be switched now."}},
		{"nobody knows who pins", begin(goal()).on(5), Switch{Text: "Keys can't be switched while nobody knows which clients pin."}},
		{"the gate opens later", begin(goal(web)).on(10).rotate().on(20), Switch{At: after(40).Add(1), Text: "Keys can't be switched before 2026-12-31 12:00 UTC."}},
		{"the gate opens, and the last rollover is not over", with(begin(goal(web)).on(10).rotate(), func(in *plan.Input) { in.Goal.KeepOldPin = 60 * day }),
			Switch{At: after(70), Text: "Keys can't be switched before 2027-01-30 12:00 UTC."}},
		{"another host does not serve the new key yet", with(begin(goal(web)).on(10).rotate(), func(in *plan.Input) {
			in.State.Hosts = map[string]plan.Host{scene.Host: in.State.Hosts[scene.Host], "other": {Installed: 1}}
		}), Switch{Text: "Keys can't be switched again before the last rollover is over."}},
		{"a person is needed", begin(goal(app)).on(5).confirm(1).rotate().confirm(2).on(20), Switch{Text: "Keys can't be switched before a person acts."}},
		{"a rollover waits for the gate", rolled.on(20).rotate(), Switch{Asked: true, At: after(40).Add(2*time.Second + 1), Text: "Keys will be switched at 2026-12-31 12:00 UTC."}},
		{"a rollover waits for a person", begin(goal(app)).on(5).confirm(1).rotate().confirm(2).on(20).rotate(), Switch{Asked: true, Text: "A rollover waits, and when it can go on is not known."}},
		{"a newer pin set has to be out first", unconfirmed, Switch{Text: "Keys can't be switched before a newer pin set is out."}},
		{"the newest pin set is not out", failing.on(11), Switch{Text: "Keys can't be switched before the newest pin set is out."}},
		{"there is no backup key", with(begin(goal(web)).on(5), func(in *plan.Input) {
			in.Disk.KeyProblems = map[pinset.Pin]error{in.State.Backups()[0].Pin: errors.New("it is missing")}
		}), Switch{Text: "Keys can't be switched before there is a backup key."}},
		{"the active key is lost", with(begin(goal(web)).on(5), func(in *plan.Input) {
			in.Disk.KeyProblems = map[pinset.Pin]error{in.State.Active().Pin: errors.New("it is missing")}
		}), Switch{Text: "Keys can't be switched until a problem is mended."}},
		{"the ledger is damaged", with(begin(goal(web)).on(5), func(in *plan.Input) { in.Disk.LedgerProblem = errors.New("line 3") }),
			Switch{Text: "Keys can't be switched before the ledger is whole."}},
		{"the clock is wrong", with(begin(goal(web)).on(5), func(in *plan.Input) {
			in.State.Clock = &plan.Clock{Ours: in.Now, CA: in.Now.Add(-48 * time.Hour)}
		}), Switch{Text: "Keys can't be switched while a clock is wrong."}},
	} {
		if got := tt.story.timeline().Switch; got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
	left := TimelineOf(begin(goal(web)).on(5).In, plan.Plan{Problems: []plan.Finding{{Code: plan.LineageLeft}}}, nil)
	if want := "Keys can't be switched while the configuration does not name the certificate."; left.Switch != (Switch{Text: want}) {
		t.Errorf("nobody configures it any more: %+v", left.Switch)
	}
}

func TestARolloverOfTheScheduleWaitsForTheGate(t *testing.T) {
	t.Parallel()
	g := goal(web)
	g.RolloverEvery = 20 * day
	s := begin(g).on(28) // switched on day 20; the next is due on day 40, and the gate opens on day 50
	if r := s.timeline().Rollover; r == nil || r.Asked || r.To != s.pin(2) || !r.At.Equal(after(50).Add(1)) {
		t.Errorf("%+v", r)
	}
	person := goal(app)
	person.RolloverEvery = 20 * day
	s = begin(person).on(5).confirm(1).on(21).confirm(2).on(28)
	if r := s.timeline().Rollover; r == nil || r.Asked || !r.At.IsZero() {
		t.Errorf("a person has to act first: %+v", r)
	}
}

func TestTheNextRenewalIsShownWithItsWindow(t *testing.T) {
	t.Parallel()
	s := begin(goal(web)).on(5)
	c := s.timeline().Certificate
	if c == nil || c.Version != 1 || c.Renewal.IsZero() || !c.Renewal.After(c.Window.From) || !c.Renewal.Before(c.Window.To) || !c.From.Equal(t0.Add(-time.Hour)) {
		t.Errorf("%+v", c)
	}
}
