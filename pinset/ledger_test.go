package pinset

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

// written returns a ledger's lines and its head.
func written(t testing.TB) ([]byte, Ledger) {
	t.Helper()
	var l Ledger
	var data []byte
	for _, e := range []Entry{
		{At: t0, Kind: Intent, Channel: "app", Version: 1, Pins: keys("AB"), Lifetime: &Lifetime{Duration: 30 * day}},
		{At: t0.Add(time.Second), Kind: Confirm, Channel: "app", Version: 1, By: ByKeepkey},
		{At: t0.Add(day), Kind: Intent, Channel: "ios", Version: 1, Pins: keys("AB"), Lifetime: &Lifetime{Forever: true}, Expires: t0.Add(9 * day)},
		{At: t0.Add(2 * day), Kind: Retire, Channel: "ios", Version: 1, By: ByPerson},
	} {
		next, line, err := l.Append(e)
		if err != nil {
			t.Fatal(err)
		}
		l, data = next, append(data, line...)
	}
	return data, l
}

func TestLedgerComesBackAsItWasWritten(t *testing.T) {
	t.Parallel()
	data, l := written(t)
	got, torn, err := ParseLedger(data, l.Head())
	if err != nil || torn || got.Head() != l.Head() || got.Size() != len(data) || len(got.Entries()) != 4 {
		t.Errorf("%v, torn %v, head %v, want %v", err, torn, got.Head(), l.Head())
	}
	if empty, _, err := ParseLedger(nil, Ledger{}.Head()); err != nil || len(empty.Entries()) != 0 {
		t.Errorf("an empty ledger: %v", err)
	}
}

// Whichever byte is changed, it is noticed, and the line named is that one or the
// next, whose hash no longer fits.
func TestEveryChangedByteIsNoticed(t *testing.T) {
	t.Parallel()
	data, l := written(t)
	for i := range data {
		changed := bytes.Clone(data)
		changed[i] ^= 1
		_, _, err := ParseLedger(changed, l.Head())
		var damage *LedgerError
		if !errors.As(err, &damage) {
			t.Fatalf("byte %d, %q for %q, went unnoticed (%v)", i, changed[i], data[i], err)
		}
		if line := 1 + bytes.Count(data[:i], []byte("\n")); damage.Line < line || damage.Line > line+1 {
			t.Errorf("byte %d is in line %d, and the error says %v", i, line, err)
		}
	}
}

func TestMissingLinesAreNoticed(t *testing.T) {
	t.Parallel()
	data, l := written(t)
	lines := bytes.SplitAfter(data, []byte("\n"))[:4]
	for i := range lines {
		cut := bytes.Join(append(append([][]byte{}, lines[:i]...), lines[i+1:]...), nil)
		if _, _, err := ParseLedger(cut, l.Head()); err == nil {
			t.Errorf("line %d is missing, and nobody noticed", i+1)
		}
	}
	for size := range len(data) {
		if _, _, err := ParseLedger(data[:size], l.Head()); err == nil {
			t.Errorf("cut after %d of %d bytes, and nobody noticed", size, len(data))
		}
	}
}

// What a crash during the append of the last line leaves: all of it counts, or
// nothing.
func TestTornAppendIsNoDamage(t *testing.T) {
	t.Parallel()
	data, l := written(t)
	last := bytes.LastIndexByte(data[:len(data)-1], '\n') + 1
	before, _, err := ParseLedger(data[:last], Head{Entries: 3, Hash: l.Entries()[3].Previous})
	if err != nil {
		t.Fatal(err)
	}
	for size := last; size <= len(data); size++ {
		got, torn, err := ParseLedger(data[:size], before.Head())
		switch {
		case err != nil:
			t.Errorf("%d of %d bytes: %v", size-last, len(data)-last, err)
		case size == len(data) && got.Head() != l.Head():
			t.Error("the whole line does not count")
		case size < len(data) && (got.Head() != before.Head() || torn != (size > last)):
			t.Errorf("%d of %d bytes: torn %v, %d entries", size-last, len(data)-last, torn, len(got.Entries()))
		}
	}
	// Two lines more than the state knows are not left by a crash.
	if _, _, err := ParseLedger(data, Head{Entries: 2, Hash: l.Entries()[2].Previous}); err == nil || !strings.Contains(err.Error(), "old backup") {
		t.Errorf("two entries beyond the head: %v", err)
	}
}

func TestEntriesThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	_, l := written(t)
	thirty := &Lifetime{Duration: 30 * day}
	for name, e := range map[string]Entry{
		"one pin":                      {Kind: Intent, Channel: "app", Version: 2, Pins: keys("A"), Lifetime: thirty},
		"no lifetime":                  {Kind: Intent, Channel: "app", Version: 2, Pins: keys("AB")},
		"a version again":              {Kind: Intent, Channel: "app", Version: 1, Pins: keys("AB"), Lifetime: thirty},
		"a version with other pins":    {Kind: Intent, Channel: "web", Version: 1, Pins: keys("BC"), Lifetime: thirty},
		"no channel":                   {Kind: Intent, Version: 2, Pins: keys("AB"), Lifetime: thirty},
		"confirming what never was":    {Kind: Confirm, Channel: "app", Version: 7, By: ByKeepkey},
		"retiring on another channel":  {Kind: Retire, Channel: "web", Version: 1, By: ByPerson},
		"confirmed by nobody":          {Kind: Confirm, Channel: "app", Version: 1},
		"giving up what never was":     {Kind: Abandon, Channel: "app", Version: 7, By: ByPerson},
		"unknown, but two pins":        {Kind: Unknown, Channel: "web", Version: 1, Pins: keys("AB"), Lifetime: thirty, By: ByPerson},
		"unknown, but known":           {Kind: Unknown, Channel: "app", Version: 1, Pins: keys("A"), Lifetime: thirty, By: ByPerson},
		"cached forever":               {Kind: Intent, Channel: "app", Version: 2, Pins: keys("AB"), Lifetime: thirty, Cache: Lifetime{Forever: true}},
		"cached for less than never":   {Kind: Intent, Channel: "app", Version: 2, Pins: keys("AB"), Lifetime: thirty, Cache: Lifetime{Duration: -day}},
		"confirming with a cache":      {Kind: Confirm, Channel: "app", Version: 1, Cache: Lifetime{Duration: day}, By: ByKeepkey},
		"a place without an ID":        {Kind: Intent, Channel: "app", Version: 2, Pins: keys("AB"), Lifetime: thirty, Places: []Place{{Name: "x"}}},
		"a place listed twice":         {Kind: Intent, Channel: "app", Version: 2, Pins: keys("AB"), Lifetime: thirty, Places: []Place{{ID: "x"}, {ID: "x"}}},
		"confirming at a place":        {Kind: Confirm, Channel: "app", Version: 1, Places: []Place{{ID: "x"}}, By: ByKeepkey},
		"retiring at a place":          {Kind: Retire, Channel: "app", Version: 1, Place: "x", By: ByPerson},
		"extending to nowhere":         {Kind: Extend, Channel: "app", Version: 1},
		"extending what never was":     {Kind: Extend, Channel: "app", Version: 2, Places: []Place{{ID: "x"}}},
		"extending with pins":          {Kind: Extend, Channel: "app", Version: 1, Pins: keys("AB"), Places: []Place{{ID: "x"}}},
		"seeing the newest":            {Kind: Seen, Channel: "app", Version: 1, By: ByKeepkey},
		"seeing what never was":        {Kind: Seen, Channel: "app", Version: 7, By: ByKeepkey},
		"seeing pins for how long?":    {Kind: Seen, Channel: "app", Version: 7, Pins: keys("AB"), By: ByKeepkey},
		"seen by nobody":               {Kind: Seen, Channel: "app", Version: 7, Pins: keys("AB"), Lifetime: thirty},
		"gone from nowhere":            {Kind: Gone, Channel: "app", By: ByPerson},
		"gone from where it never was": {Kind: Gone, Channel: "app", Place: "x", By: ByPerson},
		"gone, with a version":         {Kind: Gone, Channel: "app", Version: 1, Place: "x", By: ByPerson},
		"readmitted after nothing":     {Kind: Readmit, By: ByPerson},
		"readmitted on a channel":      {Kind: Readmit, Channel: "app", After: 1, By: ByPerson},
		"readmitted by nobody":         {Kind: Readmit, After: 1},
		"confirmed after":              {Kind: Confirm, Channel: "app", Version: 1, After: 1, By: ByKeepkey},
		"a kind that nobody knows":     {Kind: "guess", Channel: "app", Version: 1},
		"one pin, listed twice":        {Kind: Intent, Channel: "app", Version: 2, Pins: keys("AA"), Lifetime: thirty},
		"a pin listed twice":           {Kind: Intent, Channel: "app", Version: 2, Pins: keys("ABA"), Lifetime: thirty},
		"confirming with pins":         {Kind: Confirm, Channel: "app", Version: 1, Pins: keys("AB"), By: ByKeepkey},
		"confirming with a lifetime":   {Kind: Confirm, Channel: "app", Version: 1, Lifetime: thirty, By: ByKeepkey},
		"retiring with an expiry":      {Kind: Retire, Channel: "app", Version: 1, Expires: t0, By: ByPerson},
		"confirmed by a stranger":      {Kind: Confirm, Channel: "app", Version: 1, By: "stranger"},
		"intended by a stranger":       {Kind: Intent, Channel: "app", Version: 2, Pins: keys("AB"), Lifetime: thirty, By: "stranger"},
	} {
		if _, _, err := l.Append(e); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// The order of the pins means nothing, here as everywhere.
func TestVersionOnAnotherChannelMayListItsPinsInAnotherOrder(t *testing.T) {
	t.Parallel()
	_, l := written(t)
	if _, _, err := l.Append(Entry{Kind: Intent, Channel: "web", Version: 1, Pins: keys("BA"), Lifetime: &Lifetime{}}); err != nil {
		t.Error(err)
	}
}

// What could be written and not be read again would be damage of our own making.
func TestEntriesThatCouldNotBeReadAgainAreRefused(t *testing.T) {
	t.Parallel()
	intent := func(change func(e *Entry)) Entry {
		e := Entry{At: t0, Kind: Intent, Channel: "new", Version: 9, Pins: keys("AB"), Lifetime: &Lifetime{Duration: day}}
		change(&e)
		return e
	}
	lifetime := func(d time.Duration) func(*Entry) {
		return func(e *Entry) { e.Lifetime = &Lifetime{Duration: d} }
	}
	pins := func(n int) []Pin {
		var pins []Pin
		for i := range n {
			pins = append(pins, Pin{byte(i), byte(i >> 8)})
		}
		return pins
	}
	places := func(n, length int) []Place {
		var places []Place
		for i := range n {
			places = append(places, Place{ID: strings.Repeat("\x01", 200) + string(rune('a'+i)), Name: strings.Repeat("\x01", length)})
		}
		return places
	}
	for name, tt := range map[string]struct {
		entry Entry
		ok    bool
	}{
		"a century":                          {intent(lifetime(maxLifetime * time.Second)), true},
		"more than a century":                {intent(lifetime(maxLifetime*time.Second + 1)), false},
		"the longest that there is":          {intent(lifetime(1<<63 - 1)), false},
		"a negative lifetime":                {intent(lifetime(-1)), false},
		"half a second":                      {intent(lifetime(time.Second / 2)), true},
		"forever, and a duration":            {intent(func(e *Entry) { e.Lifetime = &Lifetime{Forever: true, Duration: -1} }), true},
		"a channel of 255 bytes":             {intent(func(e *Entry) { e.Channel = strings.Repeat("\x01", maxChannel) }), true},
		"a channel of 256 bytes":             {intent(func(e *Entry) { e.Channel = strings.Repeat("a", maxChannel+1) }), false},
		"a channel that is not text":         {intent(func(e *Entry) { e.Channel = "a\xff" }), false},
		"100 pins":                           {intent(func(e *Entry) { e.Pins = pins(100) }), true},
		"101 pins":                           {intent(func(e *Entry) { e.Pins = pins(101) }), false},
		"the year 9999":                      {intent(func(e *Entry) { e.At = time.Date(9999, 12, 31, 23, 59, 59, 999, time.UTC) }), true},
		"the year 10000":                     {intent(func(e *Entry) { e.At = time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("", -3600)) }), false},
		"expires in the year 10000":          {intent(func(e *Entry) { e.Expires = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }), false},
		"expired before the year 0":          {intent(func(e *Entry) { e.Expires = time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC) }), false},
		"a time zone of the years past":      {intent(func(e *Entry) { e.Expires = t0.In(time.FixedZone("LMT", 3208)) }), true},
		"cached for a century":               {intent(func(e *Entry) { e.Cache = Lifetime{Duration: maxLifetime * time.Second} }), true},
		"cached for half a second":           {intent(func(e *Entry) { e.Cache = Lifetime{Duration: time.Second / 2} }), true},
		"32 places with long names":          {intent(func(e *Entry) { e.Places = places(maxPlaces, maxPlace) }), true},
		"33 places":                          {intent(func(e *Entry) { e.Places = places(maxPlaces+1, 9) }), false},
		"a place with a longer name":         {intent(func(e *Entry) { e.Places = places(1, maxPlace+1) }), false},
		"a place that is not text":           {intent(func(e *Entry) { e.Places = []Place{{ID: "x", Name: "a\xff"}} }), false},
		"a list of no places":                {intent(func(e *Entry) { e.Places = []Place{} }), true},
		"readmitted after the last":          {Entry{Kind: Readmit, After: 1<<63 - 1, By: ByPerson}, true},
		"readmitted after less than nothing": {Entry{Kind: Readmit, After: -1, By: ByPerson}, false},
		"a list of no pins":                  {Entry{Kind: Confirm, Channel: "app", Version: 1, Pins: []Pin{}, By: ByKeepkey}, true},
		"a version beyond every other":       {intent(func(e *Entry) { e.Version = 1<<63 - 1 }), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if ok := readAgain(t, tt.entry); ok != tt.ok {
				t.Errorf("accepted: %v, want %v", ok, tt.ok)
			}
		})
	}
}

