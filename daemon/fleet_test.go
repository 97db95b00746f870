package daemon

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/pinset"
	"keepkey/plan"
)

const day = 24 * time.Hour

// fleet is certificates whose every action is imagined: what to do, and what follows, is
// decided as ever, by plan.Next and plan.After. Nothing else of keepkey takes part but the
// daemon.
type fleet struct {
	t        *testing.T
	began    time.Time
	limit    int
	lineages map[string]*imagined

	mu     sync.Mutex // guards the rest
	rng    *rand.Rand
	atWork map[string]int // by CA
	quiet  []time.Time    // when there was nothing to do but to look, and to ask when to renew
	looks  []time.Time    // at what is served
	orders []order
}

// order is one that was placed for a renewal or a rollover.
type order struct {
	of    *imagined
	kind  plan.Kind
	at    time.Time
	late  time.Duration // since it was due
	again bool          // after a failure
}

// imaginedCA issues certificates.
type imaginedCA struct {
	name      string
	lifetime  time.Duration
	windows   bool          // it says when to renew (ARI)
	again     time.Duration // and when to ask that again
	takes     time.Duration // for an order
	of        int           // certificates, of a hundred
	stuck     int           // so many of its orders hang for some days
	away      bool          // it can't be reached for some days
	rollovers bool          // some of its certificates get new keys by a schedule
	size      int           // certificates
}

// imagined is a lineage. Whoever works on it has it to himself: that is one of the things
// that are tested.
type imagined struct {
	name      string
	ca        *imaginedCA
	in        plan.Input
	hangs     bool // its orders come to nothing for some days, and take as long as they may
	working   sync.Mutex
	works     int
	asked     time.Time                // when a rollover was last begun
	known     map[pinset.Pin]time.Time // when clients were first given a pin
	rollovers int
}

// What the imagined channel's clients do, and rollovers.
const (
	enforced  = 120 * day
	cached    = time.Hour
	newKeys   = 90 * day
	orderTime = 15 * time.Minute // as much as an order may take
)

func newFleet(t *testing.T, size int, cas []*imaginedCA) *fleet {
	f := &fleet{t: t, began: time.Now(), limit: 8, lineages: make(map[string]*imagined), rng: rand.New(rand.NewPCG(1, 0)), atWork: make(map[string]int)}
	for _, ca := range cas {
		ca.size = ca.of * size / 100
		for i := range ca.size {
			l := &imagined{name: fmt.Sprintf("%s-%d", ca.name, i), ca: ca, hangs: i < ca.stuck, known: make(map[pinset.Pin]time.Time)}
			l.in = plan.Input{Host: "here", Goal: plan.Goal{
				Name: l.name, Domains: []string{l.name + ".example.com"}, CA: ca.name, KeyType: pinset.EC256, Backups: 1, KeepOldPin: 7 * day,
				Channels: []plan.Channel{{
					Name: "app", Publish: []pinset.Place{{ID: "file"}},
					Clients: pinset.Clients{Lifetime: pinset.Lifetime{Duration: enforced}, Cache: cached},
				}},
				Deploy: []string{"reload"},
			}}
			if i%8 == 0 {
				l.in.Goal.Check = []string{l.name + ".example.com:443"}
			}
			if ca.rollovers && i%5 == 0 {
				l.in.Goal.RolloverEvery = newKeys
			}
			f.lineages[l.name] = l
		}
	}
	return f
}

func (f *fleet) configuration() *config.Config {
	cfg := new(config.Config)
	for name, l := range f.lineages {
		cfg.Certificates = append(cfg.Certificates, config.Certificate{Name: name, ACME: config.ACME{Directory: l.ca.name}})
	}
	return cfg
}

// live lets a daemon work until a day, and end then.
func (f *fleet) live(until int) {
	d := New()
	d.Now, d.Limit, d.Work = time.Now, f.limit, f.work
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Until(f.at(until)))
	defer cancel()
	d.Run(ctx, f.configuration())
}

