// Package plan decides what to do next for a lineage. It is pure: from the
// configuration, the stored state, what is on disk and the time, it computes the
// actions that are due and those that will be, each with its reason. It reads
// nothing and changes nothing; package apply carries the actions out, one at a
// time, and plans again after each. So there is no recovery code anywhere: after
// a crash the next run plans from what it finds.
//
// Two decisions are worth knowing. A renewal with the same key waits for nothing:
// a publication that failed is reported and tried again, but the certificate is
// renewed all the same. And whatever is missing, damaged or contradictory leads to
// a [Problem] for a person, never to a new key.
package plan

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"keepkey/config"
	"keepkey/pinset"
)

// Input is everything a decision depends on.
type Input struct {
	Config config.Certificate
	State  *State // nil: there is none
	Ledger pinset.Ledger
	Disk   Disk
	Now    time.Time

	Force bool // renew now, whether or not it is due
	// NewLineage says that a person asked for a fresh start although something
	// speaks against it.
	NewLineage bool
	// Tried holds the IDs of actions that this run has tried already; they are
	// not offered to it again.
	Tried map[string]bool
}

// Disk is what was found besides the state document.
type Disk struct {
	Keys []pinset.Pin // the key files there are
	// KeyProblems says what is wrong with keys that the state names.
	KeyProblems map[pinset.Pin]error
	Live        int   // the version that live/ points to; 0 for none
	LiveProblem error // live/ is there, but is not what keepkey made
	// StoredProblem says what is wrong with the stored version that the state
	// names: without one it is complete, and its certificate and key match.
	StoredProblem error
	// LedgerProblem says where the ledger is damaged.
	LedgerProblem error
	// Newer lists signs that more was published than the ledger knows of.
	Newer []string
	// Elsewhere lists signs that clients know other keys for this lineage
	// already. Looked for only while there is no state.
	Elsewhere []string
}

// Kind is what an action does.
type Kind string

// The actions there are.
const (
	BeginLineage Kind = "begin"
	GenerateKey  Kind = "generate key"
	Publish      Kind = "publish"
	ReadBack     Kind = "read back"
	Install      Kind = "install"
	Deploy       Kind = "deploy"
	Check        Kind = "check"
	AskWindow    Kind = "ask renewal window"
	Obtain       Kind = "obtain"
	Switch       Kind = "switch key"
	RetireOld    Kind = "retire the old pin"
	Abandon      Kind = "give clients up"
	Revoke       Kind = "revoke"

	BeginRollover Kind = "begin rollover"
)

// Action is one step towards what the configuration asks for.
type Action struct {
	Kind   Kind      `json:"action"`
	At     time.Time `json:"at"` // the earliest time; not after now means now
	Reason string    `json:"reason"`

	Role    Role        `json:"role,omitempty"`    // GenerateKey
	Channel string      `json:"channel,omitempty"` // Publish, ReadBack, Abandon
	PinSet  *pinset.Set `json:"pin_set,omitempty"` // Publish, ReadBack
	Version int         `json:"version,omitempty"` // Install, Deploy, Check, Revoke; Abandon: of the pin set
	Target  string      `json:"target,omitempty"`  // Deploy: the hook; Check: the address; Revoke: the serial
	Early   bool        `json:"-"`                 // Obtain: see Certificate.Early
}

// ID identifies the action within a run.
func (a Action) ID() string {
	version := ""
	if a.Kind == Abandon {
		version = strconv.Itoa(a.Version)
	}
	return strings.Join([]string{string(a.Kind), string(a.Role), a.Channel, a.Target, version}, "\x00")
}

// Problem is something that keepkey does not mend by itself.
type Problem struct {
	Text string `json:"problem"`
	// Blocks says that nothing is done for the lineage until it is mended.
	Blocks bool `json:"blocks"`
}

// Plan is what to do, in order, and what a person has to look at.
type Plan struct {
	Actions  []Action
	Problems []Problem
	Notes    []string // what is waited for
}

