package plan

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"keepkey/pinset"
)

// In every state of the model, whatever follows leaves the state that it follows on as
// it was: nothing is shared that can change.
func TestAfterLeavesTheStateBeforeAlone(t *testing.T) {
	t.Parallel()
	for _, m := range models {
		m.limit = 2000
		tried := 0
		explore(t, m, false, func(n *node) bool {
			before, err := n.o.in.State.Marshal("")
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range Next(n.o.in).Actions {
				if a.At.After(n.o.in.Now) {
					continue
				}
				n.o.clone().do(t, a, false)
				tried++
			}
			for _, op := range n.o.ops(t, m.keys) {
				op(n.o.clone())
				tried++
			}
			if after, err := n.o.in.State.Marshal(""); err != nil || string(after) != string(before) {
				t.Errorf("%s: was\n%s\nand is\n%s (%v)", n.path(), before, after, err)
				return false
			}
			return true
		})
		if tried < 4000 {
			t.Errorf("%s: only %d transitions", m.name, tried)
		}
	}
}

func TestWhatMakesNoSenseIsRefusedAndChangesNothing(t *testing.T) {
	t.Parallel()
	rolledOver := func(compromised bool) func(*State) {
		return func(s *State) {
			s.Keys[0].Role, s.Keys[1].Role = Retired, Active
			if compromised {
				s.Keys[0].Role = Compromised
			}
			s.Keys = append(s.Keys, Key{Pin: testPin(3), Type: pinset.EC256, Role: Backup})
			s.Certificate.Pin = testPin(2)
			s.Rollover = &Rollover{From: testPin(1), To: testPin(2), Asked: t0, Switched: t0, Compromised: compromised}
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*State)
		action Action
		want   Code // "" for any error
	}{
		{"a rollover before there is a certificate", func(s *State) { s.Certificate, s.Hosts = nil, nil }, Action{Kind: BeginRollover}, NothingYet},
		{"a rollover without a backup key", func(s *State) { s.Keys = s.Keys[:1] }, Action{Kind: BeginRollover}, NothingYet},
		{"a rollover while another is not over", rolledOver(false), Action{Kind: BeginRollover}, RolloverNotOver},
		{"undoing nothing", func(*State) {}, Action{Kind: Undo}, NothingToUndo},
		{"undoing a compromise", rolledOver(true), Action{Kind: Undo}, NoWayBack},
		{"a compromise without a successor", func(*State) {}, Action{Kind: DeclareCompromise, Pin: testPin(9)}, NoSuccessor},
		{"the active key as its own successor", func(*State) {}, Action{Kind: DeclareCompromise, Pin: testPin(1)}, NoSuccessor},
		{"a switch that nobody asked for", func(*State) {}, Action{Kind: SwitchKey}, ""},
		{"an end without a certificate", func(*State) {}, Action{Kind: Obtain}, ""},
		{"beginning twice", func(*State) {}, Action{Kind: BeginLineage}, ""},
		{"an action that nobody knows", func(*State) {}, Action{Kind: "dance"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := settled().State
			tt.change(&s)
			before, _ := s.Marshal("")
			next, entry, err := After(s, tt.action, Result{At: t0})
			var refused *Refusal
			if err == nil || entry != nil || (tt.want != "" && (!errors.As(err, &refused) || refused.Finding.Code != tt.want)) {
				t.Errorf("%v, %v: want %s", entry, err, tt.want)
			}
			if after, _ := next.Marshal(""); string(after) != string(before) {
				t.Error("the state is another")
			}
		})
	}
}

// Every time in the new state is the one at which the action was read to have happened.
func TestOneEventHasOneTime(t *testing.T) {
	t.Parallel()
	in := settled()
	in.State = after(t, in.State, Action{Kind: BeginRollover}, Result{At: t0})
	at := t0.Add(123456789)
	c := *in.State.Certificate
	c.Version, c.Pin, c.Serial, c.Obtained = 2, testPin(2), "5f", time.Time{}
	s := after(t, in.State, Action{Kind: SwitchKey}, Result{At: at, Certificate: &c})
	for name, got := range map[string]time.Time{
		"switched": s.Rollover.Switched, "since": s.Since, "obtained": s.Certificate.Obtained, "asked": s.Window.Asked,
	} {
		if !got.Equal(at) {
			t.Errorf("%s is %s, want %s", name, got, at)
		}
	}
	if s.Active().Pin != testPin(2) || s.Keys[0].Role != Retired {
		t.Errorf("keys %+v", s.Keys)
	}
}

// A schedule counts from when the active key became it: a new lineage has a whole
// period before it, in its forecast too.
func TestAScheduleBeginsWithTheKey(t *testing.T) {
	t.Parallel()
	in := settled()
	in.State, in.Disk, in.Ledger = State{}, Disk{}, pinset.Ledger{}
	in.Goal.RolloverEvery = 365 * day
	p := Forecast(in)
	i := slices.IndexFunc(p.Actions, func(a Action) bool { return a.Kind == BeginRollover })
	if i < 0 || !p.Actions[i].At.Equal(in.Now.Add(365*day)) {
		t.Errorf("the forecast is %+v, want a rollover in a year", p.Actions)
	}
	if slices.ContainsFunc(p.Actions, func(a Action) bool { return a.Kind == SwitchKey }) {
		t.Error("the forecast has a switch of keys")
	}
}

