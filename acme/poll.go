package acme

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bounds of a poll.
const (
	pollFirst = 8 * time.Millisecond // to the first poll: a CA next door has validated by then
	pollStart = 15 * time.Millisecond
	pollMax   = 5 * time.Second // between polls, when the CA names no time
	pollClamp = 5 * time.Minute // the longest that a CA can make us wait between polls
	pollSame  = time.Minute     // how long a CA may tell the same problem before we give up
)

// poll asks until done: almost at once, then as often as the CA's Retry-After
// for the URL says, else with intervals that double up to pollMax. The time limit
// is ctx's. A CA that keeps trying may tell meanwhile what is wrong: that is logged at
// once, and the error when the time is over, or when it stayed the same for pollSame.
func (c *Client) poll(ctx context.Context, pollURL string, ask func() (done bool, told string, err error)) error {
	last, stop := c.guard.watch(pollURL)
	defer stop()
	wait, reason := pollFirst, ""
	var since time.Time // when the CA first told the reason
	for interval := pollStart; ; interval = min(interval*2, pollMax) {
		var done bool
		var told string
		var err error
		select {
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-time.After(wait):
			done, told, err = ask()
		}
		if told != "" && told != reason {
			reason, since = told, time.Now()
			c.cfg.Logger.Warn("the CA reports a problem, and may try again", "problem", reason)
		}
		switch {
		case err != nil && ctx.Err() != nil && reason != "":
			return fmt.Errorf("%w; the CA's last word on it: %s", err, reason)
		case done || err != nil:
			return err
		case reason != "" && time.Since(since) >= pollSame:
			return fmt.Errorf("%s; it stayed so for %s", reason, pollSame)
		}
		wait = interval
		if d, said := retryAfter(last(), c.cfg.Now()); said {
			wait = min(max(d, wait), pollClamp)
		}
	}
}

// each runs f for 0 to n-1 concurrently, and returns all their errors.
func each(n int, f func(i int) error) error {
	all := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { all[i] = f(i) })
	}
	wg.Wait()
	return several(all)
}

// several joins errors into one of a single line, or returns nil when there are none.
func several(all []error) error {
	all = slices.DeleteFunc(all, func(err error) bool { return err == nil })
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	return joined(all)
}

// joined is what went wrong with several names of an order: up to a hundred.
type joined []error

func (e joined) Error() string {
	const shown = 3
	var b strings.Builder
	for i, err := range e[:min(len(e), shown)] {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(err.Error())
	}
	if more := len(e) - shown; more > 0 {
		fmt.Fprintf(&b, "; and %d more like these", more)
	}
	return b.String()
}

func (e joined) Unwrap() []error { return e }
