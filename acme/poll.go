package acme

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Bounds of a poll.
const (
	pollFirst = 8 * time.Millisecond // to the first poll: a CA next door has validated by then
	pollStart = 15 * time.Millisecond
	pollMax   = 5 * time.Second // between polls, when the CA names no time
	pollClamp = 5 * time.Minute // the longest that a CA can make us wait between polls
)

// poll asks until done: almost at once, then as often as the CA's Retry-After
// for the URL says, else with intervals that double up to pollMax. The time limit
// is ctx's.
func (c *Client) poll(ctx context.Context, pollURL string, done func() (bool, error)) error {
	wait := pollFirst
	for interval := pollStart; ; interval = min(interval*2, pollMax) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
		ok, err := done()
		if ok || err != nil {
			return err
		}
		wait = interval
		if d, said := parseRetryAfter(c.guard.takeHeader(pollURL).Get("Retry-After"), c.cfg.Now()); said {
			wait = min(max(d, wait), pollClamp)
		}
	}
}

// each runs f for 0 to n-1 concurrently, and returns all their errors.
func each(n int, f func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
