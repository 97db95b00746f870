package plan

import (
	"fmt"
	"hash/maphash"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"keepkey/config"
	"keepkey/pinset"
)

// The planner beside a model of the outside world: clients that fetch pin sets and
// hold them, a server that presents a key, a clock that may be wrong, and a person.
// Every sequence of what can happen is tried. In every state that is reached, each
// key that the server may be presenting must be in every pin set that a client may
// hold: the promise. Only those count no more that a person gave up.

// heldSet is a pin set in the hands of clients of a channel.
type heldSet struct {
	channel string
	version int
	pins    []pinset.Pin
	age     int // days since a newer one is surely out; -1 while none is
}

// outside is the world. Its time is the right one; keepkey's clock may be off.
type outside struct {
	in      Input
	now     time.Time
	held    []heldSet
	serving pinset.Pin // what the server has loaded
}

// modelled is a configuration whose states are explored.
type modelled struct {
	name     string
	channels []config.Channel
	keys     int // how many may come to be
	limit    int // of states; 0 if all are to be seen
}

func days(n int) pinset.Lifetime { return pinset.Lifetime{Duration: time.Duration(n) * day} }

func fileHook(path string) []config.Hook { return []config.Hook{{File: path}} }

var (
	twoLifetimes = []config.Channel{
		{Name: "app", Format: "json", Lifetime: days(3), Publish: fileHook("/a")},
		{Name: "web", Format: "json", Lifetime: days(1), Publish: fileHook("/b")},
	}
	readAndManual = []config.Channel{
		{Name: "app", Format: "json", Lifetime: days(2), Publish: fileHook("/a"), ReadBack: &config.ReadBack{File: "/a"}},
		{Name: "ios", Format: "json", Lifetime: pinset.Lifetime{Forever: true}, Manual: true, Publish: fileHook("/b")},
	}
	models = []modelled{
		{"two channels with different lifetimes", twoLifetimes, 3, 0},
		{"a channel that is read back, and one that a person confirms and retires", readAndManual, 3, 0},
		{"a fourth key", twoLifetimes, 4, 400_000},
	}
)

func newOutside(m modelled) *outside {
	in := settled()
	in.Config.Check = nil
	in.Config.KeepOldPin = 2 * day
	in.Config.Channels = m.channels
	in.State.Certificate.NotAfter = t0.AddDate(50, 0, 0) // renewals are not the subject
	in.State.Certificate.Domains = in.Config.Domains
	in.State.Issued = []Issued{{Version: 1, Pin: testPin(1), Serial: "5e", NotAfter: in.State.Certificate.NotAfter}}
	in.State.Window.Asked, in.State.Window.AskAgain = t0.AddDate(-50, 0, 0), t0.AddDate(50, 0, 0)
	in.State.Channels, in.Ledger = nil, pinset.Ledger{}
	in.State.Ledger = in.Ledger.Head()
	in.Now = t0
	return &outside{in: in, now: t0, serving: testPin(1)}
}

func (o *outside) clone() *outside {
	c := *o
	c.in.State = o.in.State.clone()
	c.held = slices.Clone(o.held)
	return &c
}

func (o *outside) channel(name string) config.Channel {
	ch, _ := o.in.Config.Channel(name) // those that occur are configured
	return ch
}

// skew is how far keepkey's clock is behind the right time, which the CA's is.
func (o *outside) skew() time.Duration { return o.now.Sub(o.in.Now) }

// passDay lets a day pass. What is enforced "until" a day is over on the next.
func (o *outside) passDay() {
	o.now, o.in.Now = o.now.Add(day), o.in.Now.Add(day)
	for i := range o.held {
		if o.held[i].age >= 0 && !o.channel(o.held[i].channel).Lifetime.Forever {
			o.held[i].age++
		}
	}
	o.held = slices.DeleteFunc(o.held, func(h heldSet) bool {
		l := o.channel(h.channel).Lifetime
		return !l.Forever && h.age > int(l.Duration/day)
	})
}

// setClock sets keepkey's clock off by some days.
func (o *outside) setClock(off int) { o.in.Now = o.now.Add(time.Duration(off) * day) }

func (o *outside) record(t *testing.T, e pinset.Entry) {
	e.At = o.in.Now
	next, _, err := o.in.Ledger.Append(e)
	if err != nil {
		t.Fatal(err)
	}
	o.in.Ledger = next
	o.in.State.Ledger = next.Head()
}

