package invariant

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"

	"keepkey/pinset"
	"keepkey/plan"
)

// Violation is an invariant that does not hold.
type Violation struct {
	Invariant string // "promise", or "I1" to "I17": see docs/robustness.md
	Text      string
}

func (v Violation) String() string { return v.Invariant + ": " + v.Text }

// Outside is what is known of the world around a lineage. What is not known is left
// out, and then not held against it.
type Outside struct {
	Now    time.Time
	Served []pinset.Pin // the keys that clients may be presented with
	Held   []Held       // the pin sets that clients may be enforcing
	Events []Event      // all that hooks were told, in order
	Before *Found       // the lineage as it was found earlier
	Run    *Run         // what happened since then
}

// Held is a pin set in the hands of a client.
type Held struct {
	Channel string
	pinset.Set
}

// Event is what a hook was told.
type Event struct {
	ID      string
	Channel string // "" for a deployment
	Version int    // of the pin set
	Told    string // the document, or what identifies the certificate
}

// Run is one run of keepkey.
type Run struct {
	Status int  // exit status; -1 when it was killed
	Asked  bool // a person, or the schedule, asked for another key
	// Undisturbed says that nothing went wrong in this run and in the one before.
	Undisturbed bool
	Output      []byte // all that came out: messages, logs, what hooks were given
	Requests    int    // to the CA
}

// What one run may take (I12), far above what it does take.
const (
	maxRequests = 200
	maxOutput   = 1 << 20
)

// checker collects what does not hold.
type checker struct {
	Found
	out        Outside
	violations []Violation
}

// Check holds a lineage, as it was found, to all invariants.
func (f Found) Check(out Outside) []Violation {
	c := &checker{Found: f, out: out}
	for _, check := range []func(){
		c.promise, c.keysAreImmortal, c.keysAreImmutable, c.liveIsAPair, c.liveIsPinned, c.backupIsThere,
		c.switchesAreInOrder, c.setsAreMonotone, c.oneWriter, c.completes, c.failsClosed, c.leaksNothing,
		c.isBounded, c.neverWorse, c.renewalsAreIndependent, c.timeShortensNothing, c.hooksAreToldTheSame,
		c.reportsAreHeeded,
	} {
		check()
	}
	return c.violations
}

func (c *checker) violate(invariant, format string, args ...any) {
	c.violations = append(c.violations, Violation{invariant, fmt.Sprintf(format, args...)})
}

// latest is the time that nothing on record is later than: a clock that went back
// does not unmake what happened.
func (c *checker) latest() time.Time {
	if t := plan.Latest(plan.Input{State: c.State, Ledger: c.Ledger}); t.After(c.out.Now) {
		return t
	}
	return c.out.Now
}

// abandoned reports whether the clients with a pin set were given up. An unknown pin set
// stands for all that went before it and that the ledger does not have, or had for gone
// by then: nobody knows what was out there meanwhile.
func (c *checker) abandoned(channel string, version int) bool {
	all := slices.DeleteFunc(c.Ledger.Published(), func(p pinset.Published) bool { return p.Channel != channel })
	return slices.ContainsFunc(all, func(u pinset.Published) bool {
		own := slices.ContainsFunc(all, func(p pinset.Published) bool {
			return p.Version == version && !p.Found && p.Enforced(p.Clients, u.Intended)
		})
		return u.Abandoned && (u.Version == version || (!own && u.Version > version && c.unknown(u)))
	})
}

func (c *checker) unknown(p pinset.Published) bool {
	return slices.ContainsFunc(c.Ledger.Entries(), func(e pinset.Entry) bool {
		return e.Kind == pinset.Unknown && e.Channel == p.Channel && e.Version == p.Version
	})
}

