package plan

import (
	"errors"
	"testing"
	"time"

	"keepkey/pinset"
)

// history has three versions on a channel, of which the second is the newest that is out.
func history(in *Input) {
	l := pinset.Ledger{}
	lifetime := &pinset.Lifetime{Forever: true}
	for v := 1; v <= 3; v++ {
		l = appended(l, pinset.Entry{At: t0, Kind: pinset.Intent, Channel: "app", Version: v, Pins: in.State.Pins(), Lifetime: lifetime, Places: at("file a", "file b")})
		if v < 3 {
			l = appended(l, pinset.Entry{At: t0, Kind: pinset.Confirm, Channel: "app", Version: v, By: pinset.ByKeepkey})
		}
	}
	in.Ledger = l
}

func TestWhatAPersonMaySayOfAChannel(t *testing.T) {
	t.Parallel()
	manual := func(in *Input) { in.Goal.Channels[0].Manual = true }
	removed := func(in *Input) { in.Goal.Channels = nil }
	for _, tt := range []struct {
		name   string
		change func(*Input)
		a      Action
		done   bool
		want   Code // "" if it may be said
	}{
		{"a version is out, where a person says so", manual, Action{Kind: Confirm, Version: 3}, false, ""},
		{"a version is out, which is known", manual, Action{Kind: Confirm, Version: 2}, true, ""},
		{"a version is out, where keepkey sees to that", nil, Action{Kind: Confirm, Version: 3}, false, NotManual},
		{"a version is out on a channel that is gone", removed, Action{Kind: Confirm, Version: 3}, false, NotManual},
		{"a version that never was is out", manual, Action{Kind: Confirm, Version: 4}, false, NoSuchVersion},
		{"nobody carries an old version", nil, Action{Kind: Retire, Version: 1}, false, ""},
		{"nobody carries what every client has, since the newer one is not out", nil, Action{Kind: Retire, Version: 2}, false, NewestOut},
		{"nobody carries the newest version", nil, Action{Kind: Retire, Version: 3}, false, NewestVersion},
		{"nobody carries anything of a channel that is gone", removed, Action{Kind: Retire, Version: 2}, false, ""},
		{"nobody carries anything of another channel", nil, Action{Kind: Retire, Channel: "web", Version: 1}, false, NothingPublished},
		{"nobody gets anything from a place that is gone", nil, Action{Kind: ClosePlace, Target: "file b"}, false, ""},
		{"nobody gets anything from a place that is configured", nil, Action{Kind: ClosePlace, Target: "file a"}, false, PlaceInUse},
		{"nobody gets anything from a place that never was", nil, Action{Kind: ClosePlace, Target: "file c"}, false, NoSuchPlace},
		{"nobody gets anything from any place of a channel that is gone", removed, Action{Kind: ClosePlace, Target: "file a"}, false, ""},
		{"the same once more", func(in *Input) {
			in.Ledger = appended(in.Ledger, pinset.Entry{At: t0, Kind: pinset.Gone, Channel: "app", Place: "file b", By: pinset.ByPerson})
		}, Action{Kind: ClosePlace, Target: "file b"}, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := settled()
			history(&in)
			if tt.change != nil {
				tt.change(&in)
			}
			if tt.a.Channel == "" {
				tt.a.Channel = "app"
			}
			done, err := Said(in, tt.a)
			var refused *Refusal
			errors.As(err, &refused)
			switch {
			case done != tt.done, (err != nil) != (tt.want != ""), refused != nil && refused.Finding.Code != tt.want:
				t.Errorf("done %v, %v; want done %v, %q", done, err, tt.done, tt.want)
			case err == nil && !done:
				if err := in.Follow(tt.a, Result{At: in.Now}); err != nil {
					t.Errorf("it may be said, and can't be put on record: %v", err)
				}
			}
		})
	}
}

