package pinset

import (
	"fmt"
	"maps"
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
	if v := l.Gate(key('C'), map[string]Clients{"app": {Lifetime: Lifetime{Duration: 30 * day}}}, at); v.Open {
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

// The same with places: a channel whose documents lie in several, some of which come and
// go in the configuration, are closed, or get an old document back. Caches hand documents
// out for a while longer.

// placeWorld is what clients can get, and what they hold.
type placeWorld struct {
	sets    map[int]string // of each version
	went    map[int]string // the places of each version
	out     map[int]bool   // was confirmed at some time
	offers  map[rune][]int // by place: the versions that clients may get
	holding map[int]int    // by version: for how many ticks nobody got it any more; -1 while somebody may
}

const (
	placeLifetime = 1 // in ticks
	placeCache    = 1
)

func (w placeWorld) clone() placeWorld {
	offers := make(map[rune][]int)
	for p, versions := range w.offers {
		offers[p] = slices.Clone(versions)
	}
	return placeWorld{maps.Clone(w.sets), maps.Clone(w.went), maps.Clone(w.out), offers, maps.Clone(w.holding)}
}

func (w placeWorld) intend(version int, set, places string) {
	w.sets[version], w.went[version], w.holding[version] = set, places, -1
	for _, p := range places {
		w.offers[p] = append(w.offers[p], version)
	}
}

func (w placeWorld) confirm(version int) {
	w.out[version] = true
	for _, p := range w.went[version] {
		w.offers[p] = []int{version}
	}
	w.settle()
}

func (w placeWorld) shut(place rune) {
	w.offers[place] = nil
	w.settle()
}

func (w placeWorld) restore(place rune, version int) {
	w.offers[place] = append(w.offers[place], version)
	w.holding[version] = -1
}

// settle finds the versions that nobody gets any more since a newer one is out.
func (w placeWorld) settle() {
	for version, age := range w.holding {
		offered, newer := false, false
		for _, versions := range w.offers {
			offered = offered || slices.Contains(versions, version)
		}
		for other := range w.out {
			newer = newer || other > version
		}
		if age < 0 && newer && !offered {
			w.holding[version] = 0
		}
	}
}

func (w placeWorld) tick() {
	for version, age := range w.holding {
		if age >= 0 {
			w.holding[version]++
		}
		if w.holding[version] > placeLifetime+placeCache {
			delete(w.holding, version)
		}
	}
}

func (w placeWorld) lockedOut(letter rune) bool {
	for version := range w.holding {
		if !strings.ContainsRune(w.sets[version], letter) {
			return true
		}
	}
	return false
}

func TestGateKnowsTheClientsOfEveryPlace(t *testing.T) {
	t.Parallel()
	depth := 7
	if testing.Short() {
		depth = 5
	}
	type state struct {
		ledger Ledger
		world  placeWorld
		now    time.Time
	}
	apply := func(s state, e Entry) state {
		e.At = s.now
		next, _, err := s.ledger.Append(e)
		if err != nil {
			t.Fatal(err)
		}
		return state{next, s.world.clone(), s.now}
	}
	start := state{world: placeWorld{map[int]string{}, map[int]string{}, map[int]bool{}, map[rune][]int{}, map[int]int{}}, now: t0}
	seen := make(map[string]bool)
	states, closed := 0, 0
	frontier := []state{start}
	for range depth {
		var next []state
		push := func(s state) {
			if id := fmt.Sprint(s.world); !seen[id] {
				seen[id] = true
				states++
				next = append(next, s)
			}
			for _, letter := range modelKeys {
				v := s.ledger.Gate(key(letter), nil, s.now)
				if !v.Open {
					closed++
				}
				if locked := s.world.lockedOut(letter); locked == v.Open {
					t.Fatalf("key %c: the gate says %s, clients locked out: %v\n%+v\nledger %+v", letter, tell(v), locked, s.world, s.ledger.Published())
				}
			}
		}
		for _, s := range frontier {
			later := state{s.ledger, s.world.clone(), s.now.Add(day)}
			later.world.tick()
			push(later)
			newest := len(s.world.sets)
			if newest < 3 {
				for _, places := range []string{"x", "y", "xy"} {
					set := modelSets[newest]
					n := apply(s, Entry{Kind: Intent, Channel: "app", Version: newest + 1, Pins: keys(set), Places: placesOf(places),
						Lifetime: &Lifetime{Duration: placeLifetime * day}, Cache: Lifetime{Duration: placeCache * day}})
					n.world.intend(newest+1, set, places)
					push(n)
				}
			}
			if newest == 0 {
				continue
			}
			n := apply(s, Entry{Kind: Confirm, Channel: "app", Version: newest, By: ByKeepkey})
			n.world.confirm(newest)
			push(n)
			for _, place := range "xy" {
				used := slices.ContainsFunc(slices.Collect(maps.Values(s.world.went)), func(w string) bool { return strings.ContainsRune(w, place) })
				if !used {
					continue
				}
				n := apply(s, Entry{Kind: Gone, Channel: "app", Place: string(place), By: ByPerson})
				n.world.shut(place)
				push(n)
				for version, went := range s.world.went {
					if version < newest && strings.ContainsRune(went, place) {
						n := apply(s, Entry{Kind: Seen, Channel: "app", Version: version, Place: string(place), By: ByKeepkey})
						n.world.restore(place, version)
						push(n)
					}
				}
			}
		}
		frontier = next
	}
	t.Logf("%d states, %d closed gates", states, closed)
	if states < 1000 || closed < 1000 {
		t.Error("it saw too little")
	}
}

func placesOf(letters string) []Place {
	var places []Place
	for _, r := range letters {
		places = append(places, Place{ID: string(r)})
	}
	return places
}