// The promise: the key that a server presents is in every pin set that a client may
// still be enforcing.
func (c *checker) promise() {
	for _, h := range c.out.Held {
		for _, pin := range c.out.Served {
			if c.givenUp(pin) {
				continue // clients are told to refuse it
			}
			if !slices.Contains(h.Pins, pin) && !c.abandoned(h.Channel, h.Version) {
				c.violate("promise", "clients of %s with version %d are locked out: they meet the key %s", h.Channel, h.Version, pin)
			}
		}
	}
}

// givenUp reports whether a key is compromised, and is not waited for to go out of use.
func (c *checker) givenUp(pin pinset.Pin) bool {
	r := c.State.Rollover
	return (r == nil || r.From != pin) && slices.ContainsFunc(c.State.Keys, func(k plan.Key) bool { return k.Pin == pin && k.Role == plan.Compromised })
}

// I1: every pin that keepkey ever published has its key, and each key is the one that
// its file is named after.
func (c *checker) keysAreImmortal() {
	for pin, err := range c.KeyProblems {
		c.violate("I1", "the key %s can't be used: %v", pin, err)
	}
	for _, p := range c.Ledger.Published() {
		if p.Found {
			continue // what was found out there may be anybody's
		}
		for _, pin := range p.Pins {
			if _, there := c.Keys[pin]; !there {
				c.violate("I1", "version %d on channel %s has the pin %s, and there is no such key", p.Version, p.Channel, pin)
			}
		}
	}
	if c.State.IsZero() {
		return
	}
	for _, k := range c.State.Keys {
		if _, there := c.Keys[k.Pin]; !there {
			c.violate("I1", "the %s key %s is gone", k.Role, k.Pin)
		}
	}
}

// I2: a key file never changes.
func (c *checker) keysAreImmutable() {
	if c.out.Before == nil {
		return
	}
	for pin, hash := range c.out.Before.Keys {
		if c.Keys[pin] != hash {
			c.violate("I2", "the key file of %s was changed or removed", pin)
		}
	}
}

// I3: what is live is a certificate with its key, for the configured names, in date.
func (c *checker) liveIsAPair() {
	if c.LiveProblem != nil {
		c.violate("I3", "%v", c.LiveProblem)
		return
	}
	if c.Live == 0 || c.State.IsZero() || c.State.Certificate == nil {
		return
	}
	cert := c.State.Certificate
	if c.Live == cert.Version && (c.LivePin != cert.Pin || !plan.SameNames(c.LiveNames, cert.Domains)) {
		c.violate("I3", "version %d is not what the state says of it", c.Live)
	}
	if c.undisturbed() && !plan.SameNames(c.LiveNames, c.Goal.Domains) {
		c.violate("I3", "live is for %q, and the configuration asks for %q", c.LiveNames, c.Goal.Domains)
	}
}

// I4: the live key is in the newest pin set that was confirmed on each channel.
func (c *checker) liveIsPinned() {
	if c.Live == 0 {
		return
	}
	newest := make(map[string]pinset.Published)
	for _, p := range c.Ledger.Published() {
		if !p.Confirmed.IsZero() && p.Superseded.IsZero() {
			newest[p.Channel] = p
		}
	}
	for channel, p := range newest {
		if !slices.Contains(p.Pins, c.LivePin) && !p.Abandoned && !p.Retired && !c.adopted(channel, p.Version) {
			c.violate("I4", "the live key %s is not in version %d, the newest on channel %s", c.LivePin, p.Version, channel)
		}
	}
}

// I5: once there is a certificate there is another key that can take over, and when
// nothing disturbs, clients know its pin.
func (c *checker) backupIsThere() {
	if c.State.IsZero() || c.State.Certificate == nil {
		return
	}
	backups := slices.DeleteFunc(c.State.Backups(), func(k plan.Key) bool { return c.KeyProblems[k.Pin] != nil })
	if len(backups) == 0 {
		c.violate("I5", "there is no backup key that could take over")
	}
	if !c.undisturbed() {
		return
	}
	if len(backups) < c.Goal.Backups {
		c.violate("I5", "%d of %d backup keys are there", len(backups), c.Goal.Backups)
	}
	if r := c.State.Rollover; r != nil && r.Compromised {
		return // nothing is published while the compromised key is in use
	}
	for _, ch := range c.Goal.Channels {
		newest, _ := c.Ledger.Channel(ch.Name)
		for _, k := range backups {
			if !slices.Contains(newest.Pins, k.Pin) {
				c.violate("I5", "the backup key %s is not in version %d, the newest on channel %s", k.Pin, newest.Version, ch.Name)
			}
		}
	}
}

