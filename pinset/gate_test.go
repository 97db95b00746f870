package pinset

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var t0 = time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// key returns the pin of a key that is told by a letter.
func key(letter rune) Pin { return Pin{byte(letter)} }

func keys(letters string) []Pin {
	var pins []Pin
	for _, r := range letters {
		pins = append(pins, key(r))
	}
	return pins
}

// timeline builds a ledger from lines such as
//
//	0d app intends 1 AB for 30d
//	1d app confirms 1
//	2d app intends 2 BC for 30d until 40d
//	9d app retires 1
func timeline(t testing.TB, text string) Ledger {
	t.Helper()
	var l Ledger
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		at := func(s string) time.Time { return t0.Add(days(t, s)) }
		e := Entry{At: at(f[0]), Channel: f[1], By: ByKeepkey}
		fmt.Sscan(f[3], &e.Version)
		switch f[2] {
		case "intends":
			e.Kind, e.Pins, e.By = Intent, keys(f[4]), ""
			e.Lifetime = &Lifetime{Forever: f[6] == "ever"}
			if !e.Lifetime.Forever {
				e.Lifetime.Duration = days(t, f[6])
			}
			if len(f) > 7 {
				e.Expires = at(f[8])
			}
		case "confirms":
			e.Kind = Confirm
		case "retires":
			e.Kind, e.By = Retire, ByPerson
		default:
			t.Fatalf("what is %q?", line)
		}
		next, _, err := l.Append(e)
		if err != nil {
			t.Fatal(err)
		}
		l = next
	}
	return l
}

func days(t testing.TB, s string) time.Duration {
	t.Helper()
	var n int
	if _, err := fmt.Sscanf(s, "%dd", &n); err != nil {
		t.Fatalf("%q is no number of days", s)
	}
	return time.Duration(n) * day
}

