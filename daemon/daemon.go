// Package daemon works on certificates at the moment when something is due for them. It
// decides nothing itself: each lineage says when it should be looked at again, and what to
// do then is the plan's to say.
package daemon

import (
	"context"
	"errors"
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
	// Done is told what became of each certificate, by one call at a time, and when it is
	// worked on again.
	Done func(apply.Report)
	Now  func() time.Time
	// Beat is called at least that often, to show that the daemon is alive.
	Beat      func()
	BeatEvery time.Duration
	// Limit is how many certificates of one CA are worked on at a time, half of them such
	// that failed when they were last worked on.
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
	// firstPause is for a lineage that failed without a record that makes it wait: its state
	// can't be read, say, or written. It doubles until it is maxPause.
	firstPause = time.Minute
	maxPause   = time.Hour
)

// life is a daemon while it runs. One goroutine has it.
type life struct {
	*Daemon
	ctx      context.Context
	certs    map[string]*config.Certificate
	schedule schedule
	last     time.Time         // what the clock said in the turn before
	failing  map[string]int    // how often certificates failed, one time after the other
	busy     map[lane]int      // how many certificates are worked on
	waiting  map[lane][]string // those for which there is no room, in the order of their time
	reports  chan report
	running  int
}

// lane is where certificates wait for their turn: those of a CA that failed wait by
// themselves, since what fails often takes as long as it may.
type lane struct {
	ca      string
	failing bool
}

type report struct {
	lane lane
	apply.Report
}

// Run works on the certificates of a configuration, and of those that [Daemon.Reload] reads
// later, until ctx ends. What is under way then is ended, and has ended when Run returns.
func (d *Daemon) Run(ctx context.Context, cfg *config.Config) {
	l := &life{
		Daemon: d, ctx: ctx, certs: make(map[string]*config.Certificate), failing: make(map[string]int),
		busy: make(map[lane]int), waiting: make(map[lane][]string), reports: make(chan report),
	}
	defer close(d.ended)
	l.configure(cfg)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if d.Beat != nil {
			d.Beat()
		}
		l.watchClock()
		for name, due := l.schedule.take(l.now()); due; name, due = l.schedule.take(l.now()) {
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

// now is the time by the clock on the wall: the monotonic one, which time.Now reads, too,
// stands still while a machine is suspended.
func (l *life) now() time.Time { return l.Now().Round(0) }

// watchClock looks at everything when the clock was set back: what is to be done at a time
// that was reckoned before may be due long before it comes.
func (l *life) watchClock() {
	now := l.now()
	if now.Before(l.last.Add(-maxSleep)) {
		for name := range l.certs {
			l.schedule.set(name, now)
		}
	}
	l.last = now
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
	return min(max(next.Sub(l.now()), 0), most)
}

// configure takes the certificates of a configuration over, and looks at those that are
// new or changed.
func (l *life) configure(cfg *config.Config) {
	gone := l.certs
	l.certs = make(map[string]*config.Certificate, len(cfg.Certificates))
	now := l.now()
	for i := range cfg.Certificates {
		cert := &cfg.Certificates[i]
		l.certs[cert.Name] = cert
		if last, known := gone[cert.Name]; !known || !last.Equal(*cert) {
			l.schedule.set(cert.Name, now)
		}
		delete(gone, cert.Name)
	}
	for name := range gone {
		l.schedule.remove(name)
		delete(l.failing, name)
	}
}

// begin works on a lineage, or has it wait until there is room.
func (l *life) begin(name string) {
	cert := l.certs[name]
	in := lane{cert.ACME.Directory, l.failing[name] > 0}
	if !l.room(in) {
		l.waiting[in] = append(l.waiting[in], name)
		return
	}
	l.busy[in]++
	l.running++
	go func() { l.reports <- report{in, l.Work(l.ctx, *cert)} }()
}

// room reports whether one more certificate may be worked on.
func (l *life) room(in lane) bool {
	all := l.busy[lane{in.ca, false}] + l.busy[lane{in.ca, true}]
	return all < l.Limit && (!in.failing || l.busy[in] < max(l.Limit/2, 1))
}

// end takes the report of a lineage, and begins those for which there is room now.
func (l *life) end(r report) {
	l.running--
	l.busy[r.lane]--
	now := l.now()
	switch pause := firstPause << min(l.failing[r.Name], 6); {
	case len(r.Problems) == 0:
		delete(l.failing, r.Name)
		r.Wake = later(r.Wake, now.Add(minPause))
	case r.Wake.After(now):
		l.failing[r.Name]++
	default:
		l.failing[r.Name]++
		r.Wake = now.Add(min(pause, maxPause))
	}
	l.schedule.back(r.Name, r.Wake, now)
	if l.Done != nil {
		l.Done(r.Report)
	}
	l.fill(lane{r.lane.ca, false})
	l.fill(lane{r.lane.ca, true})
}

// fill begins those that wait in a lane, as far as there is room.
func (l *life) fill(in lane) {
	for l.ctx.Err() == nil && len(l.waiting[in]) > 0 && l.room(in) {
		name := l.waiting[in][0]
		l.waiting[in] = l.waiting[in][1:]
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
				l.schedule.set(name, l.now())
			}
		}
	})
}
