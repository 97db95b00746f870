// Package daemon works on certificates at the moment when something is due for them. It
// decides nothing itself: each lineage says when it should be looked at again, and what to
// do then is the plan's to say.
package daemon

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"time"

	"keepkey/apply"
	"keepkey/config"
)

// Daemon works on certificates for as long as it runs. Make one with [New], set its fields
// before [Daemon.Run], and leave them then.
type Daemon struct {
	// Work does what is due for one certificate. It is called for several at a time.
	Work func(context.Context, config.Certificate) apply.Report
	// Load reads the configuration again.
	Load func() (*config.Config, error)
	// Done is told what became of each certificate, by one call at a time.
	Done func(apply.Report)
	Now  func() time.Time
	// Beat is called at least that often, to show that the daemon is alive.
	Beat      func()
	BeatEvery time.Duration
	// Limit is how many certificates of one CA are worked on at a time.
	Limit int

	requests chan func(*life)
	ended    chan struct{} // closed when Run returns
}

// New returns a daemon that has nothing to do yet.
func New() *Daemon {
	return &Daemon{requests: make(chan func(*life)), ended: make(chan struct{})}
}

// The pauses of a daemon.
const (
	// maxSleep is how long it sleeps at most: the clock may jump, and a machine may be
	// suspended, which no timer notices.
	maxSleep = time.Minute
	// minPause keeps a lineage whose next action is always due from being worked on without
	// end.
	minPause = time.Second
	// unreadablePause is for a lineage whose state can't be read: nobody knows what is due.
	unreadablePause = time.Minute
)

// life is a daemon while it runs. One goroutine has it.
type life struct {
	*Daemon
	ctx      context.Context
	certs    map[string]config.Certificate
	schedule schedule
	busy     map[string]int      // how many certificates of a CA are worked on
	waiting  map[string][]string // those whose CA has no room, in the order of their time
	reports  chan report
	running  int
}

type report struct {
	ca string
	apply.Report
}

// Run works on the certificates of a configuration, and of those that [Daemon.Reload] reads
// later, until ctx ends. What is under way then is ended, and has ended when Run returns.
func (d *Daemon) Run(ctx context.Context, cfg *config.Config) {
	l := &life{
		Daemon: d, ctx: ctx, certs: make(map[string]config.Certificate), busy: make(map[string]int),
		waiting: make(map[string][]string), reports: make(chan report),
	}
	defer close(d.ended)
	l.configure(cfg)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if d.Beat != nil {
			d.Beat()
		}
		for name, due := l.schedule.take(d.Now()); due; name, due = l.schedule.take(d.Now()) {
			l.begin(name)
		}
		timer.Reset(l.sleep())
		select {
		case <-timer.C:
		case r := <-l.reports:
			l.end(r)
		case request := <-d.requests:
			request(l)
		case <-ctx.Done():
			for l.running > 0 {
				l.end(<-l.reports)
			}
			return
		}
	}
}

// sleep is how long nothing is due.
func (l *life) sleep() time.Duration {
	most := maxSleep
	if l.BeatEvery > 0 {
		most = min(most, l.BeatEvery)
	}
	next := l.schedule.next()
	if next.IsZero() {
		return most
	}
	return min(max(next.Sub(l.Now()), 0), most)
}

// configure takes the certificates of a configuration over, and looks at those that are
// new or changed.
func (l *life) configure(cfg *config.Config) {
	gone := l.certs
	l.certs = make(map[string]config.Certificate)
	now := l.Now()
	for _, cert := range cfg.Certificates {
		l.certs[cert.Name] = cert
		if last, known := gone[cert.Name]; !known || !reflect.DeepEqual(last, cert) {
			l.schedule.set(cert.Name, now)
		}
		delete(gone, cert.Name)
	}
	for name := range gone {
		l.schedule.remove(name)
	}
}

// begin works on a lineage, or has it wait until its CA has room.
func (l *life) begin(name string) {
	cert := l.certs[name]
	ca := cert.ACME.Directory
	if l.busy[ca] >= l.Limit {
		l.waiting[ca] = append(l.waiting[ca], name)
		return
	}
	l.busy[ca]++
	l.running++
	go func() { l.reports <- report{ca, l.Work(l.ctx, cert)} }()
}

// end takes the report of a lineage, and begins the next that waits for the same CA.
func (l *life) end(r report) {
	l.running--
	l.busy[r.ca]--
	now := l.Now()
	wake := later(r.Wake, now.Add(minPause))
	if r.Wake.IsZero() {
		wake = now.Add(unreadablePause)
	}
	l.schedule.back(r.Name, wake, now)
	if l.Done != nil {
		l.Done(r.Report)
	}
	for l.ctx.Err() == nil && len(l.waiting[r.ca]) > 0 && l.busy[r.ca] < l.Limit {
		name := l.waiting[r.ca][0]
		l.waiting[r.ca] = slices.Delete(l.waiting[r.ca], 0, 1)
		if _, still := l.certs[name]; still {
			l.begin(name)
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// ErrEnded says that the daemon does not run any more.
var ErrEnded = errors.New("the daemon ends")

// ask has the running daemon do something, and waits for it. Without effect when ctx ends
// first, or the daemon does.
func (d *Daemon) ask(ctx context.Context, request func(*life)) error {
	done := make(chan struct{})
	select {
	case d.requests <- func(l *life) { request(l); close(done) }:
		<-done
		return nil
	case <-d.ended:
		return ErrEnded
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Reload reads the configuration again. One that is not valid changes nothing.
func (d *Daemon) Reload(ctx context.Context) error {
	cfg, err := d.Load()
	if err != nil {
		return err
	}
	return d.ask(ctx, func(l *life) { l.configure(cfg) })
}

// Wake has lineages looked at now: somebody did something with them.
func (d *Daemon) Wake(ctx context.Context, names ...string) error {
	return d.ask(ctx, func(l *life) {
		for _, name := range names {
			if _, known := l.certs[name]; known {
				l.schedule.set(name, l.Now())
			}
		}
	})
}