// Due returns the first action whose time has come, if there is one.
func (p Plan) Due(now time.Time) (Action, bool) {
	for _, a := range p.Actions {
		if !a.At.After(now) {
			return a, true
		}
	}
	return Action{}, false
}

// First returns the action with the earliest time, if there is any.
func (p Plan) First() (Action, bool) {
	if len(p.Actions) == 0 {
		return Action{}, false
	}
	return slices.MinFunc(p.Actions, func(a, b Action) int { return a.At.Compare(b.At) }), true
}

// Next computes the plan.
func Next(in Input) Plan {
	var p Plan
	if blocked := p.refuse(in); blocked {
		return p
	}
	add := func(a Action) {
		if in.Tried[a.ID()] {
			return
		}
		if a.At.IsZero() {
			a.At = in.Now
		}
		p.Actions = append(p.Actions, a)
	}
	if in.State == nil {
		add(Action{Kind: BeginLineage, Reason: "the lineage is new"})
		return p
	}
	if missing := missingKey(in); missing != nil {
		add(*missing)
		if in.State.Certificate == nil && len(in.State.Pins()) == 0 {
			return p // nothing leaves the machine before there is a backup key
		}
	}
	for _, a := range publications(in) {
		add(a)
	}
	p.Problems = append(p.Problems, ledgerProblems(in)...)
	for _, a := range servings(in) {
		add(a)
	}
	if c := in.State.Certificate; c != nil && windowStale(in) {
		add(Action{Kind: AskWindow, Reason: "the CA may want the certificate renewed earlier or later"})
	}
	for _, a := range revocations(in) {
		add(a)
	}
	p.offer(add, schedule(in), "")
	old, note := retireOld(in)
	p.offer(add, old, note)
	for _, a := range abandonments(in) {
		add(a)
	}
	next, note := switchKey(in)
	p.offer(add, next, note)
	if next.Kind == Switch && !next.At.After(in.Now) && !in.Tried[next.ID()] {
		return p // the certificate for the new key makes one for the old needless
	}
	if in.Disk.KeyProblems[in.State.Active().Pin] != nil {
		return p
	}
	a, problem := obtain(in)
	add(a)
	if problem != "" && !in.Tried[a.ID()] {
		p.Problems = append(p.Problems, Problem{Text: problem})
	}
	return p
}

// offer adds an action, if there is one, and a note.
func (p *Plan) offer(add func(Action), a Action, note string) {
	if a.Kind != "" {
		add(a)
	}
	if note != "" {
		p.Notes = append(p.Notes, note)
	}
}

// refuse finds what must not be worked around (rule 9: fail closed).
func (p *Plan) refuse(in Input) (blocked bool) {
	block := func(format string, args ...any) bool {
		p.Problems = append(p.Problems, Problem{Text: fmt.Sprintf(format, args...), Blocks: true})
		return true
	}
	name := in.Config.Name
	if in.Disk.LiveProblem != nil {
		return block("%v; remove it if it is not yours, and keepkey puts its own there again", in.Disk.LiveProblem)
	}
	if in.State == nil {
		switch {
		case len(in.Disk.Keys) > 0 || in.Disk.Live != 0:
			return block("state.json is missing, but keys or certificates are there: restore it from a backup; no new lineage is begun over them, and what is live stays")
		case len(in.Disk.Elsewhere) > 0 && !in.NewLineage:
			return block("this looks like a first run, but clients may know other keys already: %s; if they need not go on working, start afresh with: keepkey renew --name %s --new-lineage",
				strings.Join(in.Disk.Elsewhere, "; "), name)
		}
		return false
	}
	if len(in.Disk.Newer) > 0 {
		return block("%s: the state directory must be from an old backup, and the key that is live now may be one that clients do not accept; restore the newest backup; what is live stays", strings.Join(in.Disk.Newer, "; "))
	}
	stored := 0
	if in.State.Certificate != nil {
		stored = in.State.Certificate.Version
	}
	if in.Disk.Live > stored {
		// The state is always written first.
		return block("certificate version %d is live, but state.json knows of %d only: it must be from an old backup; restore the newest one; what is live stays", in.Disk.Live, stored)
	}
	if active := in.State.Active(); active != nil {
		err := in.Disk.KeyProblems[active.Pin]
		r := pendingSwitch(in)
		switch {
		case err != nil && r == nil:
			return block("%v; what is live stays; if there is no backup of it, let the backup key take over: keepkey rotate --name %s", err, name)
		case err != nil && in.Disk.KeyProblems[r.To] != nil:
			return block("%v; what is live stays", err)
		case err != nil:
			p.Problems = append(p.Problems, Problem{Text: fmt.Sprintf("%v; it can't be renewed, and what is live stays until the backup key takes over", err)})
		}
	}
	for _, k := range in.State.Backups() {
		if k.Type != in.Config.KeyType {
			p.Notes = append(p.Notes, fmt.Sprintf("key_type is %s, but the backup key %s is of type %s: the new type is for the backup keys that are made from now on", in.Config.KeyType, k.Pin, k.Type))
		}
		if err := in.Disk.KeyProblems[k.Pin]; err != nil {
			p.Problems = append(p.Problems, Problem{Text: fmt.Sprintf("backup %v; renewals go on, but this key can't take over", err)})
		}
	}
	return false
}