// out says that a version is surely out on a channel: clients that hold an older one
// will have it a lifetime later.
func (o *outside) out(channel string, version int) {
	for i := range o.held {
		if h := &o.held[i]; h.channel == channel && h.version < version && h.age < 0 {
			h.age = 0
		}
	}
}

// do carries an action out as package apply does. With fail, it fails where that
// leaves something behind: a publication that clients may have got.
func (o *outside) do(t *testing.T, a Action, fail bool) {
	s := o.in.State
	switch a.Kind {
	case GenerateKey:
		s.Keys = append(s.Keys, Key{Pin: testPin(byte(len(s.Keys) + 1)), Type: pinset.EC256, Role: a.Role})
	case Publish:
		o.publish(t, a, fail)
	case ReadBack:
		if CheckClock(o.in, o.skew(), true) != nil {
			return
		}
		o.record(t, pinset.Entry{Kind: pinset.Confirm, Channel: a.Channel, Version: a.PinSet.Version, By: pinset.ByKeepkey})
		o.out(a.Channel, a.PinSet.Version)
	case Switch:
		if CheckSwitch(o.in, s.Rollover.To, o.skew()) == nil {
			o.switchKey()
		}
	case Install:
		o.in.Disk.Live = a.Version
	case Deploy:
		s.Certificate.Deployed = append(s.Certificate.Deployed, a.Target)
		o.serving = s.Certificate.Pin
	case RetireOld:
		s.Rollover = nil
	case Abandon:
		o.record(t, pinset.Entry{Kind: pinset.Abandon, Channel: a.Channel, Version: a.Version, By: pinset.ByPerson})
	case Revoke:
		s.MarkRevoked(a.Target, o.in.Now)
	default:
		t.Fatalf("%s was not to be expected", a.Kind)
	}
}

func (o *outside) publish(t *testing.T, a Action, fail bool) {
	s, ch := o.in.State, o.channel(a.Channel)
	for _, k := range s.Keys {
		if k.Role == Compromised && slices.Contains(a.PinSet.Pins, k.Pin) {
			t.Fatalf("the compromised key %s is published in version %d", k.Pin, a.PinSet.Version)
		}
	}
	if CheckClock(o.in, o.skew(), true) != nil {
		return
	}
	if newest, _ := o.in.Ledger.Channel(ch.Name); newest.Version != a.PinSet.Version {
		o.record(t, pinset.Entry{Kind: pinset.Intent, Channel: ch.Name, Version: a.PinSet.Version, Pins: a.PinSet.Pins, Lifetime: &ch.Lifetime})
		o.held = append(o.held, heldSet{ch.Name, a.PinSet.Version, a.PinSet.Pins, -1})
	}
	if fail {
		return
	}
	if s.Channels == nil {
		s.Channels = make(map[string]Publication)
	}
	s.Channels[ch.Name] = Publication{Version: a.PinSet.Version, Done: []string{HookID(ch.Publish[0])}}
	if !ch.Manual && ch.ReadBack == nil {
		o.record(t, pinset.Entry{Kind: pinset.Confirm, Channel: ch.Name, Version: a.PinSet.Version, By: pinset.ByKeepkey})
		o.out(ch.Name, a.PinSet.Version)
	}
}

func (o *outside) switchKey() {
	s := o.in.State
	next := *s.Certificate
	next.Version, next.Pin, next.Deployed = next.Version+1, s.Rollover.To, nil
	next.Serial = strconv.Itoa(next.Version)
	s.Accept(Switch, next, o.in.Now)
	s.Window = &Window{Serial: next.Serial, Asked: t0.AddDate(-50, 0, 0), AskAgain: t0.AddDate(50, 0, 0)}
}

