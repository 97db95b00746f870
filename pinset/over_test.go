package pinset

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestWhenAPinSetIsOver(t *testing.T) {
	t.Parallel()
	const superseded = "0d app intends 1 AB for 10d cached 1d\n0d app confirms 1\n5d app intends 2 BC for 10d\n5d app confirms 2\n"
	for _, tt := range []struct {
		name, ledger string
		at, want     time.Duration // want: -1 while a client may enforce it
	}{
		{"it is the newest", "0d app intends 1 AB for 10d", 100 * day, -1},
		{"a lifetime after the next one", superseded, 17 * day, 16 * day},
		{"a lifetime has not passed", superseded, 16 * day, -1},
		{"a person said so before that", superseded + "6d app retires 1", 7 * day, 6 * day},
		{"a person said so before that, long ago", superseded + "6d app retires 1", 100 * day, 6 * day},
		{"a person said so after that", superseded + "50d app retires 1", 100 * day, 16 * day},
		{"it was given up", superseded + "6d app abandons 1", 7 * day, 6 * day},
		{"it was given up, and counts again", superseded + "6d app abandons 1\n7d readmit after 4", 8 * day, -1},
		{"it expired", "0d app intends 1 AB for 10d until 3d", 4 * day, 3 * day},
		{"it came back", superseded + "6d app retires 1\n7d app sees 1 at x", 100 * day, -1},
		{"it came back, and a person said that it is over", superseded + "6d app retires 1\n7d app sees 1 at x\n8d app retires 1", 100 * day, 8 * day},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := timeline(t, tt.ledger).Published()[0]
			got := p.Over(Clients{}, t0.Add(tt.at))
			if want := t0.Add(tt.want); (tt.want < 0) != got.IsZero() || (tt.want >= 0 && !got.Equal(want)) {
				t.Errorf("it is over since %s, want %s", got, want)
			}
		})
	}
}

// A pin set is over exactly when no client may enforce it, and has been since then.
func TestOverIsTheEndOfEnforced(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var l Ledger
		hours := rapid.SliceOfN(rapid.IntRange(0, 100), 1, 12).Draw(t, "hours")
		at := t0
		for i, h := range hours {
			at = at.Add(time.Duration(h) * time.Hour)
			kind := rapid.SampledFrom([]EntryKind{Intent, Confirm, Retire, Abandon, Readmit, Seen}).Draw(t, "kind")
			e := Entry{At: at, Kind: kind, Channel: "app", Version: rapid.IntRange(1, i+1).Draw(t, "version"), By: ByPerson}
			switch kind {
			case Intent:
				e.Pins = keys("AB")
				e = *e.WithClients(Clients{Lifetime: Lifetime{Duration: 24 * time.Hour}})
			case Readmit:
				e.Channel, e.Version, e.After = "", 0, rapid.IntRange(1, i+1).Draw(t, "after")
			}
			if next, _, err := l.Append(e); err == nil {
				l = next
			}
		}
		now := at.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "later")) * time.Hour)
		for _, p := range l.Published() {
			over := p.Over(Clients{}, now)
			if over.IsZero() != p.Enforced(Clients{}, now) || over.After(now) {
				t.Fatalf("at %s, over since %s: %+v", now, over, p)
			}
		}
	})
}