// I6: the gate is open for the live key, always. Since every later pin set has it,
// this says that it was open when the key was switched to.
func (c *checker) switchesAreInOrder() {
	if c.Live == 0 || c.LiveProblem != nil || c.LedgerProblem != nil {
		return
	}
	// As clients were told: a configuration that says later that they hold on for longer
	// closes the gate for what comes, and not for what is live.
	v := c.Ledger.Gate(c.LivePin, nil, c.latest())
	v.Obstacles = slices.DeleteFunc(v.Obstacles, func(o pinset.Obstacle) bool { return c.adopted(o.Channel, o.Version) })
	if len(v.Obstacles) > 0 {
		c.violate("I6", "the live key %s is not in all pin sets that may be enforced: %s", c.LivePin, tell(v))
	}
}

// adopted reports whether the live key was found to be the active one although an older pin
// set, this one, does not have it: the switch is not on record.
func (c *checker) adopted(channel string, version int) bool {
	return slices.ContainsFunc(c.Ledger.Published(), func(p pinset.Published) bool {
		return p.Channel == channel && p.Version > version && c.unknown(p) && slices.Contains(p.Pins, c.LivePin)
	})
}

// I7: the ledger only grows, and a compromised key is never served or published again.
func (c *checker) setsAreMonotone() {
	if c.LedgerProblem != nil {
		c.violate("I7", "%v", c.LedgerProblem)
		return
	}
	b := c.out.Before
	if b == nil || b.State.IsZero() {
		return
	}
	old, now := b.Ledger.Entries(), c.Ledger.Entries()
	if len(now) < len(old) {
		c.violate("I7", "the ledger had %d entries, and has %d", len(old), len(now))
		return
	}
	for i, e := range old {
		if e.Previous != now[i].Previous || e.Kind != now[i].Kind || e.Version != now[i].Version {
			c.violate("I7", "line %d of the ledger is another than it was", i+1)
		}
	}
	for _, k := range b.State.Keys {
		if k.Role != plan.Compromised {
			continue
		}
		for _, e := range now[len(old):] {
			if e.Kind != pinset.Seen && slices.Contains(e.Pins, k.Pin) {
				c.violate("I7", "the compromised key %s was published once more, as version %d on channel %s", k.Pin, e.Version, e.Channel)
			}
		}
		if c.LivePin == k.Pin && b.LivePin != k.Pin {
			c.violate("I7", "the compromised key %s is served once more", k.Pin)
		}
	}
}

// exitLocked is the exit status of a run that found the lock taken.
const exitLocked = 4

// I8: the loser of the lock touches nothing.
func (c *checker) oneWriter() {
	if r := c.out.Run; r != nil && r.Status == exitLocked && c.out.Before != nil && !c.sameAs(*c.out.Before) {
		c.violate("I8", "a run that found the lock taken changed something")
	}
}

func (c *checker) sameAs(b Found) bool {
	return maps.Equal(c.Keys, b.Keys) && maps.Equal(c.Versions, b.Versions) && c.Live == b.Live && c.Ledger.Head() == b.Ledger.Head()
}