// ops are what a person, the clock and the world may do, by name.
func (o *outside) ops(t *testing.T, keys int) map[string]func(*outside) {
	s := o.in.State
	ops := map[string]func(*outside){"a day passes": (*outside).passDay}
	ask := func(name string, f func(s *State, now time.Time) error) {
		ops[name] = func(o *outside) {
			if err := f(o.in.State, o.in.Now); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, off := range map[string]int{"the clock is right": 0, "the clock is ahead": 2, "the clock is behind": -2} {
		if o.skew() != time.Duration(-off)*day {
			ops[name] = func(o *outside) { o.setClock(off) }
		}
	}
	if s.Rollover == nil && len(s.Keys) < keys && len(s.Backups()) > 0 {
		ask("rotate", (*State).AskRollover)
	}
	if r := s.Rollover; r != nil && (!r.Compromised || r.Switched.IsZero()) {
		ask("undo", (*State).AskUndo)
	}
	if r := s.Rollover; (r == nil || !r.Compromised || !r.Switched.IsZero()) && len(s.Keys) < keys && len(s.Backups()) > 0 {
		if to := Successor(o.in); Gate(o.in, to).Open {
			ask("compromised", func(s *State, now time.Time) error { return s.AskCompromised(to, false, now) })
		} else {
			ask("compromised, at a price", func(s *State, now time.Time) error { return s.AskCompromised(to, true, now) })
		}
	}
	for _, ch := range o.in.Config.Channels {
		newest, _ := o.in.Ledger.Channel(ch.Name)
		if ch.Manual && newest.Version > 0 && newest.Confirmed.IsZero() && CheckClock(o.in, o.skew(), true) == nil {
			ops["confirm "+ch.Name] = func(o *outside) {
				o.record(t, pinset.Entry{Kind: pinset.Confirm, Channel: ch.Name, Version: newest.Version, By: pinset.ByPerson})
				o.out(ch.Name, newest.Version)
			}
		}
		for _, h := range o.held {
			// A person says so because it is true.
			if h.channel == ch.Name && ch.Lifetime.Forever && h.age >= 0 {
				ops[fmt.Sprintf("retire %s %d", ch.Name, h.version)] = func(o *outside) {
					o.held = slices.DeleteFunc(o.held, func(other heldSet) bool { return other.channel == h.channel && other.version == h.version })
					o.record(t, pinset.Entry{Kind: pinset.Retire, Channel: ch.Name, Version: h.version, By: pinset.ByPerson})
				}
				break
			}
		}
	}
	return ops
}

// lockedOut returns a client that refuses a key that it may meet: the one that the
// server loaded, or the live one, which it may load any time.
func (o *outside) lockedOut() (heldSet, bool) {
	live := o.serving
	if c := o.in.State.Certificate; o.in.Disk.Live == c.Version {
		live = c.Pin
	}
	var published []pinset.Published
	for _, h := range o.held {
		if slices.Contains(h.pins, o.serving) && slices.Contains(h.pins, live) {
			continue
		}
		if published == nil {
			published = o.in.Ledger.Published()
		}
		if !slices.ContainsFunc(published, func(p pinset.Published) bool {
			return p.Channel == h.channel && p.Version == h.version && p.Abandoned
		}) {
			return h, true
		}
	}
	return heldSet{}, false
}

var fingerprintSeed = maphash.MakeSeed()

// fingerprint tells states apart, however long ago they were reached. It leaves out
// what decides nothing any more: pin sets that neither keepkey nor a client counts.
func (o *outside) fingerprint() uint64 {
	b := make([]byte, 0, 256)
	s := o.in.State
	since := func(t time.Time) byte { return byte(min(max(int(o.in.Now.Sub(t)/day), -5), 6)) }
	flag := func(v bool) byte {
		if v {
			return 1
		}
		return 0
	}
	for _, k := range s.Keys {
		b = append(b, k.Role[0])
	}
	b = append(b, '|', since(o.now))
	for _, h := range o.held {
		b = append(b, h.channel[0], byte(h.age))
		for _, p := range h.pins {
			b = append(b, p[0])
		}
	}
	lifetimes := Lifetimes(o.in.Config)
	for _, p := range o.in.Ledger.Published() {
		newest, _ := o.in.Ledger.Channel(p.Channel)
		if p.Version != newest.Version && !p.Enforced(lifetimes[p.Channel], o.in.Now.Add(-4*day)) && !p.Enforced(lifetimes[p.Channel], o.in.Now) {
			continue
		}
		b = append(b, '|', p.Channel[0], flag(p.Version == newest.Version), flag(p.Confirmed.IsZero()), flag(p.Retired), flag(p.Abandoned), since(p.Superseded),
			byte(newest.Version-s.Channels[p.Channel].Version))
		for _, pin := range p.Pins {
			b = append(b, pin[0])
		}
	}
	for r := s.Rollover; r != nil; r = r.Interrupted {
		b = append(b, '|', r.From[0], r.To[0], flag(r.Switched.IsZero()), since(r.Switched), flag(r.Compromised), flag(r.BreakageAccepted))
	}
	for _, c := range s.Issued {
		b = append(b, flag(c.Revoked.IsZero()), c.Pin[0])
	}
	b = append(b, '|', s.Certificate.Pin[0], flag(o.in.Disk.Live == s.Certificate.Version), byte(len(s.Certificate.Deployed)), o.serving[0])
	return maphash.Bytes(fingerprintSeed, b)
}

// node is a state and how it was reached.
type node struct {
	o    *outside
	from *node
	by   string
}

func (n *node) path() string {
	var steps []string
	for ; n.from != nil; n = n.from {
		steps = append(steps, n.by)
	}
	slices.Reverse(steps)
	return strings.Join(steps, ", ")
}

// maxStates ends a search whose states would not come to an end.
const maxStates = 2_000_000

// explore goes through every state that can be reached, the nearest first, and calls
// visit in each until it has seen enough. blind lets the switch happen whatever the
// gate says. It returns the number of states, and whether that were all.
func explore(t *testing.T, m modelled, blind bool, visit func(*node) bool) (states int, all bool) {
	t.Helper()
	limit := maxStates
	if m.limit > 0 {
		limit = m.limit
	}
	start := newOutside(m)
	seen := map[uint64]bool{start.fingerprint(): true}
	queue := []*node{{o: start}}
	all = true
	for ; len(queue) > 0; queue = queue[1:] {
		n := queue[0]
		states++
		if !visit(n) {
			return states, false
		}
		step := func(name string, change func(*outside)) {
			next := n.o.clone()
			change(next)
			id := next.fingerprint()
			switch {
			case seen[id]:
			case len(seen) == limit:
				all = false
			default:
				seen[id] = true
				queue = append(queue, &node{next, n, name})
			}
		}
		for name, op := range n.o.ops(t, m.keys) {
			step(name, op)
		}
		// A hook may fail, which does not keep others from being tried: so any due
		// action can be the next.
		for _, a := range Next(n.o.in).Actions {
			if a.At.After(n.o.in.Now) {
				continue
			}
			step(string(a.Kind)+" "+a.Channel, func(o *outside) { o.do(t, a, false) })
			if a.Kind == Publish {
				step("failed "+string(a.Kind)+" "+a.Channel, func(o *outside) { o.do(t, a, true) })
			}
		}
		if r := n.o.in.State.Rollover; blind && r != nil && r.Switched.IsZero() {
			step("blind switch", (*outside).switchKey)
		}
		n.o = nil // its successors keep only how they came to be
	}
	return states, all
}

func TestNoRolloverEverLocksAClientOut(t *testing.T) {
	t.Parallel()
	for _, m := range models {
		if raceDetector {
			m.limit = 10_000
		}
		if n, err := strconv.Atoi(os.Getenv("KEEPKEY_TEST_STATES")); err == nil {
			m.limit = n // CONTRIBUTING.md says when
		}
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			m.search(t)
		})
	}
}