func TestGate(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		timeline string
		key      rune
		at       time.Duration
		want     string // "open", or the obstacles and when it opens
	}{
		{"nothing was ever published", "", 'B', 0, "open"},
		{"the backup was published from the first day", `
			0d app intends 1 AB for 30d
			0d app confirms 1`, 'B', 0, "open"},
		{"a key that is in no pin set", `
			0d app intends 1 AB for 30d
			0d app confirms 1`, 'C', 99 * day, "closed: app 1"},
		{"a newer pin set is out, and the old one is still enforced", `
			0d app intends 1 AB for 30d
			0d app confirms 1
			5d app intends 2 BC for 30d
			5d app confirms 2`, 'C', 10 * day, "closed: app 1 until 35d; opens after 35d"},
		{"the last instant at which it is enforced", `
			0d app intends 1 AB for 30d
			5d app intends 2 BC for 30d
			5d app confirms 2`, 'C', 35 * day, "closed: app 1 until 35d; opens after 35d"},
		{"and the instant after", `
			0d app intends 1 AB for 30d
			5d app intends 2 BC for 30d
			5d app confirms 2`, 'C', 35*day + 1, "open"},
		{"one that was never confirmed may be out", `
			0d app intends 1 AB for 30d
			0d app confirms 1
			5d app intends 2 AC for 30d`, 'B', 99 * day, "closed: app 2"},
		{"and supersedes nothing, since it may not be out", `
			0d app intends 1 AB for 30d
			0d app confirms 1
			5d app intends 2 BC for 30d`, 'C', 99 * day, "closed: app 1"},
		{"one that expires by itself", `
			0d app intends 1 AB for 30d until 20d
			0d app confirms 1`, 'C', 10 * day, "closed: app 1 until 20d; opens after 20d"},
		{"whichever comes first, expiry or a newer one's lifetime", `
			0d app intends 1 AB for 30d until 20d
			5d app intends 2 BC for 30d
			5d app confirms 2`, 'C', 21 * day, "open"},
		{"pins in an app are enforced until somebody says otherwise", `
			0d app intends 1 AB for ever
			5d app intends 2 BC for ever
			5d app confirms 2`, 'C', 999 * day, "closed: app 1 until retired"},
		{"somebody does", `
			0d app intends 1 AB for ever
			5d app intends 2 BC for ever
			5d app confirms 2
			9d app retires 1`, 'C', 9 * day, "open"},
		{"every channel counts", `
			0d ota intends 1 AB for 7d
			0d app intends 1 AB for 30d
			5d ota intends 2 BC for 7d
			5d app intends 2 BC for 30d
			5d ota confirms 2
			6d app confirms 2`, 'C', 7 * day, "closed: ota 1 until 12d, app 1 until 36d; opens after 36d"},
		{"a lifetime that was shortened does not shorten what clients were told", `
			0d app intends 1 AB for 30d
			5d app intends 2 BC for 7d
			5d app confirms 2`, 'C', 20 * day, "closed: app 1 until 35d; opens after 35d"},
		{"confirming again supersedes nothing", `
			0d app intends 1 AB for 30d
			0d app confirms 1
			1d app confirms 1`, 'C', 99 * day, "closed: app 1"},
		{"confirming again does not prolong anything", `
			0d app intends 1 AB for 30d
			5d app intends 2 BC for 30d
			5d app confirms 2
			8d app confirms 2`, 'C', 36 * day, "open"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := timeline(t, tt.timeline).Gate(key(tt.key), nil, t0.Add(tt.at))
			if got := tell(v); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func tell(v Verdict) string {
	if v.Open {
		return "open"
	}
	inDays := func(t time.Time) string { return fmt.Sprintf("%dd", t.Sub(t0)/day) }
	var obstacles []string
	for _, o := range v.Obstacles {
		s := fmt.Sprintf("%s %d", o.Channel, o.Version)
		if o.Retire {
			s += " until retired"
		} else if !o.Until.IsZero() {
			s += " until " + inDays(o.Until)
		}
		obstacles = append(obstacles, s)
	}
	s := "closed: " + strings.Join(obstacles, ", ")
	if !v.OpensAt.IsZero() {
		s += "; opens after " + inDays(v.OpensAt)
	}
	return s
}

func TestLifetimeThatWasRaisedCountsForOldPinSetsToo(t *testing.T) {
	t.Parallel()
	l := timeline(t, `
		0d app intends 1 AB for 7d
		5d app intends 2 BC for 7d
		5d app confirms 2`)
	at := t0.Add(20 * day)
	if v := l.Gate(key('C'), nil, at); !v.Open {
		t.Errorf("as recorded: %s", tell(v))
	}
	if v := l.Gate(key('C'), map[string]Lifetime{"app": {Duration: 30 * day}}, at); v.Open {
		t.Error("a person found that clients hold pins for 30 days, and the gate went by the 7 that were thought")
	}
}

// The gate beside an independent model: clients that download the pin set that is
// out, hold it, and forget it when its time has come. The model counts ticks in
// clients; it knows nothing of timestamps, ledgers or of how the gate computes.

const (
	modelChannels = 2
	modelKeys     = "ABC"
)

// modelLifetimes are in ticks.
var modelLifetimes = [modelChannels]int{1, 3}

// modelSets are the pin sets that can be published: two of three keys.
var modelSets = []string{"AB", "BC", "AC"}

// modelClient is a kind of client: it holds a pin set of a channel.
type modelClient struct {
	channel, version int
	set              string
	// age is for how many ticks a newer pin set has surely been out; -1 while none
	// is.
	age int
}

type model struct {
	clients []modelClient
	out     [modelChannels]int // the newest confirmed version on each channel
}

// intend lets clients fetch the new pin set from now on.
func (m *model) intend(channel int, set string, version int) {
	m.clients = append(m.clients, modelClient{channel, version, set, -1})
}

// confirm starts the age of every client with something older.
func (m *model) confirm(channel, version int) {
	m.out[channel] = max(m.out[channel], version)
	for i := range m.clients {
		c := &m.clients[i]
		if c.channel == channel && c.version < version && c.age < 0 {
			c.age = 0
		}
	}
}

// tick lets time pass; who is older than the lifetime forgets.
func (m *model) tick() {
	for i := range m.clients {
		if m.clients[i].age >= 0 {
			m.clients[i].age++
		}
	}
	m.clients = slices.DeleteFunc(m.clients, func(c modelClient) bool { return c.age > modelLifetimes[c.channel] })
}

// lockedOut says whether a client refuses the key.
func (m *model) lockedOut(letter rune) bool {
	return slices.ContainsFunc(m.clients, func(c modelClient) bool { return !strings.ContainsRune(c.set, letter) })
}

func (m *model) clone() *model {
	c := *m
	c.clients = slices.Clone(m.clients)
	return &c
}

// fingerprint tells states apart, but for how long ago things were.
func (m *model) fingerprint(pending [modelChannels]int) string {
	return fmt.Sprint(m.clients, m.out, pending)
}

// TestGateIsExactlyWhatClientsDo exhausts every sequence of publications,
// confirmations and passing time up to a depth, on two channels with different
// lifetimes. In each state the gate must be open for a key exactly when no client
// of the model would refuse it: never open too early, and never closed too long.
func TestGateIsExactlyWhatClientsDo(t *testing.T) {
	t.Parallel()
	depth := 6
	if testing.Short() {
		depth = 4
	}
	const tick = day
	type state struct {
		ledger  Ledger
		model   *model
		now     time.Time
		pending [modelChannels]int // the version that waits to be confirmed, 0 for none
		version int
	}
	append1 := func(l Ledger, e Entry) Ledger {
		next, _, err := l.Append(e)
		if err != nil {
			t.Fatal(err)
		}
		return next
	}
	seen := make(map[string]bool)
	states, verdicts, closed := 0, 0, 0
	frontier := []state{{model: &model{}, now: t0}}
	for range depth {
		var next []state
		push := func(s state) {
			id := s.model.fingerprint(s.pending)
			if seen[id] {
				return
			}
			seen[id] = true
			states++
			for _, letter := range modelKeys {
				v := s.ledger.Gate(key(letter), nil, s.now)
				verdicts++
				if !v.Open {
					closed++
				}
				if locked := s.model.lockedOut(letter); locked == v.Open {
					t.Fatalf("key %c: the gate says %s, clients locked out: %v\nclients %+v\nledger %+v",
						letter, tell(v), locked, s.model.clients, s.ledger.Published())
				}
			}
			next = append(next, s)
		}
		for _, s := range frontier {
			// Time passes.
			n := s
			n.model, n.now = s.model.clone(), s.now.Add(tick)
			n.model.tick()
			push(n)
			for ch := range modelChannels {
				name := fmt.Sprint("c", ch)
				lifetime := &Lifetime{Duration: time.Duration(modelLifetimes[ch]) * tick}
				for _, set := range modelSets {
					n := s
					n.version++
					n.model = s.model.clone()
					n.model.intend(ch, set, n.version)
					n.pending[ch] = n.version
					n.ledger = append1(s.ledger, Entry{At: s.now, Kind: Intent, Channel: name, Version: n.version, Pins: keys(set), Lifetime: lifetime})
					push(n)
				}
				if s.pending[ch] > 0 {
					n := s
					n.model = s.model.clone()
					n.model.confirm(ch, s.pending[ch])
					n.ledger = append1(s.ledger, Entry{At: s.now, Kind: Confirm, Channel: name, Version: s.pending[ch], By: ByKeepkey})
					n.pending[ch] = 0
					push(n)
				}
			}
		}
		frontier = next
	}
	t.Logf("%d states, %d verdicts, %d of them closed", states, verdicts, closed)
	if closed == 0 || closed == verdicts {
		t.Error("the gate was always open or always closed: the model proves nothing")
	}
}

// What the gate says of when it opens is true: closed just before, open then.
func TestGateOpensWhenItSays(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var l Ledger
		now := t0
		for i := range rapid.IntRange(1, 8).Draw(t, "publications") {
			now = now.Add(time.Duration(rapid.IntRange(0, 72).Draw(t, "hours")) * time.Hour)
			channel := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "channel")
			next, _, err := l.Append(Entry{
				At: now, Kind: Intent, Channel: channel, Version: i + 1,
				Pins:     keys(rapid.SampledFrom(modelSets).Draw(t, "set")),
				Lifetime: &Lifetime{Duration: time.Duration(rapid.IntRange(0, 100).Draw(t, "lifetime")) * time.Hour},
			})
			if err != nil {
				t.Fatal(err)
			}
			l = next
			if rapid.Bool().Draw(t, "confirmed") {
				if l, _, err = l.Append(Entry{At: now, Kind: Confirm, Channel: channel, Version: i + 1, By: ByKeepkey}); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, letter := range modelKeys {
			v := l.Gate(key(letter), nil, now)
			if v.Open || v.OpensAt.IsZero() {
				continue
			}
			if !l.Gate(key(letter), nil, v.OpensAt).Open {
				t.Fatalf("key %c: it said that it opens at %s, and is closed then", letter, v.OpensAt)
			}
			if l.Gate(key(letter), nil, v.OpensAt.Add(-1)).Open {
				t.Fatalf("key %c: it said that it opens at %s, and is open before", letter, v.OpensAt)
			}
		}
	})
}
