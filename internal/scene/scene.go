// Package scene makes lineages with a past, for tests and demonstrations of what people look
// at: it lets time go by in a world of its own, in which package plan decides as ever and
// everything comes out as the scene wants it. Nothing in it touches a disk or a network.
package scene

import (
	"fmt"
	"slices"
	"time"

	"keepkey/pinset"
	"keepkey/plan"
)

// Day is what scenes are told in.
const Day = 24 * time.Hour

// Host is the ID of the host on which a scene plays.
const Host = "3213f84b8f7a4daa"

// World is one lineage in the course of time.
type World struct {
	In       plan.Input
	Events   []plan.Event  // its journal
	Lifetime time.Duration // of certificates
	Hostname string

	broken []breakage
	keys   byte // how many were made
	seed   byte
}

type breakage struct {
	is     func(plan.Action) bool
	failed plan.Failed
}

// Begin is a lineage at its very beginning. Worlds with different seeds have different keys.
func Begin(goal plan.Goal, at time.Time, seed byte) *World {
	return &World{In: plan.Input{Goal: goal, Host: Host, Now: at}, Lifetime: 90 * Day, Hostname: "web1", seed: seed}
}

// Break lets actions fail from now on.
func (w *World) Break(failed plan.Failed, is func(plan.Action) bool) {
	w.broken = append(w.broken, breakage{is, failed})
}

// Run lets time go by, and does what is due meanwhile.
func (w *World) Run(d time.Duration) {
	end := w.In.Now.Add(d)
	for {
		p := plan.Next(w.In)
		if a, due := p.Due(w.In.Now); due {
			w.do(a)
			continue
		}
		next := w.In.Now.Add(Day) // not all that is due is foreseen
		for _, a := range p.Actions {
			if a.At.Before(next) {
				next = a.At
			}
		}
		if !next.Before(end) {
			next = end
		}
		w.In.Tried = nil
		if w.In.Now = next; next.Equal(end) {
			return
		}
	}
}

// Ask does what only a person asks for.
func (w *World) Ask(a plan.Action) {
	if err := w.follow(a, plan.Result{}); err != nil {
		panic(err)
	}
}

// do carries an action out.
func (w *World) do(a plan.Action) {
	for _, b := range w.broken {
		if b.is(a) {
			failed := b.failed
			w.must(a, plan.Result{Failed: &failed})
			w.tried(a)
			return
		}
	}
	switch a.Kind {
	case plan.Publish:
		w.must(a, plan.Result{Began: true})
		ch, _ := w.In.Goal.Channel(a.Channel)
		for _, p := range ch.Publish {
			if done := w.In.State.Channels[ch.Name].Done; !slices.Contains(done, p.ID) {
				w.must(a, plan.Result{Hook: p.ID})
			}
		}
		w.must(a, plan.Result{})
	case plan.GenerateKey:
		w.keys++
		w.must(a, plan.Result{Pin: pin(w.seed, w.keys)})
	case plan.Obtain, plan.SwitchKey:
		w.must(a, plan.Result{Certificate: w.certificate(a)})
		w.In.Disk.Versions = append(slices.Clone(w.In.Disk.Versions), w.In.State.Certificate.Version)
	case plan.Install:
		w.must(a, plan.Result{Hostname: w.Hostname})
		w.In.Disk.Live = a.Version
	case plan.AskWindow:
		c := w.In.State.Certificate
		third := c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore) / 3)
		w.must(a, plan.Result{CA: w.In.Now, Window: &plan.Answer{Start: third.Add(-Day), End: third.Add(Day), AskAgain: Day}})
	case plan.Prune:
		w.must(a, plan.Result{})
		w.In.Disk.Versions = slices.DeleteFunc(slices.Clone(w.In.Disk.Versions), func(n int) bool { return n == a.Version })
	default:
		w.must(a, plan.Result{})
	}
	if a.Kind == plan.Look {
		w.tried(a)
	}
}

func (w *World) must(a plan.Action, r plan.Result) {
	if err := w.follow(a, r); err != nil {
		panic(fmt.Sprintf("%s: %v", a.Kind, err))
	}
}

func (w *World) follow(a plan.Action, r plan.Result) error {
	r.At = w.In.Now
	was := w.In.State
	if err := w.In.Follow(a, r); err != nil {
		return err
	}
	if e, worth := plan.EventOf(was, w.In.State, a, r); worth {
		e.By = plan.AskedByDaemon
		w.Events = append(w.Events, e)
	}
	return nil
}

func (w *World) tried(a plan.Action) {
	if w.In.Tried == nil {
		w.In.Tried = make(map[string]bool)
	}
	w.In.Tried[a.ID()] = true
}

func (w *World) certificate(a plan.Action) *plan.Certificate {
	version := 1
	if c := w.In.State.Certificate; c != nil {
		version = c.Version + 1
	}
	return &plan.Certificate{
		Version: version, Pin: w.In.State.Target(a), Serial: fmt.Sprintf("%02x%014x", w.seed+16, version), Domains: w.In.Goal.Domains, Directory: w.In.Goal.CA,
		NotBefore: w.In.Now.Add(-time.Hour), NotAfter: w.In.Now.Add(w.Lifetime - time.Hour),
	}
}

// pin is that of a key that nobody has.
func pin(seed, n byte) pinset.Pin {
	var p pinset.Pin
	x := uint32(seed)<<8 | uint32(n) | 1<<20
	for i := range p {
		x = x*1664525 + 1013904223
		p[i] = byte(x >> 24)
	}
	return p
}