// The end of a rollover waits for every host on record.
func TestTheOldPinStaysUntilEveryHostServesTheNewKey(t *testing.T) {
	t.Parallel()
	switched := func() Input {
		in := settled()
		in.State = after(t, in.State, Action{Kind: BeginRollover}, Result{At: t0})
		c := *in.State.Certificate
		c.Version, c.Pin, c.Serial = 2, testPin(2), "5f"
		in.State = after(t, in.State, Action{Kind: SwitchKey}, Result{At: t0, Certificate: &c})
		in.Disk.Live = 2
		in.State = after(t, in.State, Action{Kind: Install, Version: 2, Host: "here"}, Result{At: t0, Hostname: "here.example"})
		in.State = after(t, in.State, Action{Kind: Deploy, Version: 2, Target: "reload", Host: "here"}, Result{At: t0})
		in.State = after(t, in.State, Action{Kind: Check, Version: 2, Target: in.Goal.Check[0], Host: "here"}, Result{At: t0})
		return in
	}
	for _, tt := range []struct {
		name   string
		change func(*testing.T, *Input)
		waits  string // for this host; "" when it does not wait
	}{
		{"one host, which does", func(*testing.T, *Input) {}, ""},
		{"a second host has the old certificate", func(_ *testing.T, in *Input) { in.State.Hosts["b"] = Host{Hostname: "b.example", Installed: 1} }, "b (b.example)"},
		{"a second host installed the new one and did not reload", func(_ *testing.T, in *Input) { in.State.Hosts["b"] = Host{Installed: 2} }, "b"},
		{"a second host was not looked at", func(_ *testing.T, in *Input) { in.State.Hosts["b"] = Host{Installed: 2, Deployed: in.Goal.Deploy} }, "b"},
		{"a second host does too", func(_ *testing.T, in *Input) {
			in.State.Hosts["b"] = Host{Installed: 2, Deployed: in.Goal.Deploy, Checked: in.Goal.Check}
		}, ""},
		{"a second host is gone", func(t *testing.T, in *Input) {
			in.State.Hosts["b"] = Host{Installed: 1}
			in.State = after(t, in.State, Action{Kind: ForgetHost, Host: "b"}, Result{At: t0})
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := switched()
			tt.change(t, &in)
			p := Next(in)
			retires := slices.ContainsFunc(p.Actions, func(a Action) bool { return a.Kind == RetirePin })
			i := slices.IndexFunc(p.Notes, func(f Finding) bool { return f.Code == OldPinKept })
			if retires != (tt.waits == "") || (i >= 0) != (tt.waits != "") || (i >= 0 && !slices.Equal(p.Notes[i].Hosts, []string{tt.waits})) {
				t.Errorf("retires: %v, notes %+v; want it to wait for %q", retires, p.Notes, tt.waits)
			}
		})
	}
}

// What a CA asked for holds for every certificate that it concerns.
func TestACAThatIsToBeLeftAloneIsNotAsked(t *testing.T) {
	t.Parallel()
	due := func() Input {
		in := settled()
		in.Goal.Check = nil
		in.Now = t0.Add(65 * day)
		in.CA = CA{Until: in.Now.Add(time.Hour), Reason: "too many orders"}
		return in
	}
	for _, tt := range []struct {
		name   string
		change func(*Input)
		due    bool
		code   Code
	}{
		{"it is put off", func(*Input) {}, false, CAPaused},
		{"and told to be silent, if that is so", func(in *Input) { in.CA.Unreachable = true }, false, CAUnreachable},
		{"what was not due is nobody's concern", func(in *Input) { in.Now = t0.Add(day); in.CA.Until = in.Now.Add(time.Hour) }, false, ""},
		{"by force it is asked", func(in *Input) { in.Force = true }, true, ""},
		{"but not twice in one run", func(in *Input) { in.Force, in.CA.ThisRun = true, true }, false, CAPaused},
		{"once the time is over", func(in *Input) { in.CA.Until = in.Now }, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := due()
			tt.change(&in)
			p := Next(in)
			a, isDue := p.Due(in.Now)
			var codes []Code
			for _, f := range p.Problems {
				codes = append(codes, f.Code)
			}
			if isDue != tt.due || (tt.code == "") != (len(codes) == 0) || (tt.code != "" && !slices.Contains(codes, tt.code)) {
				t.Errorf("due: %v (%s), problems %v; want %v, %q", isDue, a.Kind, codes, tt.due, tt.code)
			}
		})
	}
}

// Retry-After says when a CA is to be asked for its window again: never earlier, and, since
// thousands of certificates may have been asked for at once, each a little later.
func TestWindowsAreAskedForWhenTheCASaysAndDriftApart(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name          string
		answer        *Answer
		earliest, end time.Duration
	}{
		{"it said when", &Answer{Start: t0, End: t0.Add(day), AskAgain: 2 * time.Hour}, 2 * time.Hour, 150 * time.Minute},
		{"it did not", &Answer{Start: t0, End: t0.Add(day)}, 6 * time.Hour, 450 * time.Minute},
		{"it did not answer", nil, 6 * time.Hour, 450 * time.Minute},
		{"it has no windows", &Answer{}, day, 30 * time.Hour},
		{"it said never", &Answer{Start: t0, End: t0.Add(day), AskAgain: 1000 * day}, day, 30 * time.Hour},
		{"it said at once", &Answer{Start: t0, End: t0.Add(day), AskAgain: time.Nanosecond}, time.Minute, 75 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			times := make(map[time.Duration]bool)
			for n := range 50 {
				s := settled().State
				s.Certificate.Serial = fmt.Sprintf("%x", n+1)
				again := after(t, s, Action{Kind: AskWindow}, Result{At: t0, Window: tt.answer}).Window.AskAgain.Sub(t0)
				if again < tt.earliest || again > tt.end {
					t.Errorf("asks again after %s, want %s to %s", again, tt.earliest, tt.end)
				}
				times[again] = true
			}
			if len(times) < 40 {
				t.Errorf("50 certificates ask at %d times", len(times))
			}
		})
	}
}
