package plan

import (
	"errors"
	"testing"

	"keepkey/pinset"
)

func TestWhatIsOutThereShowsTheActiveKey(t *testing.T) {
	t.Parallel()
	doc := func(version int, pins ...byte) Sighting {
		s := Sighting{Place: "file a", Version: version}
		for _, p := range pins {
			s.Pins = append(s.Pins, testPin(p))
		}
		return s
	}
	for _, tt := range []struct {
		name   string
		seen   map[string][]Sighting
		served []Served
		change func(*Input)
		want   byte // the active key
		code   Code
	}{
		{name: "clients accept the active key", seen: map[string][]Sighting{"app": {doc(7, 1, 8)}}, want: 1},
		{name: "clients accept the backup key alone", seen: map[string][]Sighting{"app": {doc(7, 2, 8)}}, want: 2},
		{name: "clients accept both, so nothing is switched", seen: map[string][]Sighting{"app": {doc(7, 1, 2)}}, want: 1},
		{name: "clients accept another key", seen: map[string][]Sighting{"app": {doc(7, 8, 9)}}, code: NoKeyAccepted},
		{name: "the newest document of a channel counts", seen: map[string][]Sighting{"app": {doc(7, 2, 8), doc(5, 1, 2)}}, want: 2},
		{name: "every channel counts", seen: map[string][]Sighting{"app": {doc(7, 1, 2)}, "web": {doc(7, 2, 8)}}, want: 2},
		{name: "no key is in all", seen: map[string][]Sighting{"app": {doc(7, 1, 8)}, "web": {doc(7, 2, 8)}}, code: NoKeyAccepted},
		{name: "the served key wins", seen: map[string][]Sighting{"app": {doc(7, 1, 2)}}, served: []Served{{"a:443", testPin(2)}}, want: 2},
		{name: "a served key that is not here", served: []Served{{"a:443", testPin(9)}}, code: ServedKeyUnknown},
		{name: "two addresses that differ", served: []Served{{"a:443", testPin(1)}, {"b:443", testPin(2)}}, code: ServedKeyUnknown},
		{name: "a key whose file is lost", seen: map[string][]Sighting{"app": {doc(7, 2, 8)}}, change: func(in *Input) {
			in.Disk.KeyProblems = map[pinset.Pin]error{testPin(2): errors.New("missing")}
		}, code: NoKeyAccepted},
		{name: "nothing", code: NothingSeen},
		{name: "another lineage's document", seen: map[string][]Sighting{"app": {{Lineage: "www", Version: 7, Pins: []pinset.Pin{testPin(1)}}}}, code: NothingSeen},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := settled()
			if tt.change != nil {
				tt.change(&in)
			}
			a, err := Adopt(in, tt.seen, tt.served)
			var refused *Refusal
			if errors.As(err, &refused); tt.code != "" || err != nil {
				if refused == nil || refused.Finding.Code != tt.code {
					t.Errorf("%v, want %q", err, tt.code)
				}
				return
			}
			if a.Active != testPin(tt.want) || len(a.Reasons) == 0 {
				t.Fatalf("%+v", a)
			}
			// What follows: nothing but the active key is known to be accepted.
			clients := pinset.Clients{Lifetime: pinset.Lifetime{Duration: 30 * day}}
			for _, step := range []Action{
				{Kind: AdoptChannel, Channel: "app", Version: a.Version, Pin: a.Active, Clients: clients},
				{Kind: AdoptKey, Pin: a.Active},
			} {
				if err := in.Follow(step, Result{At: in.Now}); err != nil {
					t.Fatal(err)
				}
			}
			if in.State.Active().Pin != a.Active || !Gate(in, a.Active).Open && tt.want == 1 {
				t.Errorf("active is %s, its gate %+v", in.State.Active().Pin, Gate(in, a.Active))
			}
			for _, k := range in.State.Keys {
				if k.Pin != a.Active && Gate(in, k.Pin).Open {
					t.Errorf("the gate is open for %s", k.Pin)
				}
			}
			if v := Wanted(in).Version; v <= a.Version || v <= 7 && len(tt.seen) > 0 {
				t.Errorf("the next version is %d", v)
			}
		})
	}
}