func missingKey(in Input) *Action {
	if in.State.Active() == nil {
		return &Action{Kind: GenerateKey, Role: Active, Reason: "the lineage has no key yet"}
	}
	if have, want := len(in.State.Backups()), wantedBackups(in); have < want {
		return &Action{Kind: GenerateKey, Role: Backup,
			Reason: fmt.Sprintf("%d of %d backup keys are there", have, want)}
	}
	return nil
}

// publications returns what channels lack of the wanted pin set.
func publications(in Input) []Action {
	if in.Disk.LedgerProblem != nil || compromisedInUse(in) || len(in.State.Pins()) == 0 {
		return nil // an intent could not be put on record, or there is nothing to publish
	}
	var actions []Action
	want := in.State.WantedPinSet(in.Ledger)
	for _, ch := range in.Config.Channels {
		newest, known := in.Ledger.Channel(ch.Name)
		progress := in.State.Channels[ch.Name]
		outstanding := progress.Version != want.Version || len(Outstanding(ch.Publish, progress.Done)) > 0
		reason := ""
		if known && newest.Version == want.Version && !outstanding && newest.Confirmed.IsZero() && ch.ReadBack != nil {
			a := Action{Kind: ReadBack, Channel: ch.Name, PinSet: &want, Reason: "it was published, and has not been seen yet"}
			if at := progress.LookAgain; at.After(in.Now) && !in.Force {
				a.At = at
			}
			actions = append(actions, a)
			continue
		}
		switch {
		case !known:
			reason = "the channel never had a pin set"
		case newest.Version != want.Version:
			reason = fmt.Sprintf("the channel has version %d of the pin set", newest.Version)
		case outstanding && !newest.Confirmed.IsZero():
			reason = "a publish hook was added"
		case outstanding, newest.Confirmed.IsZero() && !ch.Manual:
			reason = fmt.Sprintf("publishing version %d has not succeeded yet", newest.Version)
		default:
			continue
		}
		actions = append(actions, Action{Kind: Publish, Channel: ch.Name, PinSet: &want, Reason: reason})
	}
	return actions
}

// Lifetimes returns the channels' lifetimes as configured, as the gate wants them.
func Lifetimes(cert config.Certificate) map[string]pinset.Lifetime {
	lifetimes := make(map[string]pinset.Lifetime)
	for _, ch := range cert.Channels {
		lifetimes[ch.Name] = ch.Lifetime
	}
	return lifetimes
}

// Gate says whether a key may be served now. A ledger that is damaged, or lacks
// what the state knows of, keeps it closed.
func Gate(in Input, key pinset.Pin) pinset.Verdict {
	if in.Disk.LedgerProblem != nil {
		return pinset.Verdict{}
	}
	return in.Ledger.Gate(key, Lifetimes(in.Config), in.Now)
}

