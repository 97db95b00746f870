package plan

import (
	"errors"
	"slices"
	"testing"
	"time"

	"keepkey/pinset"
)

// lost is a settled lineage with a backup key whose file is lost, and another that took
// its place and is published.
func lost() Input {
	in := settled()
	in.Goal.Check, in.Goal.KeepOldPin = nil, 7*day
	in.State.Keys = append(in.State.Keys, Key{Pin: testPin(3), Type: pinset.EC256, Role: Backup, Created: t0})
	in.Ledger = appended(in.Ledger, pinset.Entry{At: t0, Kind: pinset.Intent, Channel: "app", Version: 2, Pins: in.State.Pins(), Lifetime: &pinset.Lifetime{Duration: 30 * day}, Places: at("file a")})
	in.Ledger = appended(in.Ledger, pinset.Entry{At: t0, Kind: pinset.Confirm, Channel: "app", Version: 2, By: pinset.ByKeepkey})
	in.State.Channels["app"] = Publication{Version: 2, By: ByHooks, Done: []string{"file a"}}
	in.Disk.KeyProblems = map[pinset.Pin]error{testPin(2): errors.New("missing")}
	in.Now = t0.Add(8 * day)
	return in
}

func TestALostBackupKeyIsWrittenOff(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*Input)
		when   time.Duration // -1: not at all
	}{
		{"a while after another took its place", func(*Input) {}, 0},
		{"not before", func(in *Input) { in.Now = t0.Add(6 * day) }, day},
		{"not when the file was restored", func(in *Input) { in.Disk.KeyProblems = nil }, -1},
		{"not while no other key has its place", func(in *Input) { in.Goal.Backups = 2 }, -1},
		{"not while the other is not published", func(in *Input) { in.State.Channels["app"] = Publication{Version: 2, By: ByHooks} }, -1},
		{"not while a rollover goes to it", func(in *Input) {
			in.Goal.Backups = 0
			in.State = after(t, in.State, Action{Kind: BeginRollover, Pin: testPin(2)}, Result{At: in.Now})
		}, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := lost()
			tt.change(&in)
			i := slices.IndexFunc(Next(in).Actions, func(a Action) bool { return a.Kind == WriteOff })
			if (i >= 0) != (tt.when >= 0) {
				t.Fatalf("planned: %v; %v", i >= 0, Next(in).Actions)
			}
			if i < 0 {
				return
			}
			a := Next(in).Actions[i]
			if got := max(a.At.Sub(in.Now), 0); got != tt.when || a.Pin != testPin(2) {
				t.Errorf("%s in %s", a.Pin, got)
			}
			in.State = after(t, in.State, a, Result{At: in.Now})
			if pins := in.State.Pins(); slices.Contains(pins, testPin(2)) || !slices.Contains(pins, testPin(3)) {
				t.Errorf("the pins are %v", pins)
			}
			if slices.ContainsFunc(Next(in).Problems, func(f Finding) bool { return f.Code == BackupMissing }) {
				t.Error("it is a problem still")
			}
		})
	}
}

// A rollover does not insist on a key that is lost.
func TestARolloverGoesToAKeyThatIsThere(t *testing.T) {
	t.Parallel()
	in := lost()
	if got := NextActive(in); got != testPin(3) {
		t.Errorf("the next active key is %s", got)
	}
	in.Goal.RolloverEvery = day
	in.State.Since = t0
	if a := schedule(in); a.Pin != testPin(3) {
		t.Errorf("the schedule's rollover goes to %s", a.Pin)
	}
	in.State = after(t, in.State, Action{Kind: BeginRollover, Pin: testPin(3)}, Result{At: in.Now})
	if r := in.State.Rollover; r.To != testPin(3) {
		t.Errorf("the rollover goes to %s", r.To)
	}

	// In an emergency the key can be lost after it was chosen.
	in = lost()
	in.Disk.KeyProblems = nil
	in.State = after(t, in.State, Action{Kind: DeclareCompromise, Pin: Successor(in)}, Result{At: in.Now})
	in.Disk.KeyProblems = map[pinset.Pin]error{testPin(2): errors.New("missing")}
	if _, note := switchKey(in); note == nil || note.Code != SuccessorMissing {
		t.Errorf("note %+v", note)
	}
	in.State = after(t, in.State, Action{Kind: DeclareCompromise, Pin: Successor(in)}, Result{At: in.Now})
	if r := in.State.Rollover; r.To != testPin(3) {
		t.Errorf("asked again, it goes to %s", r.To)
	}
}

// The key that was to take over from a compromised one can become compromised as well. What a
// person accepted was for that one, and is asked for again.
func TestACompromisedSuccessorGivesWay(t *testing.T) {
	t.Parallel()
	for _, accept := range []bool{false, true} {
		in := settled()
		in.State.Keys = append(in.State.Keys, Key{Pin: testPin(3), Type: pinset.EC256, Role: Backup, Created: t0})
		in.State = after(t, in.State, Action{Kind: DeclareCompromise, Pin: testPin(2), Accept: true, Entries: 7}, Result{At: in.Now})
		in.State = after(t, in.State, Action{Kind: DeclareCompromise, Keys: []pinset.Pin{testPin(2)}, Pin: testPin(3), Accept: accept, Entries: 9}, Result{At: in.Now})
		r := in.State.Pending()
		if r == nil || r.From != testPin(1) || r.To != testPin(3) || !r.Compromised || in.State.key(testPin(2)).Role != Compromised {
			t.Fatalf("%+v", r)
		}
		if r.BreakageAccepted != accept || (accept && r.Entries != 9) {
			t.Errorf("breakage is accepted: %v (%d), want %v", r.BreakageAccepted, r.Entries, accept)
		}
	}
	in := settled()
	in.State = after(t, in.State, Action{Kind: DeclareCompromise, Pin: testPin(2)}, Result{At: in.Now})
	_, _, err := After(in.State, Action{Kind: DeclareCompromise, Keys: []pinset.Pin{testPin(2)}}, Result{At: in.Now})
	var refused *Refusal
	if !errors.As(err, &refused) || refused.Finding.Code != NoSuccessor {
		t.Errorf("without another key: %v", err)
	}
}

// A switch can fail while the gate is open, and the gate close again, since an old pin set came
// back. Then it waits for the gate, and nothing is wrong.
func TestASwitchThatFailedIsNoProblemWhileTheGateIsClosed(t *testing.T) {
	t.Parallel()
	in := read()
	in.Goal.Backups = 1
	in.State = after(t, in.State, Action{Kind: BeginRollover, Pin: testPin(3)}, Result{At: in.Now})
	in.State = after(t, in.State, Action{Kind: SwitchKey, Pin: testPin(3)}, Result{At: in.Now, Failed: &Failed{Text: "refused"}})
	for days, problem := range map[time.Duration]bool{1: false, 40: true} {
		in := in
		in.Now = t0.Add(days * day)
		in.Now = in.Now.Add(13 * time.Hour)
		next, note := switchKey(in)
		if next.Kind != SwitchKey || note != nil || next.Why.Gate.Open != problem {
			t.Fatalf("day %d: %+v, %+v", days, next, note)
		}
		found := slices.ContainsFunc(Next(in).Problems, func(f Finding) bool { return f.Action == SwitchKey })
		if found != problem {
			t.Errorf("day %d: a problem: %v", days, found)
		}
	}
}
