package plan

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"keepkey/pinset"
)

// read is a settled lineage whose channel can be read. Version 2 is out at the place "file
// a" since a day, and version 1 was before.
func read() Input {
	in := settled()
	in.Goal.Check = nil
	ch := &in.Goal.Channels[0]
	ch.Readable, ch.Clients = true, pinset.Clients{Lifetime: pinset.Lifetime{Duration: 30 * day}, Cache: 2 * time.Hour}
	in.State.Keys = append(in.State.Keys, Key{Pin: testPin(3), Type: pinset.EC256, Role: Backup, Created: t0})
	in.Goal.Backups = 2
	in.Now = t0.Add(day)
	in.Ledger = appended(in.Ledger, pinset.Entry{At: in.Now, Kind: pinset.Intent, Channel: "app", Version: 2, Pins: in.State.Pins(), Lifetime: &ch.Clients.Lifetime, Cache: pinset.Lifetime{Duration: ch.Clients.Cache}, Places: at("file a")})
	in.Ledger = appended(in.Ledger, pinset.Entry{At: in.Now, Kind: pinset.Confirm, Channel: "app", Version: 2, By: pinset.ByKeepkey})
	in.State.Channels = map[string]Publication{"app": {Version: 2, By: ByHooks, Done: []string{"file a"}}}
	in.State.Looked = map[string]time.Time{"app": in.Now}
	in.Now = in.Now.Add(12 * time.Hour)
	return in
}

func TestWhatClientsGetIsLookedAt(t *testing.T) {
	t.Parallel()
	look := func(in Input) (at time.Duration, offered bool) {
		for _, a := range Next(in).Actions {
			if a.Kind == Look && a.Channel == "app" {
				return a.At.Sub(in.Now), true
			}
		}
		return 0, false
	}
	for _, tt := range []struct {
		name   string
		change func(*Input)
		in     time.Duration // -1: not at all
	}{
		{"once a day", func(*Input) {}, 12*time.Hour - share("api", 3*time.Hour)},
		{"at once where a file is not what it should be", func(in *Input) { in.Disk.Differs = map[string]bool{"app": true} }, 0},
		{"at once where something was wrong before", func(in *Input) {
			in.State.Failures = map[string]Failure{"look app": {Count: 1, Last: in.Now, Code: PublicationGone}}
		}, 0},
		{"at once where that was so before anything was published", func(in *Input) {
			in.Ledger = pinset.Ledger{}
			in.State.Failures = map[string]Failure{"look app": {Count: 1, Last: in.Now, Code: PublicationNewer}}
		}, 0},
		{"at once when the clock was set back", func(in *Input) { in.Now = t0.Add(-30 * day) }, 0},
		{"before a publication", func(in *Input) { in.State.Channels["app"] = Publication{Version: 2, By: ByHooks} }, 0},
		{"before a switch", func(in *Input) {
			in.Goal.Backups = 1
			in.State = after(t, in.State, Action{Kind: BeginRollover}, Result{At: in.Now})
		}, 0},
		{"in an emergency, too", func(in *Input) {
			in.Goal.Backups = 1
			in.State = after(t, in.State, Action{Kind: DeclareCompromise, Pin: testPin(2)}, Result{At: in.Now})
		}, 0},
		{"not twice in a run", func(in *Input) {
			in.Disk.Differs = map[string]bool{"app": true}
			in.Tried = map[string]bool{Action{Kind: Look, Channel: "app"}.ID(): true}
		}, -1},
		{"not where it can't be read", func(in *Input) { in.Goal.Channels[0].Readable = false }, -1},
		{"not without a ledger to compare it with", func(in *Input) { in.Disk.LedgerProblem = errors.New("line 1") }, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := read()
			tt.change(&in)
			at, offered := look(in)
			if offered != (tt.in >= 0) || (offered && max(at, 0) != tt.in) {
				t.Errorf("offered %v, in %s; want in %s", offered, at, tt.in)
			}
		})
	}
}

