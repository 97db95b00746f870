package plan

import (
	"fmt"
	"hash/maphash"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

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

	other        string // a second host, which follows when it likes
	otherServing pinset.Pin
}

// modelled is a configuration whose states are explored.
type modelled struct {
	name     string
	channels []Channel
	keys     int    // how many may come to be
	limit    int    // of states; 0 if all are to be seen
	other    string // ID of a second host, if there is one
}

func days(n int) pinset.Clients {
	return pinset.Clients{Lifetime: pinset.Lifetime{Duration: time.Duration(n) * day}}
}

var (
	twoLifetimes = []Channel{
		{Name: "app", Clients: days(3), Publish: at("a")},
		{Name: "web", Clients: days(1), Publish: at("b")},
	}
	readAndManual = []Channel{
		{Name: "app", Clients: days(2), Publish: at("a"), ReadBack: true},
		{Name: "ios", Clients: pinset.Clients{Lifetime: pinset.Lifetime{Forever: true}}, Manual: true, Publish: at("b")},
	}
	models = []modelled{
		{"two channels with different lifetimes", twoLifetimes, 3, 0, ""},
		{"a channel that is read back, and one that a person confirms and retires", readAndManual, 3, 0, ""},
		{"a fourth key", twoLifetimes, 4, 400_000, ""},
		{"a second host that is slow", twoLifetimes[:1], 3, 0, "slow"},
	}
)

func newOutside(m modelled) *outside {
	in := settled()
	in.Goal.Check = nil
	in.Goal.KeepOldPin = 2 * day
	in.Goal.Channels = m.channels
	in.State.Certificate.NotAfter = t0.AddDate(50, 0, 0) // renewals are not the subject
	in.State.Issued = []Issued{{Version: 1, Pin: testPin(1), Serial: "5e", NotAfter: in.State.Certificate.NotAfter}}
	in.State.Window.Asked, in.State.Window.AskAgain = t0.AddDate(-50, 0, 0), t0.AddDate(50, 0, 0)
	in.State.Channels, in.Ledger = nil, pinset.Ledger{}
	in.Now = t0
	o := &outside{in: in, now: t0, serving: testPin(1)}
	if m.other != "" {
		o.other, o.otherServing = m.other, testPin(1)
		o.in.State.Hosts[m.other] = o.in.State.Hosts[in.Host]
	}
	return o
}

func (o *outside) clone() *outside {
	c := *o
	c.held = slices.Clone(o.held) // the rest is values, or never changed
	return &c
}

func (o *outside) channel(name string) Channel {
	ch, _ := o.in.Goal.Channel(name) // those that occur are configured
	return ch
}

// skew is how far keepkey's clock is behind the right time, which the CA's is.
func (o *outside) skew() time.Duration { return o.now.Sub(o.in.Now) }

// passDay lets a day pass. What is enforced "until" a day is over on the next.
func (o *outside) passDay() {
	o.now, o.in.Now = o.now.Add(day), o.in.Now.Add(day)
	for i := range o.held {
		if o.held[i].age >= 0 && !o.channel(o.held[i].channel).Clients.Lifetime.Forever {
			o.held[i].age++
		}
	}
	o.held = slices.DeleteFunc(o.held, func(h heldSet) bool {
		l := o.channel(h.channel).Clients.Lifetime
		return !l.Forever && h.age > int(l.Duration/day)
	})
}

// setClock sets keepkey's clock off by some days.
func (o *outside) setClock(off int) { o.in.Now = o.now.Add(time.Duration(off) * day) }

