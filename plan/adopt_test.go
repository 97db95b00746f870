package plan

import (
	"errors"
	"slices"
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
		chosen byte // by a person
		live   byte // the key of an installed certificate that is newer than the state
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
		{name: "a served key that is not here", served: []Served{{"a:443", testPin(9)}}, code: ServedKeyNotHere},
		{name: "two addresses that differ", served: []Served{{"a:443", testPin(1)}, {"b:443", testPin(2)}}, code: ServedKeyNotHere},
		{name: "a person chooses one of them", served: []Served{{"a:443", testPin(1)}, {"b:443", testPin(2)}}, chosen: 2, want: 2},
		{name: "a person chooses one that no client accepts", seen: map[string][]Sighting{"app": {doc(7, 8, 9)}}, chosen: 1, want: 1},
		{name: "a person chooses where nothing is seen", chosen: 1, want: 1},
		{name: "a person chooses one that is not here", seen: map[string][]Sighting{"app": {doc(7, 8, 9)}}, chosen: 9, code: NoSuchKey},
		{name: "a key whose file is lost", seen: map[string][]Sighting{"app": {doc(7, 2, 8)}}, change: func(in *Input) {
			in.Disk.Keys = slices.DeleteFunc(in.Disk.Keys, func(pin pinset.Pin) bool { return pin == testPin(2) })
		}, code: NoKeyAccepted},
		{name: "a key that the state does not know", seen: map[string][]Sighting{"app": {doc(7, 6, 8)}}, want: 6},
		{name: "a served key that the state does not know", served: []Served{{"a:443", testPin(6)}}, want: 6},
		{name: "rather one that the state knows", seen: map[string][]Sighting{"app": {doc(7, 6, 2)}}, want: 2},
		{name: "what is installed and newer tells more", seen: map[string][]Sighting{"app": {doc(7, 1, 2)}}, live: 2, want: 2},
		{name: "what is served tells most", seen: map[string][]Sighting{"app": {doc(7, 1, 2)}}, live: 2, served: []Served{{"a:443", testPin(1)}}, want: 1},
		{name: "what is installed has a key that is not here", seen: map[string][]Sighting{"app": {doc(7, 1, 2)}}, live: 9, want: 1},
		{name: "what is installed has a compromised key", seen: map[string][]Sighting{"app": {doc(7, 1, 2)}}, live: 2, change: func(in *Input) {
			in.State.key(testPin(2)).Role = Compromised
		}, want: 1},
		{name: "nothing", code: NothingSeen},
		{name: "all is on record", seen: map[string][]Sighting{"app": {doc(1, 1, 2)}}, change: func(in *Input) {
			in.State.Failures = nil
		}, code: NothingToAdopt},
		{name: "only what is installed is not on record", seen: map[string][]Sighting{"app": {doc(1, 1, 2)}}, live: 2, change: func(in *Input) {
			in.State.Failures = nil
		}, want: 2},
		{name: "another lineage's document", seen: map[string][]Sighting{"app": {{Lineage: "www", Version: 7, Pins: []pinset.Pin{testPin(1)}}}}, code: NothingSeen},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := settled()
			for _, b := range []byte{1, 2, 6} {
				in.Disk.Keys = append(in.Disk.Keys, testPin(b))
			}
			in.Goal.Channels = slices.Clone(in.Goal.Channels)
			in.Goal.Channels[0].Readable = true
			in.State.Failures = map[string]Failure{"look app": {Count: 1, Last: in.Now, Code: PublicationNewer}}
			var installed, chosen pinset.Pin
			if tt.chosen != 0 {
				chosen = testPin(tt.chosen)
			}
			if tt.live != 0 {
				installed, in.Disk.Live = testPin(tt.live), in.State.NewestVersion()+1
			}
			if tt.change != nil {
				tt.change(&in)
			}
			a, err := Adopt(in, Evidence{Sightings: tt.seen, Served: tt.served, Installed: installed, Chosen: chosen})
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
				{Kind: AdoptKey, Pin: a.Active, Version: in.Disk.Live, KeyType: pinset.EC256},
			} {
				if err := in.Follow(step, Result{At: in.Now}); err != nil {
					t.Fatal(err)
				}
			}
			if k := in.State.key(testPin(1)); k.Role == Retired && !slices.Contains(in.State.Pins(), k.Pin) {
				t.Error("servers may still have the key before, and its pin leaves at once")
			}
			in.State.Failures = nil // the next look finds that all is on record
			if in.State.Active().Pin != a.Active || !Gate(in, a.Active).Open && tt.want == 1 {
				t.Errorf("active is %s, its gate %+v", in.State.Active().Pin, Gate(in, a.Active))
			}
			for _, k := range in.State.Keys {
				if k.Pin != a.Active && Gate(in, k.Pin).Open {
					t.Errorf("the gate is open for %s", k.Pin)
				}
			}
			for _, p := range Next(in).Problems {
				if p.Blocks {
					t.Errorf("it does not go on: %+v", p)
				}
			}
			if len(tt.seen) == 0 && a.Version <= unseenVersions {
				t.Errorf("version %d may be lower than what clients have", a.Version)
			}
			if v := Wanted(in).Version; v <= a.Version || (v <= 7 && len(tt.seen["app"]) > 0 && tt.seen["app"][0].Version == 7) {
				t.Errorf("the next version is %d", v)
			}
		})
	}
}

// A person said that it is compromised, after the old backup was restored or before it was
// made: that is not forgotten.
func TestAnAdoptionForgetsNoCompromise(t *testing.T) {
	t.Parallel()
	for _, adopted := range []byte{1, 2, 6} {
		in := settled()
		follow := func(a Action) {
			t.Helper()
			if err := in.Follow(a, Result{At: in.Now}); err != nil {
				t.Fatal(err)
			}
		}
		follow(Action{Kind: DeclareCompromise, Pin: testPin(2)})
		follow(Action{Kind: AdoptKey, Pin: testPin(adopted), KeyType: pinset.EC256})
		if in.State.Active().Pin != testPin(adopted) {
			t.Errorf("%d: active is %s", adopted, in.State.Active().Pin)
		}
		if r := in.State.Pending(); adopted == 1 && (r == nil || !r.Compromised) {
			t.Errorf("nobody knows any more that the active key is compromised: %+v", r)
		}
		r := in.State.Rollover
		if adopted != 1 && (in.State.key(testPin(1)).Role != Compromised || !r.Compromised || r.Switched.IsZero() || r.From != testPin(1)) {
			t.Errorf("%d: the compromised key is %s, %+v", adopted, in.State.key(testPin(1)).Role, r)
		}
	}
}