// readAgain appends an entry and reads the ledger, which must come back just as it is in
// memory. It reports whether the entry was accepted.
func readAgain(t *testing.T, e Entry) bool {
	t.Helper()
	before, l := written(t)
	next, line, err := l.Append(e)
	if err != nil {
		return false
	}
	got, torn, err := ParseLedger(append(before, line...), next.Head())
	if err != nil || torn || len(line) > 128<<10 || !reflect.DeepEqual(got, next) {
		t.Errorf("%d bytes come back as\n%+v (%v), want\n%+v", len(line), got, err, next)
	}
	return true
}

func FuzzAppendedEntryIsReadAgain(f *testing.F) {
	f.Add("app", 7, 2, int64(30*day), false, int64(0), int64(0), "intent", "", "x", int64(0))
	f.Add("app", 1, 0, int64(-1), false, int64(1<<40), int64(0), "confirm", "keepkey", "", int64(0))
	f.Add("web", 1, 1, int64(day), true, int64(-1<<40), int64(1<<60), "unknown", "person", "", int64(day))
	f.Add("app", 1, 0, int64(-1), false, int64(0), int64(0), "extend", "", "x", int64(0))
	f.Add("web", 7, 2, int64(day), false, int64(0), int64(0), "seen", "keepkey", "", int64(day))
	f.Fuzz(func(t *testing.T, channel string, version, pins int, lifetime int64, forever bool, at, expires int64, kind, by, place string, cache int64) {
		e := Entry{Kind: EntryKind(kind), Channel: channel, Version: version, By: by, At: time.Unix(at, lifetime), Cache: Lifetime{Duration: time.Duration(cache)}}
		switch {
		case place == "":
		case e.Kind == Intent, e.Kind == Extend:
			e.Places = []Place{{ID: place, Name: by + place}}
		default:
			e.Place = place
		}
		for i := range max(0, min(pins, 2*maxPins)) {
			e.Pins = append(e.Pins, Pin{byte(i), byte(pins)})
		}
		if lifetime >= 0 || forever {
			e.Lifetime = &Lifetime{Forever: forever, Duration: time.Duration(lifetime)}
		}
		if expires != 0 {
			e.Expires = time.Unix(expires, lifetime)
		}
		readAgain(t, e)
	})
}

