package apply

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"keepkey/hooks"
	"keepkey/keystore"
	"keepkey/plan"
	"keepkey/status"
)

// Notifier tells notify hooks what is wrong, what got worse, and what is over. Package
// status decides what that is; what was told is on record, so that each hook is told at
// least once, whatever ends the process, and not again at every run. Hooks are called beside
// each other, and one that fails is left alone for a while. It is for one caller at a time.
type Notifier struct {
	*Runner
	// Lives says that the process goes on to run, and remembers what can't be written.
	Lives bool

	failing map[string]plan.Failure // hooks that fail, by their IDs
	unsaved map[string]status.Told  // records that could not be written
}

// Condition is what is wrong with the certificate of a report.
func (r Report) Condition() status.Condition {
	return status.ConditionOf(r.Name, r.Input, r.Problems, r.Notes)
}

// Unconfigured returns the conditions of lineages that the configuration does not name: those
// that are left over; and those that are gone, if hooks were told that something is wrong
// with them.
func (r *Runner) Unconfigured(ctx context.Context) ([]status.Condition, error) {
	left, err := r.LeftOver(ctx)
	if err != nil {
		return nil, err
	}
	var all []status.Condition
	for _, l := range left {
		all = append(all, status.ConditionOf(l.Input.Goal.Name, l.Input, []plan.Finding{l.Problem}, nil))
	}
	told, _ := r.Store.ToldOf() // [Notifier.Tell] says so where they can't be read
	for _, name := range told {
		there := slices.ContainsFunc(all, func(c status.Condition) bool { return c.Name == name })
		if !there && !r.configured(name) {
			all = append(all, status.Condition{Name: name})
		}
	}
	return all, nil
}

// TestNotify sends a hook an event that says that nothing is wrong.
func (r *Runner) TestNotify(ctx context.Context, h hooks.Hook) error {
	return h.Run(ctx, r.notification(status.TestMessage(rand.Text(), r.Hostname)))
}

// Told is what came of telling.
type Told struct {
	Failed []plan.Finding // a hook each
	// Left are the conditions of lineages of which some hook could not be told, and Again is
	// when to try that again; zero when no hook fails.
	Left  map[string]status.Condition
	Again time.Time
	// Ripe says of which lineages something is to be told at a time, if it is still so then.
	Ripe map[string]time.Time
}

// tellTime is how long telling may take, apart from hooks that were called by then.
const tellTime = 5 * time.Minute

// Tell tells hooks what they are owed by these conditions.
func (n *Notifier) Tell(ctx context.Context, notify []hooks.Hook, conditions []status.Condition) (told Told) {
	defer n.broke()
	t := &telling{Notifier: n, began: time.Now(), records: make(map[string]*record), Told: Told{Left: make(map[string]status.Condition), Ripe: make(map[string]time.Time)}}
	owed := t.owed(notify, conditions)
	var wg sync.WaitGroup
	for _, h := range notify {
		if notices := owed[h.ID()]; len(notices) > 0 {
			wg.Go(func() {
				defer n.broke()
				t.deliver(ctx, h, notices)
			})
		}
	}
	wg.Wait()
	return t.Told
}