func TestWhatASightingMeans(t *testing.T) {
	t.Parallel()
	doc := func(version int, pins ...byte) Sighting {
		s := Sighting{Place: "file a", Name: "a.json", Lineage: "api", Version: version}
		for _, p := range pins {
			s.Pins = append(s.Pins, testPin(p))
		}
		return s
	}
	readBack := func(s Sighting) Sighting { s.Place = ""; return s }
	unfinished := func(in *Input) { in.State.Channels["app"] = Publication{Version: 2, By: ByHooks} }
	for _, tt := range []struct {
		name   string
		s      Sighting
		change func(*Input)
		code   Code
		back   int  // a version that counts again
		found  bool // pins that count from now on
		again  bool // the hook delivers once more
	}{
		{name: "byte by byte what was published", s: Sighting{Place: "file a", Same: true}},
		{name: "the newest, laid out in another way, where it is read back", s: readBack(doc(2, 3, 2, 1))},
		{name: "the newest, laid out in another way, in our own file", s: doc(2, 1, 2, 3), code: PublicationChanged, again: true},
		{name: "nothing", s: Sighting{Place: "file a", Gone: true}, code: PublicationGone, again: true},
		{name: "nothing where it is read back", s: Sighting{Gone: true}, code: PublicationGone, again: true},
		{name: "nothing, before the hook ran", s: Sighting{Place: "file a", Gone: true}, change: unfinished},
		{name: "no document", s: Sighting{Place: "file a", Junk: true}, code: PublicationChanged, again: true},
		{name: "no document, before the hook ran", s: Sighting{Place: "file a", Junk: true}, change: unfinished},
		{name: "nobody knows", s: Sighting{Place: "file a", Err: errors.New("timeout")}, code: PlaceUnreadable},
		{name: "another lineage's", s: Sighting{Place: "file a", Lineage: "www", Version: 1, Pins: []pinset.Pin{testPin(9)}}, code: PublicationForeign},
		{name: "an older one that has come back", s: doc(1, 1, 2), code: PublicationBack, back: 1, again: true},
		{name: "an older one that has come back, before the hook ran", s: doc(1, 1, 2), change: unfinished, code: PublicationBack, back: 1},
		{name: "an older one from a cache", s: readBack(doc(1, 1, 2)), change: func(in *Input) { in.Now = t0.Add(day + 2*time.Hour) }},
		{name: "an older one from a cache that should be empty", s: readBack(doc(1, 1, 2)), change: func(in *Input) { in.Now = t0.Add(day + 2*time.Hour + 1) }, code: PublicationBack, back: 1, again: true},
		{name: "our own file has no cache", s: doc(1, 1, 2), change: func(in *Input) { in.Now = t0.Add(day + time.Hour) }, code: PublicationBack, back: 1, again: true},
		{name: "the newest version with other pins", s: doc(2, 1, 9), code: PublicationChanged, found: true, again: true},
		{name: "the same, without the active key's", s: doc(2, 8, 9), code: PublicationChanged, found: true, again: true},
		{name: "an older version with other pins", s: doc(1, 1, 9), code: PublicationChanged, found: true, again: true},
		{name: "a newer version", s: doc(3, 1, 9), code: PublicationNewer},
		{name: "a newer version without the active key's pin", s: doc(3, 8, 9), code: StateOutdated},
		{name: "a format without versions: the newest", s: readBack(doc(0, 1, 2, 3))},
		{name: "a format without versions: an older one", s: doc(0, 1, 2), code: PublicationBack, back: 1, again: true},
		{name: "a format without versions: other pins", s: doc(0, 1, 9), code: PublicationChanged, found: true, again: true},
		{name: "found before, and still there", s: doc(2, 1, 9), change: func(in *Input) { sighted(in, doc(2, 1, 9)) }, code: PublicationChanged},
		{name: "found before, gone, and back", s: doc(2, 1, 9), change: func(in *Input) {
			sighted(in, doc(2, 1, 9))
			in.Ledger = appended(in.Ledger, pinset.Entry{At: in.Now, Kind: pinset.Confirm, Channel: "app", Version: 2, By: pinset.ByKeepkey})
			in.State.Channels["app"] = Publication{Version: 2, By: ByHooks, Done: []string{"file a"}}
		}, code: PublicationBack, found: true, again: true},
		{name: "a channel that is new, and its file is not", s: doc(2, 1, 2, 3), change: func(in *Input) {
			in.Goal.Channels[0].Name = "mobile"
			in.State.Channels = nil
		}},
		// As after a backup of the state is restored that was made between two channels.
		{name: "what another channel published, at a place that it never published to", s: doc(2, 1, 2, 3), change: func(in *Input) {
			web := in.Goal.Channels[0]
			web.Name = "web"
			in.Goal.Channels[0].Publish = at("file b")
			in.Goal.Channels = append([]Channel{web}, in.Goal.Channels...)
			for i, e := range in.Ledger.Entries() {
				if i == 0 {
					in.Ledger = pinset.Ledger{}
				}
				if e.Kind == pinset.Intent {
					e.Places = at("file b")
				}
				in.Ledger = appended(in.Ledger, e)
			}
		}, code: PublicationChanged, found: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := read()
			if tt.change != nil {
				tt.change(&in)
			}
			m := Judge(in, in.Goal.Channels[0], tt.s)
			sight := m.Sight
			if sight == nil {
				sight = new(Sight)
			}
			if m.Code != tt.code || (m.Text == "") != (tt.code == "") || sight.Back != tt.back || (len(sight.Found.Pins) > 0) != tt.found || (len(sight.Again) > 0) != tt.again {
				t.Errorf("got %+v, %+v", m, sight)
			}
			if m.Sight == nil {
				return
			}
			before := len(in.Ledger.Entries())
			if err := in.Follow(Action{Kind: Look, Channel: in.Goal.Channels[0].Name}, Result{At: in.Now, Sight: m.Sight}); err != nil {
				t.Fatal(err)
			}
			counts := tt.back > 0 || tt.found
			if got := len(in.Ledger.Entries()) > before; got != counts {
				t.Errorf("in the ledger: %v, want %v", got, counts)
			}
			for _, p := range in.Ledger.Published() {
				if counts && p.Version == max(tt.back, sight.Found.Version) && p.Found == tt.found && !p.Enforced(pinset.Clients{}, in.Now.AddDate(90, 0, 0)) {
					t.Errorf("%+v does not count", p)
				}
			}
		})
	}
}

