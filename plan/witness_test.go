package plan

import (
	"slices"
	"testing"
	"time"

	"keepkey/pinset"
)

// What is decided by a single line each, and would be missed by nobody until the day on
// which it matters.

func TestNothingHappenedAfterTheLatestTimeOnRecord(t *testing.T) {
	t.Parallel()
	late := t0.Add(50 * day)
	for name, change := range map[string]func(*Input){
		"the ledger": func(in *Input) {
			in.Ledger = appended(in.Ledger, pinset.Entry{At: late, Kind: pinset.Confirm, Channel: "app", Version: 1, By: pinset.ByKeepkey})
		},
		"the beginning":             func(in *Input) { in.State.Begun = late },
		"the last switch":           func(in *Input) { in.State.Since = late },
		"the certificate":           func(in *Input) { in.State.Certificate.Obtained = late },
		"what the CA said it is by": func(in *Input) { in.State.Clock = &Clock{Ours: t0, CA: late} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := settled()
			change(&in)
			if got := Latest(in); !got.Equal(late) {
				t.Errorf("the latest time is %s", got)
			}
			in.Now = late.Add(-2 * time.Hour)
			if CheckClock(in, 0, false) == nil {
				t.Error("a clock that says less is believed")
			}
		})
	}
}

func TestARolloverThatWasCalledOffDoesNotBeginAgainAtOnce(t *testing.T) {
	t.Parallel()
	in := settled()
	in.Goal.RolloverEvery = 30 * day
	in.State.Since = t0.Add(-40 * day)
	a := schedule(in)
	if a.At.After(in.Now) {
		t.Fatalf("the rollover is due at %s", a.At)
	}
	for _, step := range []Action{a, {Kind: Undo}} {
		in.State = after(t, in.State, step, Result{At: in.Now})
	}
	if got := schedule(in).At; !got.Equal(in.Now.Add(30 * day)) {
		t.Errorf("the next one begins at %s", got)
	}
}

// pending is a lineage whose rollover could switch now.
func pending(t *testing.T, a Action) Input {
	in := settled()
	in.Goal.Channels, in.Goal.Check, in.Goal.NobodyPins, in.Ledger = nil, nil, true, pinset.Ledger{}
	in.State.Keys = append(in.State.Keys, Key{Pin: testPin(3), Type: pinset.EC256, Role: Backup, Created: t0})
	in.State = after(t, in.State, a, Result{At: in.Now})
	return in
}

func TestASwitchThatFailedPauses(t *testing.T) {
	t.Parallel()
	in := pending(t, Action{Kind: BeginRollover})
	if a, _ := switchKey(in); a.At.After(in.Now) {
		t.Fatalf("it waits until %s", a.At)
	}
	in.State = after(t, in.State, Action{Kind: SwitchKey}, Result{At: in.Now, Failed: &Failed{Text: "no", RetryAfter: time.Hour}})
	if a, _ := switchKey(in); !a.At.Equal(in.Now.Add(time.Hour)) {
		t.Errorf("it is tried again at %s", a.At)
	}
	in.Force = true
	if a, _ := switchKey(in); a.At.After(in.Now) {
		t.Errorf("by force it waits until %s", a.At)
	}
}

func TestACompromisedKeyIsReplacedOnlyOnceThereIsAnotherBackup(t *testing.T) {
	t.Parallel()
	in := pending(t, Action{Kind: DeclareCompromise, Pin: testPin(2)})
	if a, note := switchKey(in); a.Kind != SwitchKey || note != nil {
		t.Errorf("with another backup: %v, %+v", a, note)
	}
	in.State.Keys = in.State.Keys[:2]
	if a, note := switchKey(in); a.Kind != "" || note == nil || note.Code != BackupsAwaited {
		t.Errorf("without another backup: %v, %+v", a, note)
	}
	if !slices.ContainsFunc(Next(in).Actions, func(a Action) bool { return a.Kind == GenerateKey }) {
		t.Error("no backup key is made")
	}
}

func TestTheSuccessorIsAKeyThatClientsKnow(t *testing.T) {
	t.Parallel()
	in := settled()
	in.State.Keys = append(in.State.Keys, Key{Pin: testPin(3), Type: pinset.EC256, Role: Backup, Created: t0})
	in.Ledger = appended(pinset.Ledger{}, pinset.Entry{
		At: t0, Kind: pinset.Intent, Channel: "app", Version: 1, Pins: []pinset.Pin{testPin(1), testPin(3)}, Lifetime: &pinset.Lifetime{Duration: day},
	})
	if got := Successor(in); got != testPin(3) {
		t.Errorf("the successor is %s, and clients know the other one", got)
	}
	if got := Successor(in, testPin(3)); got != testPin(2) {
		t.Errorf("when that is compromised, too, it is %s", got)
	}
	if got := Successor(in, testPin(2), testPin(3)); !got.IsZero() {
		t.Errorf("when all are, it is %s", got)
	}
}