func TestNoChannelMeansThatNobodyKnows(t *testing.T) {
	t.Parallel()
	in := settled()
	in.Goal.Channels, in.Ledger = nil, pinset.Ledger{}
	if v := Gate(in, testPin(2)); v.Open || v.Shut != ChannelsMissing {
		t.Errorf("without channels the gate is %+v", v)
	}
	nobody := in
	nobody.Goal.NobodyPins = true
	if v := Gate(nobody, testPin(2)); !v.Open {
		t.Errorf("where nobody pins the gate is %+v", v)
	}
	// What clients got from channels that are not configured any more counts all the same.
	nobody.Ledger = intended("app", 1, in.State.Pins())
	if v := Gate(nobody, testPin(3)); v.Open {
		t.Errorf("with clients of an earlier channel the gate is %+v", v)
	}
	// In an emergency, a person can accept that nobody knows: for that key.
	in.State.Keys = append(in.State.Keys, Key{Pin: testPin(3), Role: Backup, Created: t0})
	in.State = after(t, in.State, Action{Kind: DeclareCompromise, Pin: testPin(2)}, Result{At: in.Now})
	if v := Gate(in, testPin(2)); v.Open {
		t.Error("nobody accepted anything, and the gate is open")
	}
	in.State = after(t, in.State, Action{Kind: DeclareCompromise, Pin: testPin(2), Accept: true}, Result{At: in.Now})
	if !Gate(in, testPin(2)).Open || Gate(in, testPin(3)).Open {
		t.Error("the gate is not open for the key that was accepted, or for another")
	}
}

// The gate has to be open by both clocks, however little they differ.
func TestSwitchGoesByTheMoreCautiousClock(t *testing.T) {
	t.Parallel()
	in := settled()
	in.Goal.Channels[0].Clients = pinset.Clients{}
	in.Ledger = appended(in.Ledger, pinset.Entry{At: t0, Kind: pinset.Intent, Channel: "app", Version: 2, Pins: []pinset.Pin{testPin(1), testPin(3)}, Lifetime: &pinset.Lifetime{Duration: 30 * day}, Places: at("file a")})
	in.Ledger = appended(in.Ledger, pinset.Entry{At: t0, Kind: pinset.Confirm, Channel: "app", Version: 2, By: pinset.ByKeepkey})
	opens := t0.Add(30 * day)
	for _, tt := range []struct {
		name  string
		skew  time.Duration // how far the CA's clock is ahead
		after time.Duration // when it is by ours, after the gate opens
		open  bool
	}{
		{"both say that it is open", 0, time.Second, true},
		{"the CA's is ahead, which is no help", time.Minute, 0, false},
		{"the CA's is behind by less than anybody would notice", -30 * time.Second, 20 * time.Second, false},
		{"the CA's is behind, and past it, too", -30 * time.Second, 31 * time.Second, true},
		{"the CA's is a day behind", -24 * time.Hour, 23 * time.Hour, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := in
			in.Now = opens.Add(tt.after)
			err := CheckSwitch(in, testPin(3), tt.skew)
			var gate *GateError
			switch {
			case (err == nil) != tt.open:
				t.Errorf("%v", err)
			case err != nil && (!errors.As(err, &gate) || (gate.Skew != 0) != (tt.skew < 0)):
				t.Errorf("%v does not say whose clock it is", err)
			}
		})
	}
}

// An abandonment belongs to the rollover it was accepted for.
func TestClientsThatWereGivenUpComeBackWithTheUndo(t *testing.T) {
	t.Parallel()
	in := settled()
	in.State.Keys = append(in.State.Keys, Key{Pin: testPin(3), Role: Backup, Created: t0}, Key{Pin: testPin(4), Role: Backup, Created: t0})
	follow := func(a Action) {
		t.Helper()
		in.Now = in.Now.Add(time.Hour)
		if err := in.Follow(a, Result{At: in.Now}); err != nil {
			t.Fatal(err)
		}
	}
	follow(Action{Kind: DeclareCompromise, Pin: testPin(3), Accept: true, Entries: in.Ledger.Head().Entries})
	for _, a := range abandonments(in) {
		follow(a)
	}
	if !Gate(in, testPin(3)).Open {
		t.Fatal("the clients were not given up")
	}
	follow(Action{Kind: Undo})
	if Gate(in, testPin(3)).Open {
		t.Error("the rollover was called off, and its clients are still given up")
	}
}

func TestARestartedLedgerTakesTheLongestThatIsKnown(t *testing.T) {
	t.Parallel()
	in := settled()
	in.Goal.Channels[0].Clients = pinset.Clients{Lifetime: pinset.Lifetime{Duration: day}, Cache: 2 * time.Hour}
	in.State.Channels["gone"] = Publication{Version: 1}
	entries := Restart(in, map[string]pinset.Clients{"app": {Lifetime: pinset.Lifetime{Duration: 60 * day}, Cache: time.Hour}})
	if len(entries) != 2 || entries[0].Lifetime.Duration != 60*day || entries[0].Cache.Duration != 2*time.Hour || !entries[1].Lifetime.Forever {
		t.Errorf("%+v", entries)
	}
}