// ledgerProblems finds what keeps the ledger from being the whole truth.
func ledgerProblems(in Input) []Problem {
	if err := in.Disk.LedgerProblem; err != nil {
		return []Problem{{Text: fmt.Sprintf("%v; renewals go on, but nothing is published and no key may be switched to until it is whole: restore it from a backup, and see keepkey ledger verify", err)}}
	}
	var problems []Problem
	configured := Lifetimes(in.Config)
	for _, ch := range in.Config.Channels {
		if in.Tried[Action{Kind: ReadBack, Channel: ch.Name}.ID()] {
			continue // it was told just now
		}
		newest, _ := in.Ledger.Channel(ch.Name)
		if p := in.State.Channels[ch.Name]; p.Looks > 0 && newest.Confirmed.IsZero() && p.LookAgain.After(in.Now) {
			problems = append(problems, Problem{Text: fmt.Sprintf(
				"version %d of the pin set was published on channel %s, but clients did not get it there (looked %d times); it is looked for again from %s, or at once with --force",
				p.Version, ch.Name, p.Looks, stamp(p.LookAgain))})
		}
	}
	for _, p := range in.Ledger.Published() {
		if _, ok := configured[p.Channel]; ok || !p.Enforced(pinset.Lifetime{}, in.Now) {
			continue
		}
		problems = append(problems, Problem{Text: fmt.Sprintf(
			"channel %s is not configured any more, but clients may still be enforcing version %d of its pin set: put it back, or if none does: keepkey channel retire --name %s --channel %s --version %d",
			p.Channel, p.Version, in.Config.Name, p.Channel, p.Version)})
	}
	return problems
}

// servings returns what stands between the stored certificate and the clients.
func servings(in Input) []Action {
	c := in.State.Certificate
	if c == nil || in.Disk.StoredProblem != nil {
		return nil
	}
	if in.Disk.Live != c.Version {
		reason := "it is newer than what is live"
		if in.Disk.Live == 0 {
			reason = "nothing is live"
		}
		return []Action{{Kind: Install, Version: c.Version, Reason: reason}}
	}
	var actions []Action
	for _, h := range Outstanding(in.Config.Deploy, c.Deployed) {
		actions = append(actions, Action{Kind: Deploy, Version: c.Version, Target: HookID(h),
			Reason: "the hook has not succeeded for this certificate yet"})
	}
	if len(actions) > 0 {
		return actions
	}
	for _, addr := range in.Config.Check {
		if !slices.Contains(c.Checked, addr) {
			actions = append(actions, Action{Kind: Check, Version: c.Version, Target: addr,
				Reason: "the certificate was deployed, and nobody looked yet"})
		}
	}
	return actions
}

// HookID identifies a hook by what it does, so that its successes are remembered
// however the configuration is reordered.
func HookID(h config.Hook) string {
	parts := append([]string{h.File}, h.Command...)
	if h.Webhook != nil {
		parts = append(parts, h.Webhook.URL)
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:8])
}

// Outstanding returns the hooks whose IDs are not in done.
func Outstanding(hooks []config.Hook, done []string) []config.Hook {
	var out []config.Hook
	for _, h := range hooks {
		if !slices.Contains(done, HookID(h)) {
			out = append(out, h)
		}
	}
	return out
}

// obtain says when the next certificate is due and why, and what a person
// should know if that is overdue.
func obtain(in Input) (Action, string) {
	a := Action{Kind: Obtain}
	a.At, a.Reason, a.Early = renewal(in)
	if in.Force && !in.Tried[a.ID()] {
		return Action{Kind: Obtain, At: in.Now, Reason: "it was asked for (--force)"}, ""
	}
	f := in.State.Failure
	if f == nil || a.At.After(in.Now) || !f.Next.After(in.Now) || f.Last.After(in.Now) {
		// The last: a failure in the future was written while the clock was wrong.
		return a, ""
	}
	a.At = f.Next
	problem := fmt.Sprintf("no new certificate could be obtained since %s (attempts: %d): %s; the next attempt is due at %s, or at once with --force",
		stamp(f.Last), f.Count, f.Error, stamp(f.Next))
	if c := in.State.Certificate; c != nil {
		problem += fmt.Sprintf("; what is live expires at %s", stamp(c.NotAfter))
	}
	a.Reason = fmt.Sprintf("attempt %d, after a failure", f.Count+1)
	return a, problem
}