func TestClockThatWentBackShortensNothing(t *testing.T) {
	t.Parallel()
	_, l := written(t)
	next, _, err := l.Append(Entry{At: t0.AddDate(-1, 0, 0), Kind: Confirm, Channel: "ios", Version: 1, By: ByPerson})
	if err != nil {
		t.Fatal(err)
	}
	entries := next.Entries()
	if got, want := entries[4].At, entries[3].At; !got.Equal(want) {
		t.Errorf("the entry is of %s, want the time of the one before, %s", got, want)
	}
}

func FuzzParseLedger(f *testing.F) {
	data, l := written(f)
	f.Add(data, l.Head().Entries, l.Head().Hash)
	f.Add(data[:100], 0, Ledger{}.Head().Hash)
	f.Fuzz(func(t *testing.T, data []byte, entries int, hash string) {
		l, _, err := ParseLedger(data, Head{Entries: entries, Hash: hash})
		if err != nil {
			return
		}
		if l.Size() > len(data) || len(l.Entries()) < entries {
			t.Errorf("%d bytes of %d, %d entries", l.Size(), len(data), len(l.Entries()))
		}
		l.Gate(key('A'), nil, t0) // must not panic
	})
}

func TestTheNewestVersionIsTheGreatest(t *testing.T) {
	t.Parallel()
	for story, want := range map[string]int{
		"": 0,
		"0d app restarts 5 A for 30d\n0d web restarts 3 A for 30d": 5,
		"0d app restarts 3 A for 30d\n0d web restarts 5 A for 30d": 5,
		"0d app intends 1 AB for 30d\n1d app sees 7 AC for 30d":    7,
	} {
		if got := timeline(t, story).Newest(); got.Version != want {
			t.Errorf("%q: version %d", story, got.Version)
		}
	}
}