// broke keeps a bug in what people are told from ending what keeps their certificates.
func (n *Notifier) broke() {
	if p := recover(); p != nil {
		n.Log.Error("keepkey broke down while it notified; this is a bug", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	}
}

// telling is one call of Tell.
type telling struct {
	*Notifier
	began   time.Time
	records map[string]*record // by lineage

	mu sync.Mutex // guards the records, the failures of hooks, and what follows
	Told
}

// record is what was told of one lineage.
type record struct {
	file    *keystore.Told
	written []byte
	told    status.Told
}

// owed computes what each hook is owed, and puts on record that it is about to be told.
func (t *telling) owed(notify []hooks.Hook, conditions []status.Condition) map[string][]status.Notice {
	var ids, ready []string
	now := t.Now()
	for _, h := range notify {
		ids = append(ids, h.ID())
		if f, fails := t.failing[h.ID()]; fails && f.Next.After(now) {
			t.again(f.Next)
			continue
		}
		ready = append(ready, h.ID())
	}
	names, err := t.Store.ToldOf()
	if err != nil {
		t.Log.Error("what notify hooks were told can't be read; they are told again", "problem", err)
	}
	remembered := map[string]bool{"": true}
	for _, name := range slices.AppendSeq(names, maps.Keys(t.unsaved)) {
		remembered[name] = true
	}
	owed := make(map[string][]status.Notice)
	for _, c := range conditions {
		if len(c.Problems) == 0 && !remembered[c.Name] {
			continue // nothing is wrong, and nothing was
		}
		r, err := t.open(c.Name)
		if err != nil {
			t.Log.Error("nobody can be notified", "certificate", c.Name, "problem", err)
			continue
		}
		was := r.told
		next := func(m status.Moment) (notices []status.Notice, ripe time.Time) {
			var all []status.Notice
			r.told, all, ripe = was.Next(c, ids, m)
			for _, n := range all {
				if !slices.Contains(ready, n.Hook) {
					t.leave(c)
					continue
				}
				notices = append(notices, n)
				r.told = r.told.Begin(n)
			}
			return notices, ripe
		}
		notices, ripe := next(status.Moment{Now: now})
		if !t.save(c.Name, r) && !t.Lives {
			notices, ripe = next(status.Moment{Now: now, Forgetful: true})
		}
		for _, n := range notices {
			owed[n.Hook] = append(owed[n.Hook], n)
		}
		if !ripe.IsZero() {
			t.Ripe[c.Name] = ripe
		}
	}
	return owed
}

// open reads what was told of a lineage.
func (t *telling) open(name string) (*record, error) {
	if r := t.records[name]; r != nil {
		return r, nil
	}
	file, err := t.Store.Told(name)
	if err != nil {
		return nil, err
	}
	r := &record{file: file, written: file.Load()}
	r.told = status.ParseTold(r.written)
	if unsaved, there := t.unsaved[name]; there {
		r.told = unsaved
	}
	t.records[name] = r
	return r, nil
}

// save writes a record if it changed, and reports whether it is on the disk.
func (t *telling) save(name string, r *record) bool {
	data, err := r.told.Marshal()
	if r.told.IsZero() {
		data = nil
	}
	if err == nil && bytes.Equal(data, r.written) {
		delete(t.unsaved, name)
		return true
	}
	if err == nil {
		err = r.file.Save(data)
	}
	if err != nil {
		if len(t.unsaved) == 0 { // once for all
			t.Log.Error("what notify hooks were told can't be put on record; they may be told again", "problem", err)
			t.unsaved = make(map[string]status.Told)
		}
		t.unsaved[name] = r.told
		return false
	}
	r.written = data
	delete(t.unsaved, name)
	return true
}

// deliver tells one hook all that it is owed, until it fails.
func (t *telling) deliver(ctx context.Context, h hooks.Hook, owed []status.Notice) {
	messages := status.Messages(owed, t.Hostname)
	for i, m := range messages {
		err := ctx.Err()
		late := time.Since(t.began) > tellTime
		if err == nil && !late {
			err = h.Run(ctx, t.notification(m))
			t.observe(ctx, Observed{Kind: Notified, Hook: true, Err: err})
		}
		if err == nil && !late {
			t.delivered(h, m)
			continue
		}
		t.undelivered(ctx, h, messages[i:], err)
		return
	}
}

// delivered puts on record that a hook was told.
func (t *telling) delivered(h hooks.Hook, m status.Message) {
	t.Log.Info("notified", "hook", h.String(), "state", m.State, "code", m.Problem.Code, "certificates", status.Several(m.Names))
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.failing, h.ID())
	for _, n := range m.Notices {
		r := t.records[n.Lineage.Name]
		r.told = r.told.After(n)
		t.save(n.Lineage.Name, r)
	}
}

// undelivered puts on record that a hook was not told, and when it is to be tried again. A
// nil error says that there was no time for it.
func (t *telling) undelivered(ctx context.Context, h hooks.Hook, left []status.Message, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range left {
		for _, n := range m.Notices {
			r := t.records[n.Lineage.Name]
			r.told = r.told.Failed(n)
			t.save(n.Lineage.Name, r)
			t.leave(n.Lineage)
		}
	}
	now := t.Now()
	switch {
	case ctx.Err() != nil:
		return // the process ends, and another tells it
	case err == nil:
		t.again(now)
		return
	}
	f := t.failing[h.ID()]
	f.Count++
	f.Last, f.Error, f.Next = now, err.Error(), now.Add(plan.Doubling(f.Count))
	if f.Count == 1 {
		f.First = now
	}
	if t.failing == nil {
		t.failing = make(map[string]plan.Failure)
	}
	t.failing[h.ID()] = f
	t.Failed = append(t.Failed, plan.Finding{Code: plan.NotificationFailing, Target: h.ID(), Failure: &f})
	t.again(f.Next)
}

// leave notes that not all of a lineage was told.
func (t *telling) leave(c status.Condition) {
	if c.Name != "" { // that is told of each time
		t.Left[c.Name] = c
	}
}

// again notes when a hook is to be told what it was not told now.
func (t *telling) again(at time.Time) {
	if t.Again.IsZero() || at.Before(t.Again) {
		t.Again = at
	}
}

// notification is what a hook is handed for a message.
func (r *Runner) notification(m status.Message) hooks.Event {
	e := hooks.Event{
		Kind: hooks.Notify, ID: m.ID, Domains: m.Domains, Host: r.Hostname, State: string(m.State), Summary: m.Summary, Text: m.Text,
		Problem:      hooks.Problem{ID: m.Problem.ID, Code: string(m.Problem.Code), Severity: string(m.Problem.Severity)},
		Certificates: m.Names, Since: m.Since, NotAfter: m.Expires,
	}
	if len(m.Names) == 1 {
		e.Name = m.Names[0]
		if l, err := r.Store.Lineage(e.Name); err == nil {
			e.LiveDir = l.Live.Dir()
		}
	}
	return e
}