func (m modelled) search(t *testing.T) {
	began := time.Now()
	seen := make(map[string]int)
	states, all := explore(t, m, false, func(n *node) bool {
		seen[n.by]++
		if h, locked := n.o.lockedOut(); locked {
			t.Errorf("after %s\nclients of %s with version %d (%v) are locked out of %s or %s", n.path(), h.channel, h.version, h.pins, n.o.serving, n.o.in.State.Certificate.Pin)
			return false
		}
		if err := n.o.in.State.check("api"); err != nil {
			t.Errorf("after %s\nthe state would not be read again: %v", n.path(), err)
			return false
		}
		return true
	})
	t.Logf("%d states (all: %v) in %s", states, all, time.Since(began).Round(time.Second))
	if raceDetector || t.Failed() {
		return
	}
	if m.limit == 0 && !all {
		t.Errorf("the states do not come to an end: something grows that should not")
	}
	must := []string{"rotate", "undo", "compromised", "switch key ", "deploy ", "retire the old pin ", "revoke ", "failed publish app", "the clock is ahead"}
	if m.keys > 3 {
		must = append(must, "compromised, at a price", "give clients up app")
	}
	for _, by := range must {
		if seen[by] == 0 {
			t.Errorf("no state was reached by %q", by)
		}
	}
}

// Without the gate the same model finds clients that are locked out, so that the
// test above can fail.
func TestBlindSwitchesLockClientsOut(t *testing.T) {
	t.Parallel()
	for _, m := range models {
		m.keys, m.limit = 4, 100_000 // a second rollover takes that many keys
		found := false
		states, _ := explore(t, m, true, func(n *node) bool {
			_, found = n.o.lockedOut()
			return !found
		})
		if !found {
			t.Errorf("%s: none in %d states", m.name, states)
		}
	}
}