// I9: when nothing disturbs, all that is due gets done, and nothing is left lying
// around.
func (c *checker) completes() {
	if !c.undisturbed() {
		return
	}
	if c.State.IsZero() {
		c.violate("I9", "there is no state")
		return
	}
	for _, path := range c.Unfinished {
		c.violate("I9", "%s was left behind", path)
	}
	p := plan.Next(plan.Input{
		Goal: c.Goal, State: c.State, Ledger: c.Ledger, Reports: c.Reports, Now: c.out.Now, Host: c.Host,
		Disk: plan.Disk{
			Live: c.Live, LiveProblem: c.LiveProblem, Versions: slices.Sorted(maps.Keys(c.Versions)),
			LedgerProblem: c.LedgerProblem, KeyProblems: c.KeyProblems,
		},
	})
	if a, due := p.Due(c.out.Now); due {
		c.violate("I9", "still to be done: %s %s (%s)", a.Kind, a.Channel, a.Why.Code)
	}
	for _, pr := range p.Problems {
		if pr.Reports.Count == 0 { // what clients tell no run can settle
			c.violate("I9", "still a problem: %+v", pr)
		}
	}
}

// I10: where something is missing or damaged, nothing new takes its place, what is
// served stays, and the run fails.
func (c *checker) failsClosed() {
	b, r := c.out.Before, c.out.Run
	if c.StateProblem != nil {
		c.violate("I10", "the state can't be read: %v", c.StateProblem)
	}
	if b == nil || r == nil || r.Asked {
		return
	}
	damaged := b.StateProblem != nil || (b.State.IsZero() && len(b.Keys) > 0 && b.Live != 0)
	if !b.State.IsZero() && b.State.Active() != nil {
		_, there := b.Keys[b.State.Active().Pin]
		damaged = damaged || !there || b.KeyProblems[b.State.Active().Pin] != nil
	}
	if !damaged {
		return
	}
	if !maps.Equal(c.Keys, b.Keys) || c.Live != b.Live {
		c.violate("I10", "a run on a damaged lineage changed its keys or what is live")
	}
	if r.Status == 0 {
		c.violate("I10", "a run on a damaged lineage ended well")
	}
}

// I11: keys are not in anything that comes out, and nobody else can read them.
func (c *checker) leaksNothing() {
	for _, path := range c.Open {
		c.violate("I11", "others can use %s", path)
	}
	if c.out.Run == nil {
		return
	}
	for pin, key := range c.keys {
		for _, line := range bytes.Split(key, []byte("\n")) {
			if len(line) > 20 && !bytes.HasPrefix(line, []byte("-----")) && bytes.Contains(c.out.Run.Output, line) {
				c.violate("I11", "the key %s is in what came out", pin)
				break
			}
		}
	}
}

// I12: a run has bounds.
func (c *checker) isBounded() {
	r := c.out.Run
	if r == nil {
		return
	}
	if r.Requests > maxRequests {
		c.violate("I12", "%d requests to the CA in one run", r.Requests)
	}
	if len(r.Output) > maxOutput {
		c.violate("I12", "%d bytes of output", len(r.Output))
	}
}

// I13: what was stored never changes, it is removed only when nobody needs it any more,
// and what is live only ever becomes newer.
func (c *checker) neverWorse() {
	b := c.out.Before
	if b == nil {
		return
	}
	for n, hash := range b.Versions {
		switch now, there := c.Versions[n]; {
		case there && now != hash:
			c.violate("I13", "certificate version %d was changed", n)
		case !there && c.needed(n):
			c.violate("I13", "certificate version %d was removed, and may be needed", n)
		}
	}
	if c.Live < b.Live {
		c.violate("I13", "version %d is live, after version %d", c.Live, b.Live)
	}
}

// keptVersions is how many of the newest versions are there in any case.
const keptVersions = 5