// follow goes on from what After makes of a result, as package apply does.
func (o *outside) follow(t *testing.T, a Action, r Result) {
	r.At = o.in.Now
	if err := o.in.Follow(a, r); err != nil {
		t.Fatalf("%s: %v", a.Kind, err)
	}
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

// do carries an action out in this world. With fail, it fails where that leaves
// something behind: a publication that clients may have got.
func (o *outside) do(t *testing.T, a Action, fail bool) {
	switch a.Kind {
	case Publish:
		o.publish(t, a, fail)
	case GenerateKey:
		o.follow(t, a, Result{Pin: testPin(byte(len(o.in.State.Keys) + 1))})
	case ReadBack:
		if CheckClock(o.in, o.skew(), true) != nil {
			return
		}
		o.follow(t, a, Result{})
		o.out(a.Channel, a.PinSet.Version)
	case SwitchKey:
		if CheckSwitch(o.in, o.in.State.Rollover.To, o.skew()) == nil {
			o.switchKey(t)
		}
	case Install:
		o.follow(t, a, Result{})
		o.in.Disk.Live = a.Version
	case Deploy:
		o.follow(t, a, Result{})
		o.serving = o.in.State.Certificate.Pin
	case RetirePin, Abandon, Revoke:
		o.follow(t, a, Result{})
	default:
		t.Fatalf("%s was not to be expected", a.Kind)
	}
}

func (o *outside) publish(t *testing.T, a Action, fail bool) {
	for _, k := range o.in.State.Keys {
		if k.Role == Compromised && slices.Contains(a.PinSet.Pins, k.Pin) {
			t.Fatalf("the compromised key %s is published in version %d", k.Pin, a.PinSet.Version)
		}
	}
	if CheckClock(o.in, o.skew(), true) != nil {
		return
	}
	ch := o.channel(a.Channel)
	o.follow(t, a, Result{Began: true})
	if !a.Intended {
		o.held = append(o.held, heldSet{ch.Name, a.PinSet.Version, a.PinSet.Pins, -1})
	}
	if fail {
		return
	}
	o.follow(t, a, Result{Hook: ch.Publish[0].ID})
	o.follow(t, a, Result{})
	if !ch.Manual && !ch.ReadBack {
		o.out(ch.Name, a.PinSet.Version)
	}
}

func (o *outside) switchKey(t *testing.T) {
	next := *o.in.State.Certificate
	next.Version, next.Pin = next.Version+1, o.in.State.Rollover.To
	next.Serial = strconv.Itoa(next.Version)
	o.follow(t, Action{Kind: SwitchKey}, Result{Certificate: &next})
	o.in.State.Window = &Window{Serial: next.Serial, Asked: t0.AddDate(-50, 0, 0), AskAgain: t0.AddDate(50, 0, 0)}
}

// otherFollows is what the second host does some time: it installs what is newest, and
// its server loads that.
func (o *outside) otherFollows(t *testing.T) {
	c := o.in.State.Certificate
	o.follow(t, Action{Kind: Install, Version: c.Version, Host: o.other}, Result{})
	for _, h := range o.in.Goal.Deploy {
		o.follow(t, Action{Kind: Deploy, Version: c.Version, Target: h, Host: o.other}, Result{})
	}
	o.otherServing = c.Pin
}

// chosen reports whether a key is about to take the place of a compromised one.
func chosen(s State, pin pinset.Pin) bool {
	r := s.Pending()
	return r != nil && r.Compromised && r.To == pin
}

// ops are what a person, the clock and the world may do, by name.
func (o *outside) ops(t *testing.T, keys int) map[string]func(*outside) {
	s := o.in.State
	ops := map[string]func(*outside){"a day passes": (*outside).passDay}
	ask := func(name string, a Action) { ops[name] = func(o *outside) { o.follow(t, a, Result{}) } }
	for name, off := range map[string]int{"the clock is right": 0, "the clock is ahead": 2, "the clock is behind": -2} {
		if o.skew() != time.Duration(-off)*day {
			ops[name] = func(o *outside) { o.setClock(off) }
		}
	}
	if s.Rollover == nil && len(s.Keys) < keys && len(s.Backups()) > 0 {
		ask("rotate", Action{Kind: BeginRollover})
	}
	if r := s.Rollover; r != nil && (!r.Compromised || r.Switched.IsZero()) {
		ask("undo", Action{Kind: Undo})
	}
	if r := s.Rollover; (r == nil || !r.Compromised || !r.Switched.IsZero()) && len(s.Keys) < keys && len(s.Backups()) > 0 {
		active := []pinset.Pin{s.Active().Pin}
		if to := Successor(o.in); Gate(o.in, to).Open {
			ask("compromised", Action{Kind: DeclareCompromise, Keys: active, Pin: to})
		} else {
			ask("compromised, at a price", Action{Kind: DeclareCompromise, Keys: active, Pin: to, Accept: true, Entries: o.in.Ledger.Head().Entries})
		}
	}
	for _, k := range s.Keys {
		switch to := Successor(o.in, k.Pin); {
		case chosen(s, k.Pin) && !to.IsZero() && keys > 3 && len(s.Keys) < keys:
			ask("compromised successor", Action{Kind: DeclareCompromise, Keys: []pinset.Pin{k.Pin}, Pin: to})
		case chosen(s, k.Pin):
			// Refused: there has to be another one first. (With few keys there never is.)
		case k.Role == Backup && len(s.Keys) < keys, k.Role == Retired:
			ask(fmt.Sprintf("compromised %s key", k.Role), Action{Kind: DeclareCompromise, Keys: []pinset.Pin{k.Pin}})
		}
	}
	if o.other != "" && s.Hosts[o.other].Installed != s.Certificate.Version {
		ops["the other host follows"] = func(o *outside) { o.otherFollows(t) }
	}
	for _, ch := range o.in.Goal.Channels {
		newest, _ := o.in.Ledger.Channel(ch.Name)
		if ch.Manual && newest.Version > 0 && newest.Confirmed.IsZero() && CheckClock(o.in, o.skew(), true) == nil {
			ops["confirm "+ch.Name] = func(o *outside) {
				o.follow(t, Action{Kind: Confirm, Channel: ch.Name, Version: newest.Version}, Result{})
				o.out(ch.Name, newest.Version)
			}
		}
		for _, h := range o.held {
			// A person says so because it is true.
			if h.channel == ch.Name && ch.Clients.Lifetime.Forever && h.age >= 0 {
				ops[fmt.Sprintf("retire %s %d", ch.Name, h.version)] = func(o *outside) {
					o.held = slices.DeleteFunc(o.held, func(other heldSet) bool { return other.channel == h.channel && other.version == h.version })
					o.follow(t, Action{Kind: Retire, Channel: ch.Name, Version: h.version}, Result{})
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
		if slices.Contains(h.pins, o.serving) && slices.Contains(h.pins, live) && (o.other == "" || slices.Contains(h.pins, o.otherServing)) {
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
	clients := o.in.Goal.Clients()
	for _, p := range o.in.Ledger.Published() {
		newest, _ := o.in.Ledger.Channel(p.Channel)
		if p.Version != newest.Version && !p.Enforced(clients[p.Channel], o.in.Now.Add(-4*day)) && !p.Enforced(clients[p.Channel], o.in.Now) {
			continue
		}
		b = append(b, '|', p.Channel[0], flag(p.Version == newest.Version), flag(p.Confirmed.IsZero()), flag(p.Retired), flag(p.Abandoned), since(p.Superseded),
			byte(newest.Version-s.Channels[p.Channel].Version), byte(len(s.Channels[p.Channel].Done)))
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
	b = append(b, '|', s.Certificate.Pin[0], flag(o.in.Disk.Live == s.Certificate.Version), byte(len(s.Hosts[o.in.Host].Deployed)), o.serving[0])
	if o.other != "" {
		b = append(b, o.otherServing[0], flag(s.Hosts[o.other].Installed == s.Certificate.Version))
	}
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
			step("blind switch", func(o *outside) { o.switchKey(t) })
		}
		n.o = nil // its successors keep only how they came to be
	}
	return states, all
}

func TestNoRolloverEverLocksAClientOut(t *testing.T) {
	t.Parallel()
	// It keeps millions of states: rather slower than more memory than a small machine has.
	debug.SetMemoryLimit(2400 << 20)
	for _, m := range models {
		m.limit = 250_000
		if raceDetector || testing.Short() {
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
		return true
	})
	t.Logf("%d states (all: %v) in %s", states, all, time.Since(began).Round(time.Second))
	if m.limit > 0 || t.Failed() {
		return
	}
	if !all {
		t.Errorf("the states do not come to an end: something grows that should not")
	}
	must := []string{"rotate", "undo", "compromised", "switch-key ", "deploy ", "retire-pin ", "revoke ", "compromised retired key", "compromised backup key", "failed publish app", "the clock is ahead"}
	if m.keys > 3 {
		must = append(must, "compromised, at a price", "abandon app", "compromised successor")
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