// Where its version is taken on one channel, all channels get a newer one.
func TestTheNewestPinSetGoesOnEveryChannelOrHasNoPins(t *testing.T) {
	t.Parallel()
	for story, want := range map[string]string{
		"0d app intends 2 AB for 30d":                                                        "AB",
		"0d app intends 2 AB for 30d\n1d app sees 2 AC for 30d":                              "AB", // it is published again
		"0d web intends 1 AB for 30d\n0d app intends 2 AB for 30d\n1d web sees 2 AC for 30d": "",
		"0d web intends 1 AB for 30d\n0d app intends 2 AB for 30d\n1d web sees 1 AC for 30d": "AB",
		"0d app intends 1 AB for 30d\n1d app sees 7 AC for 30d":                              "",
		"0d web intends 1 AB for 30d\n1d app sees 2 AC for 30d\n2d web intends 2 AB for 30d": "",
		"0d web intends 1 AB for 30d\n1d app sees 2 AC for 30d\n2d web intends 3 AB for 30d": "AB",
	} {
		newest := timeline(t, story).Newest()
		if !SamePins(newest.Pins, keys(want)) {
			t.Errorf("%q: %v, want %s", story, newest.Pins, want)
		}
	}
}

func TestReadableLinesOfADamagedLedgerSayHowLongClientsHoldOn(t *testing.T) {
	t.Parallel()
	l := timeline(t, `
		0d app intends 1 AB for 60d cached 1d
		0d ios intends 1 AB forever
		1d app intends 2 AB for 30d cached 2d
		1d app confirms 2`)
	var data []byte
	for _, e := range l.Entries() {
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		data = append(append(data, "{\"n\": 1, not an entry}\n"...), append(line, '\n')...)
	}
	want := map[string]Clients{"app": {Lifetime{Duration: 60 * day}, 2 * day}, "ios": {Lifetime{Forever: true}, 0}}
	if got := Known(data); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := Known([]byte("\n\x00")); len(got) != 0 {
		t.Errorf("got %+v of nothing", got)
	}
}