// sighted puts on record what was found.
func sighted(in *Input, s Sighting) {
	if err := in.Follow(Action{Kind: Look, Channel: "app"}, Result{At: in.Now, Sight: Judge(*in, in.Goal.Channels[0], s).Sight}); err != nil {
		panic(err)
	}
}

// What a look found keeps the gate closed until it is settled, and stops as little else
// as it can.
func TestWhatALookFoundStopsNoMoreThanItHasTo(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		code      Code
		publishes bool // the new pin set
		renews    bool
		emergency bool // a compromised key is replaced all the same
	}{
		{"", true, true, true},
		{PlaceUnreadable, true, true, true},
		{PublicationGone, true, true, true},
		{PublicationChanged, true, true, true},
		{PublicationBack, true, true, true},
		{PublicationForeign, false, true, false},
		{PublicationNewer, false, true, false},
		{StateOutdated, false, false, false},
	} {
		t.Run(string(tt.code), func(t *testing.T) {
			t.Parallel()
			in := read()
			in.Now = t0.Add(70 * day)
			in.State.Channels["app"] = Publication{Version: 2, By: ByHooks}
			if tt.code != "" {
				in.State = after(t, in.State, Action{Kind: Look, Channel: "app"}, Result{At: in.Now, Failed: &Failed{Code: tt.code, Text: "seen"}})
			}
			in.Tried = map[string]bool{Action{Kind: Look, Channel: "app"}.ID(): true}
			has := func(in Input, kind Kind) bool {
				return slices.ContainsFunc(Next(in).Actions, func(a Action) bool { return a.Kind == kind && !a.At.After(in.Now) })
			}
			if got := has(in, Publish); got != tt.publishes {
				t.Errorf("publishes: %v", got)
			}
			if got := has(in, Obtain); got != tt.renews {
				t.Errorf("renews: %v", got)
			}
			if got := Gate(in, testPin(2)); got.Open != (tt.code == "") || got.Shut != tt.code {
				t.Errorf("the gate is %+v", got)
			}
			if tt.code != "" && !slices.ContainsFunc(Next(in).Problems, func(f Finding) bool { return f.Code == tt.code && f.Blocks == !tt.renews }) {
				t.Errorf("it is not told: %+v", Next(in).Problems)
			}
			in.Goal.Backups = 1
			in.State = after(t, in.State, Action{Kind: DeclareCompromise, Pin: testPin(2)}, Result{At: in.Now})
			if got := has(in, SwitchKey); got != tt.emergency {
				t.Errorf("in an emergency it switches: %v", got)
			}
		})
	}
}