func (f *fleet) at(days int) time.Time { return f.began.Add(time.Duration(days) * day) }

// during reports whether it is from one day to another.
func (f *fleet) during(from, to int) bool {
	now := time.Now()
	return !now.Before(f.at(from)) && now.Before(f.at(to))
}

// work does for a lineage what apply.Runner does.
func (f *fleet) work(ctx context.Context, cert config.Certificate) apply.Report {
	l := f.lineages[cert.Name]
	if !l.working.TryLock() {
		f.t.Errorf("%s is worked on twice at the same time", l.name)
		l.working.Lock()
	}
	defer l.working.Unlock()
	f.enter(l)
	defer f.leave(l)
	tried, upkeep := make(map[string]bool), true
	for range 100 {
		l.in.Now, l.in.Tried = time.Now(), tried
		p := plan.Next(l.in)
		a, due := p.Due(l.in.Now)
		if !due {
			f.note(l, upkeep)
			return apply.Report{Name: l.name, Problems: p.Problems, Wake: plan.Wake(l.in)}
		}
		upkeep = upkeep && a.Kind.Upkeep()
		if a.AsksCA() || a.Kind == plan.Look {
			tried[a.ID()] = true
		}
		for _, r := range f.act(ctx, l, a) {
			r.At = time.Now()
			if err := l.in.Follow(a, r); err != nil {
				f.t.Errorf("%s: %s: %v", l.name, a.Kind, err)
			}
			tried[a.ID()] = tried[a.ID()] || r.Failed != nil
		}
	}
	f.t.Errorf("%s comes to no end", l.name)
	return apply.Report{Name: l.name}
}

func (f *fleet) enter(l *imagined) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l.works++
	if f.atWork[l.ca.name]++; f.atWork[l.ca.name] > f.limit {
		f.t.Errorf("%d certificates of %s are worked on at the same time", f.atWork[l.ca.name], l.ca.name)
	}
}

// note keeps when a lineage was worked on, if nothing but upkeep was due for it.
func (f *fleet) note(l *imagined, upkeep bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if upkeep && l.in.Goal.RolloverEvery == 0 { // those with rollovers have them at the same time
		f.quiet = append(f.quiet, time.Now())
	}
}

func (f *fleet) leave(l *imagined) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.atWork[l.ca.name]--
}

// act has an action come to what it comes to in this world.
func (f *fleet) act(ctx context.Context, l *imagined, a plan.Action) []plan.Result {
	switch a.Kind {
	case plan.GenerateKey:
		var key pinset.Pin
		binary.BigEndian.PutUint64(key[:], uint64(len(l.in.State.Keys)+1))
		return []plan.Result{{Pin: key}}
	case plan.Publish:
		for _, pin := range a.PinSet.Pins {
			if _, known := l.known[pin]; !known {
				l.known[pin] = time.Now()
			}
		}
		return []plan.Result{{Began: true}, {Hook: "file"}, {}}
	case plan.Look:
		f.mu.Lock()
		defer f.mu.Unlock()
		f.looks = append(f.looks, time.Now())
	case plan.BeginRollover:
		l.asked = time.Now()
	case plan.AskWindow:
		return []plan.Result{{Window: f.window(l), CA: time.Now()}}
	case plan.Install:
		l.in.Disk.Live = a.Version
	case plan.Prune:
		l.in.Disk.Versions = slices.DeleteFunc(l.in.Disk.Versions, func(n int) bool { return n == a.Version })
	case plan.Obtain, plan.SwitchKey:
		return f.order(ctx, l, a)
	}
	return []plan.Result{{}}
}

