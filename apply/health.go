package apply

import (
	"errors"
	"slices"
	"strings"
	"time"

	"keepkey/acme"
	"keepkey/keystore"
	"keepkey/plan"
)

// health is whether a CA answers, and when it may be asked again.
type health struct {
	inRow  int // answers that failed to come, one after the other
	silent quiet
	pauses []keystore.Pause // what the CA asked for; on record, for later runs
}

// quiet is a time in which a CA that does not answer is not asked.
type quiet struct {
	since, until time.Time
	reason       string
}

// A CA that failed to answer so often is left alone for a while. Then it is tried
// again, and one more failure is enough.
const (
	maxInRow  = 3
	quietTime = time.Minute
)

// answered notes how a CA took a request.
func (h *health) answered(err error, now time.Time) {
	if !acme.Unanswered(err) {
		h.inRow, h.silent = 0, quiet{}
		return
	}
	if h.inRow++; h.inRow >= maxInRow && !now.Before(h.silent.until) {
		h.silent = quiet{since: now, until: now.Add(quietTime), reason: err.Error()}
	}
}

// pause notes that a CA asked to be left alone, for some names or altogether.
func (h *health) pause(p keystore.Pause) {
	h.pauses = slices.DeleteFunc(h.pauses, func(old keystore.Pause) bool {
		return !p.Since.Before(old.Until) || slices.Equal(old.Identifiers, p.Identifiers) // over, or said again
	})
	h.pauses = append(h.pauses, p)
}

// of says what is known for a certificate's names. A pause that is in the future was
// noted while the clock was wrong.
func (h *health) of(domains []string, began, now time.Time) plan.CA {
	known := plan.CA{}
	if now.Before(h.silent.until) && !now.Before(h.silent.since) {
		known = plan.CA{Until: h.silent.until, ThisRun: true, Unreachable: true, Reason: h.silent.reason}
	}
	for _, p := range h.pauses {
		if p.Until.After(known.Until) && p.Until.After(now) && !p.Since.After(now) && concerns(p, domains) {
			known = plan.CA{Until: p.Until, ThisRun: !p.Since.Before(began), Reason: p.Reason}
		}
	}
	return known
}

// concerns reports whether a pause is about a certificate with these names.
func concerns(p keystore.Pause, domains []string) bool {
	if len(p.Identifiers) == 0 {
		return true
	}
	return slices.ContainsFunc(domains, func(d string) bool {
		d = strings.TrimPrefix(d, "*.")
		return slices.ContainsFunc(p.Identifiers, func(id string) bool { return d == id || strings.HasSuffix(d, "."+id) })
	})
}

// caKnown is what is known of the lineage's CA before it is asked.
func (l *lineage) caKnown(now time.Time) plan.CA {
	c := l.ca(l.cert.ACME)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.health.of(l.cert.Domains, l.began, now)
}

// TryAgain has CAs be asked again that did not answer lately, as a new process would:
// somebody wants something done, and may have seen to what was wrong. What a CA asked for
// itself stays in force.
func (r *Runner) TryAgain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.cas {
		c.mu.Lock()
		c.health.inRow, c.health.silent, c.windows = 0, quiet{}, health{}
		c.mu.Unlock()
		if c.connecting.TryLock() { // else it is being asked just now
			c.err = nil
			c.connecting.Unlock()
		}
	}
}

// heard notes what the CA made of an action, for all lineages that use it. That it asks
// to be left alone goes on record, for later runs.
func (l *lineage) heard(err error) {
	c, now := l.ca(l.cert.ACME), l.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.health.answered(err, now)
	var p *acme.Problem
	if !errors.As(err, &p) || p.RetryAfter <= 0 {
		return
	}
	pause := keystore.Pause{Since: now, Until: now.Add(p.RetryAfter), Reason: p.Error()}
	if p.Scope(l.cert.Domains) == acme.ScopeIdentifiers {
		pause.Identifiers = p.Identifiers
		if len(pause.Identifiers) == 0 {
			pause.Identifiers = l.cert.Domains
		}
	}
	c.health.pause(pause)
	account, err := l.Store.Account(l.cert.ACME.Directory, kidOf(l.cert.ACME))
	if err == nil {
		err = account.SavePauses(c.health.pauses)
	}
	if err != nil {
		l.log.Warn("that the CA asks to be left alone can't be put on record", "problem", err)
	}
}

// asking returns an error when the CA was silent about renewal windows just now.
func (c *ca) asking(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.windows.of(nil, now, now); known.Unreachable {
		return errors.New(known.Reason)
	}
	return nil
}

// asked notes whether the CA said something of a renewal window.
func (c *ca) asked(err error, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.windows.answered(err, now)
}
