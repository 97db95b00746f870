package daemon

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/plan"
	"keepkey/status"
)

// Overview is what a daemon keeps in mind, for those who look at it: little of each
// certificate, so that there may be thousands. It is safe for concurrent use.
type Overview struct {
	mu      sync.Mutex
	names   []string // in the configuration's order
	of      map[string]*known
	wrong   int       // how many of them have problems
	loaded  time.Time // when the configuration that is in force was read
	problem string    // why what lies there now is not in force; "" when it is
	beat    time.Time // by the monotonic clock
}

// known is what is known of one certificate. It is replaced, and never changed.
type known struct {
	cert  *config.Certificate
	brief status.Brief
	at    time.Time // when it was last worked on; zero: not yet
	// whole is all that is known of one that has no state to read: looking at that anew asks
	// others.
	whole *status.Lineage
}

// NewOverview returns one for a configuration that was read at a time.
func NewOverview(cfg *config.Config, at time.Time) *Overview {
	o := &Overview{}
	o.Configure(cfg, at)
	o.Beat()
	return o
}

// Configure takes a configuration over. What it does not name is forgotten.
func (o *Overview) Configure(cfg *config.Config, at time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	last := o.of
	o.names, o.of = make([]string, 0, len(cfg.Certificates)), make(map[string]*known, len(cfg.Certificates))
	for i := range cfg.Certificates {
		cert := &cfg.Certificates[i]
		k := known{brief: status.Brief{Name: cert.Name}}
		if before := last[cert.Name]; before != nil {
			k = *before
		}
		k.cert = cert
		o.names = append(o.names, cert.Name)
		o.of[cert.Name] = &k
	}
	o.wrong = 0
	for _, k := range o.of {
		o.wrong += k.wrong()
	}
	o.loaded, o.problem = at, ""
}

// Refuse keeps in mind why a configuration is not in force.
func (o *Overview) Refuse(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.problem = err.Error()
}

// Worked keeps in mind what became of a certificate that was worked on.
func (o *Overview) Worked(rep apply.Report, at time.Time) {
	l := lineageOf(rep)
	o.mu.Lock()
	defer o.mu.Unlock()
	before := o.of[rep.Name]
	if before == nil {
		return // it left the configuration meanwhile
	}
	k := &known{cert: before.cert, brief: l.Brief(), at: at}
	if rep.Input.State.IsZero() {
		k.whole = &l
	}
	o.wrong += k.wrong() - before.wrong()
	o.of[rep.Name] = k
}

// wrong is 1 for a certificate with problems.
func (k *known) wrong() int {
	if k.brief.Severity == "" {
		return 0
	}
	return 1
}

// lineageOf puts a report into the form that people see.
func lineageOf(rep apply.Report) status.Lineage {
	p := plan.Plan{Problems: rep.Problems, Notes: rep.Notes}
	if rep.Next != nil {
		p.Actions = []plan.Action{*rep.Next}
	}
	in := rep.Input
	in.Goal.Name = rep.Name // also where nothing could be read
	return status.Of(in, p)
}

// configuration says when the one that is in force was read, and why a later one is not.
func (o *Overview) configuration() (loaded time.Time, problem string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.loaded, o.problem
}

// Sum says in a few words how the certificates are.
func (o *Overview) Sum() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	sum := fmt.Sprintf("%d certificates", len(o.of))
	if len(o.of) == 1 {
		sum = "1 certificate"
	}
	if o.wrong > 0 {
		sum += fmt.Sprintf(", %d of them with problems", o.wrong)
	}
	if o.problem != "" {
		sum += "; the configuration is not valid, an earlier one is in force"
	}
	return sum
}

// all returns what is known of all certificates, in the order of the configuration.
func (o *Overview) all() []*known {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := make([]*known, 0, len(o.names))
	for _, name := range o.names {
		all = append(all, o.of[name])
	}
	return all
}

// one returns what is known of a certificate, or nil.
func (o *Overview) one(name string) *known {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.of[name]
}

// Beat is called whenever the daemon's loop turns.
func (o *Overview) Beat() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.beat = time.Now()
}

// silence is how long the loop may not turn, at most. It sleeps for a minute.
const silence = 3 * time.Minute

func (o *Overview) alive() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return time.Since(o.beat) < silence
}

// now returns the brief as it is at a time: a gate opens by itself.
func (k *known) now(at time.Time) status.Brief {
	b := k.brief
	if !b.GateOpens.IsZero() && !at.Before(b.GateOpens) {
		b.GateOpen, b.GateOpens = true, time.Time{}
	}
	return b
}

// worstFirst sorts certificates: those first with which the most is wrong, then those that
// expire first.
func worstFirst(all []*known) {
	rank := map[status.Severity]int{status.Critical: -3, status.Warning: -2, status.Info: -1}
	slices.SortStableFunc(all, func(a, b *known) int {
		return cmp.Or(cmp.Compare(rank[a.brief.Severity], rank[b.brief.Severity]), a.brief.NotAfter.Compare(b.brief.NotAfter))
	})
}
