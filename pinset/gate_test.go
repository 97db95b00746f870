package pinset

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

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
		t.Error("clients turned out to hold pins for 30 days, and the gate still went by 7")
	}
}

// The gate against an independent model: clients that download the pin set that is
// out, hold it, and forget it when its time has come. The model counts ticks in
// clients; it knows nothing about timestamps, ledgers, or how the gate computes.

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

// confirm starts the age of every client that holds something older.
func (m *model) confirm(channel, version int) {
	m.out[channel] = max(m.out[channel], version)
	for i := range m.clients {
		c := &m.clients[i]
		if c.channel == channel && c.version < version && c.age < 0 {
			c.age = 0
		}
	}
}

// tick lets time pass; clients forget what is older than the lifetime.
func (m *model) tick() {
	for i := range m.clients {
		if m.clients[i].age >= 0 {
			m.clients[i].age++
		}
	}
	m.clients = slices.DeleteFunc(m.clients, func(c modelClient) bool { return c.age > modelLifetimes[c.channel] })
}

// lockedOut reports whether some client refuses the key.
func (m *model) lockedOut(letter rune) bool {
	return slices.ContainsFunc(m.clients, func(c modelClient) bool { return !strings.ContainsRune(c.set, letter) })
}

func (m *model) clone() *model {
	c := *m
	c.clients = slices.Clone(m.clients)
	return &c
}

// fingerprint tells states apart, except by how long ago things happened.
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

// The gate opens when it says it does: it is closed just before, and open then.
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