// needed reports whether a stored version must not be removed: it is among the newest,
// some host may serve it, or it is valid still and might have to be revoked.
func (c *checker) needed(n int) bool {
	newer := 0
	for other := range c.Versions {
		if other > n {
			newer++
		}
	}
	state := c.State
	if state.IsZero() {
		state = c.out.Before.State
	}
	for _, h := range state.Hosts {
		if h.Installed == n {
			return true
		}
	}
	valid := func(i plan.Issued) bool { return i.Version == n && !c.out.Now.After(i.NotAfter) }
	return newer < keptVersions || n == c.Live || slices.ContainsFunc(c.out.Before.State.Issued, valid)
}

// I14: a key is replaced only when that was asked for: the active one, and then the live one.
func (c *checker) renewalsAreIndependent() {
	b, r := c.out.Before, c.out.Run
	if b == nil || r == nil || r.Asked || b.State.IsZero() || b.State.Rollover != nil || b.State.Active() == nil {
		return
	}
	was := b.State.Active().Pin
	if !c.State.IsZero() && c.State.Active() != nil && c.State.Active().Pin != was {
		c.violate("I14", "%s became the active key in the place of %s, and nobody asked for that", c.State.Active().Pin, was)
	}
	if b.Live != 0 && c.LivePin != b.LivePin && c.LivePin != was {
		c.violate("I14", "the key %s went live in the place of %s, and nobody asked for that", c.LivePin, b.LivePin)
	}
}

// I15: a switch needs an open gate by the clock of the moment, however it is set.
func (c *checker) timeShortensNothing() {
	b := c.out.Before
	if b == nil || b.State.IsZero() || b.State.Active() == nil || c.State.IsZero() || c.LedgerProblem != nil {
		return
	}
	active := c.State.Active()
	if active == nil || active.Pin == b.State.Active().Pin || c.out.Now.IsZero() {
		return
	}
	if v := c.Ledger.Gate(active.Pin, c.Goal.Clients(), c.out.Now); !v.Open {
		c.violate("I15", "the key %s was switched to at %s, when the gate was %s", active.Pin, c.out.Now, tell(v))
	}
}

// I16: a hook that is told something again is told the same, and never something
// older.
func (c *checker) hooksAreToldTheSame() {
	byID := make(map[string]Event)
	newest := make(map[string]int)
	for _, e := range c.out.Events {
		if first, again := byID[e.ID]; again && first != e {
			c.violate("I16", "the event %s was %+v, and then %+v", e.ID, first, e)
		}
		byID[e.ID] = e
		if e.Channel == "" {
			continue
		}
		if e.Version < newest[e.Channel] {
			c.violate("I16", "channel %s was told version %d after version %d", e.Channel, e.Version, newest[e.Channel])
		}
		newest[e.Channel] = e.Version
	}
}

// I17: no key is switched to, but from a compromised one, that clients with a pin set of ours
// would refuse, by reports that nobody has dismissed.
func (c *checker) reportsAreHeeded() {
	b := c.out.Before
	if b == nil || b.State.IsZero() || b.State.Active() == nil || c.State.IsZero() || c.State.Active() == nil || c.LedgerProblem != nil {
		return
	}
	to, r := c.State.Active().Pin, c.State.Rollover
	if to == b.State.Active().Pin || (r != nil && r.Compromised) {
		return
	}
	closes := func(reports plan.Reports) []plan.Reported {
		return plan.EmergencyGate(plan.Input{Goal: c.Goal, State: b.State, Ledger: c.Ledger, Reports: reports, Now: c.out.Now}, to).Reported
	}
	now := closes(c.Reports)
	for _, was := range closes(b.Reports) {
		if slices.ContainsFunc(now, func(is plan.Reported) bool { return is.ID == was.ID }) {
			c.violate("I17", "the key %s was switched to, and clients report that they hold version %d of channel %s", to, was.Set.Version, was.Set.Channel)
		}
	}
}

func (c *checker) undisturbed() bool { return c.out.Run != nil && c.out.Run.Undisturbed }

// tell writes the gate's verdict.
func tell(v pinset.Verdict) string {
	return fmt.Sprintf("open: %v, in the way: %+v", v.Open, v.Obstacles)
}