// window is what the CA says of renewing a certificate: two days at two thirds of its
// lifetime. On one day it wants those that will hang replaced all at once.
func (f *fleet) window(l *imagined) *plan.Answer {
	if l.ca.away && f.during(away, back) {
		return nil
	}
	if !l.ca.windows {
		return &plan.Answer{}
	}
	c := l.in.State.Certificate
	middle := c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / 3 * 2)
	start, end := middle.Add(-day), middle.Add(day)
	if l.hangs && !time.Now().Before(f.at(stuck-2)) && c.NotBefore.Before(f.at(stuck)) {
		start, end = f.at(stuck), f.at(stuck).Add(time.Second)
	}
	return &plan.Answer{Start: start, End: end, AskAgain: l.ca.again}
}

// order gets a certificate, or fails after a while.
func (f *fleet) order(ctx context.Context, l *imagined, a plan.Action) []plan.Result {
	f.judge(l, a)
	target := l.in.State.Target(a)
	placed := plan.Result{Order: &plan.Order{
		Directory: l.ca.name, URL: "https://ca.example/order", Finalize: "https://ca.example/finalize", CSR: []byte("csr"),
		Pin: target, Domains: l.in.Goal.Domains, Created: time.Now(), Early: a.Early,
	}, CA: time.Now()}
	takes, fails := l.ca.takes, ""
	switch {
	case l.ca.away && f.during(away, back):
		takes, fails = 30*time.Second, "the CA does not answer"
	case l.hangs && f.during(stuck, freed):
		takes, fails = orderTime, "the CA did not finish"
	}
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return []plan.Result{placed} // the next daemon resumes it
	}
	f.mu.Lock()
	jitter, serial := f.rng.Float64(), fmt.Sprintf("%016x", f.rng.Uint64())
	f.mu.Unlock()
	if fails != "" {
		return []plan.Result{{Failed: &plan.Failed{Text: fails, Jitter: jitter}}}
	}
	version := 1
	if c := l.in.State.Certificate; c != nil {
		version = c.Version + 1
	}
	l.in.Disk.Versions = append(l.in.Disk.Versions, version)
	return []plan.Result{placed, {CA: time.Now(), Certificate: &plan.Certificate{
		Version: version, Pin: target, Serial: serial, Domains: l.in.Goal.Domains, Directory: l.ca.name,
		NotBefore: time.Now(), NotAfter: time.Now().Add(l.ca.lifetime),
	}}}
}

// judge holds an order to its moment, and keeps it, but for that of a first certificate.
func (f *fleet) judge(l *imagined, a plan.Action) {
	c := l.in.State.Certificate
	if c == nil {
		return
	}
	now := time.Now()
	if now.After(c.NotAfter) {
		f.t.Errorf("%s expired at %s, before it was renewed", l.name, c.NotAfter)
	}
	o := order{of: l, kind: a.Kind, at: now, late: now.Sub(a.At), again: l.in.State.Failing(a)}
	from, to := now, now
	switch a.Why.Code {
	case plan.WhyWindow:
		from, to = a.Why.Start, a.Why.End
	case plan.WhyThirdLeft, plan.WhyHalfLeft:
		from = plan.ByLifetime(c.NotBefore, c.NotAfter)
		to = from.Add(c.NotAfter.Sub(c.NotBefore) / 36)
	case plan.WhyRolloverAsked:
		from = l.gateOpens()
		to, o.late = from, now.Sub(from)
		l.rollovers++
	}
	if now.Before(from) || (!o.again && !l.hangs && now.After(to.Add(time.Hour))) {
		f.t.Errorf("%s: an order (%s) at %s, and its time is from %s to %s", l.name, a.Why.Code, now, from, to)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.orders = append(f.orders, o)
}

// gateOpens is when no client can hold a pin set any more that lacks the key that takes
// over, but not before the rollover was asked for.
func (l *imagined) gateOpens() time.Time {
	if known := l.known[l.in.State.Rollover.To]; known.After(l.in.State.Begun) {
		return later(l.asked, known.Add(cached+enforced))
	}
	return l.asked // it was in the very first pin set
}