// renewal is the time at which the certificate should be replaced, leaving
// failures aside.
func renewal(in Input) (at time.Time, reason string, early bool) {
	c := in.State.Certificate
	switch {
	case c == nil && in.State.Order != nil:
		return in.Now, "an order is under way", false
	case c == nil:
		return in.Now, "there is no certificate yet", false
	case in.Disk.StoredProblem != nil:
		return in.Now, fmt.Sprintf("the stored certificate can't be used: %v", in.Disk.StoredProblem), false
	case !SameNames(c.Domains, in.Config.Domains):
		return in.Now, "the configuration asks for other names", false
	case c.Directory != in.Config.ACME.Directory:
		return in.Now, "the configuration names another CA", false
	case in.State.Order != nil:
		return in.Now, "an order is under way", in.State.Order.Early
	}
	at = ByLifetime(c.NotBefore, c.NotAfter)
	reason = fmt.Sprintf("a third of its lifetime is left then, it expires at %s", stamp(c.NotAfter))
	if shortLived(c) {
		reason = fmt.Sprintf("half of its lifetime is left then, it expires at %s", stamp(c.NotAfter))
	}
	w := in.State.Window
	if w == nil || w.Serial != c.Serial || !w.sane(c) {
		return at, reason, false
	}
	selected := w.selected()
	// However late the CA's window is, some time is left for a second attempt.
	if latest := c.NotAfter.Add(-lifetime(c) / 6); selected.After(latest) {
		selected = latest
	}
	early = selected.Before(at)
	// A CA whose window is always "now" must not make us order again and again.
	if c.Early && early && in.Now.Before(c.Obtained.Add(earlyPause)) {
		if pause := c.Obtained.Add(earlyPause); pause.Before(at) {
			return pause, "the CA's renewal window begins again right after an early renewal", true
		}
		return at, reason, false
	}
	return selected, fmt.Sprintf("the CA's renewal window is %s to %s", stamp(w.Start), stamp(w.End)), early
}

// earlyPause is the least time between two certificates that a CA's renewal
// window asks for before their time.
const earlyPause = 24 * time.Hour

// ByLifetime returns when a certificate is due without a CA's advice: when a third
// of its lifetime is left, or a half for lifetimes under ten days.
func ByLifetime(notBefore, notAfter time.Time) time.Time {
	total := notAfter.Sub(notBefore)
	if total < 10*24*time.Hour {
		return notAfter.Add(-total / 2)
	}
	return notAfter.Add(-total / 3)
}

func lifetime(c *Certificate) time.Duration { return c.NotAfter.Sub(c.NotBefore) }

func shortLived(c *Certificate) bool { return lifetime(c) < 10*24*time.Hour }

func windowStale(in Input) bool {
	c, w := in.State.Certificate, in.State.Window
	if in.Disk.StoredProblem != nil || c.Directory != in.Config.ACME.Directory {
		return false
	}
	return w == nil || w.Serial != c.Serial || !in.Now.Before(w.AskAgain) || in.Now.Before(w.Asked)
}

// sane says whether a window can be meant for the certificate. CAs have answered
// with nothing, with the year 1, and with an end before the start.
func (w *Window) sane(c *Certificate) bool {
	const past = 366 * 24 * time.Hour
	return w.Start.Before(w.End) && w.Start.After(c.NotBefore.Add(-past)) && !w.End.After(c.NotAfter)
}

// selected picks a time in the window, uniform over certificates and always the
// same for one (RFC 9773 section 4.2).
func (w *Window) selected() time.Time {
	sum := sha256.Sum256([]byte(w.Serial))
	offset, _ := bits.Mul64(binary.BigEndian.Uint64(sum[:]), uint64(w.End.Sub(w.Start)))
	return w.Start.Add(time.Duration(offset))
}

// SameNames reports whether two certificates have the same names, in whatever order.
func SameNames(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// stamp writes a time for people, always in UTC.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