func TestServedKeysAreJudged(t *testing.T) {
	t.Parallel()
	in := settled()
	in.State.Keys = append(in.State.Keys, Key{Pin: testPin(7), Role: Retired, Created: t0})
	for _, tt := range []struct {
		name   string
		pin    byte
		serial string
		err    error
		code   Code
		text   string
	}{
		{"the newest certificate", 1, "5e", nil, "", ""},
		{"the active key with an older certificate", 1, "5d", nil, ServedCertificateOld, "serial 5d, and the newest has 5e"},
		{"a retired key", 7, "1", nil, ServedKeyWrong, "it serves the retired key"},
		{"a key that nobody knows", 9, "1", nil, ServedKeyUnknown, "none of this lineage's"},
		{"nothing", 0, "", errors.New("connection refused"), ServerUnreachable, "connection refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if m := JudgeServed(in, "api.example.com:443", testPin(tt.pin), tt.serial, tt.err); m.Code != tt.code || !strings.Contains(m.Text, tt.text) {
				t.Errorf("%+v", m)
			}
		})
	}
	// Where the active key was served before, a key that nobody knows stops everything:
	// clients may know that one.
	in.Now = t0.Add(70 * day)
	look := Action{Kind: Look, Target: "api.example.com:443", Host: in.Host}
	in.State = after(t, in.State, look, Result{At: in.Now, Failed: &Failed{Code: ServedKeyUnknown, Text: "seen"}})
	if got := lines(in); got != "problem: served-key-unknown (blocks)\n" || Gate(in, testPin(2)).Shut != ServedKeyUnknown {
		t.Errorf("%s", got)
	}
	if a, due := Next(in).Due(in.Now); !due || a.Kind != Look {
		t.Errorf("due is %v, want another look", a)
	}
	in.State = after(t, in.State, look, Result{At: in.Now})
	if got := lines(in); !strings.HasSuffix(got, "now: obtain\n") || !Gate(in, testPin(2)).Open {
		t.Errorf("after it was settled: %s", got)
	}
}

// Where nothing is published on a channel, a problem says so: also where nothing ever was.
func TestNothingIsHeldBackSilently(t *testing.T) {
	t.Parallel()
	for _, known := range []bool{true, false} {
		for _, code := range holdBack {
			in := read()
			if !known {
				in.Ledger, in.State.Channels = pinset.Ledger{}, nil
			}
			in.State.Keys = append(in.State.Keys, Key{Pin: testPin(4), Type: pinset.EC256, Role: Backup, Created: t0}) // to be published
			in.State.Failures = map[string]Failure{"look app": {Count: 1, Last: in.Now, Code: code}}
			p := Next(in)
			if slices.ContainsFunc(p.Actions, func(a Action) bool { return a.Kind == Publish }) {
				t.Errorf("%s: it is published", code)
			}
			if !slices.ContainsFunc(p.Problems, func(f Finding) bool { return f.Code == code }) {
				t.Errorf("%s (known: %v): no problem says so: %+v", code, known, p.Problems)
			}
		}
	}
}

// What was found may be from before a lifetime was cut, or not ours at all.
func TestADocumentThatWasFoundCountsForAsLongAsItSays(t *testing.T) {
	t.Parallel()
	in := read()
	for says, want := range map[pinset.Lifetime]pinset.Lifetime{
		{Duration: 90 * day}: {Duration: 90 * day},
		{Duration: day}:      {Duration: 30 * day}, // as it is configured
		{Forever: true}:      {Forever: true},
		{}:                   {Duration: 30 * day},
	} {
		m := Judge(in, in.Goal.Channels[0], Sighting{Place: "file a", Version: 1, Pins: []pinset.Pin{testPin(8), testPin(9)}, Lifetime: says})
		if m.Sight == nil || m.Sight.Clients.Lifetime != want {
			t.Errorf("%+v: %+v", says, m.Sight)
		}
	}
}
