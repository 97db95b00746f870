package plan

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"slices"
	"time"
)

// obtain returns the next certificate for the active key, with the time at which it
// is due.
func obtain(in Input) Action {
	a := Action{Kind: Obtain}
	a.At, a.Why, a.Early = renewal(in)
	if in.Force && !in.Tried[a.ID()] {
		return Action{Kind: Obtain, At: in.Now, Why: Why{Code: WhyForced}}
	}
	if at, f, waits := in.retries(a); waits && !a.At.After(in.Now) {
		a.At, a.Why = at, Why{Code: WhyRetry, Have: f.Count}
	}
	return a
}

// renewal is the time at which the certificate should be replaced, leaving
// failures aside.
func renewal(in Input) (at time.Time, why Why, early bool) {
	c := in.State.Certificate
	order, ordered := in.State.Order(in.State.Active().Pin)
	switch {
	case c == nil && ordered:
		return in.Now, Why{Code: WhyOrderPending}, false
	case c == nil:
		return in.Now, Why{Code: WhyFirstCertificate}, false
	case in.Disk.StoredProblem != nil:
		return in.Now, Why{Code: WhyStoredUnusable, Err: in.Disk.StoredProblem}, false
	case !SameNames(c.Domains, in.Goal.Domains):
		return in.Now, Why{Code: WhyOtherNames}, false
	case c.Directory != in.Goal.CA:
		return in.Now, Why{Code: WhyOtherCA}, false
	case ordered:
		return in.Now, Why{Code: WhyOrderPending}, order.Early
	}
	at, why = c.due(), Why{Code: WhyThirdLeft, Expires: c.NotAfter}
	if shortLived(c.NotBefore, c.NotAfter) {
		why.Code = WhyHalfLeft
	}
	w := in.State.Window
	if w == nil || w.Serial != c.Serial || !w.sane(c) {
		return at, why, false
	}
	selected := w.selected(c)
	early = selected.Before(at)
	// A CA whose window is always "now" must not make us order again and again.
	if c.Early && early && in.Now.Before(c.Obtained.Add(earlyPause)) {
		if pause := c.Obtained.Add(earlyPause); pause.Before(at) {
			return pause, Why{Code: WhyWindowAgain}, true
		}
		return at, why, false
	}
	return selected, Why{Code: WhyWindow, Start: w.Start, End: w.End}, early
}

// earlyPause is the least time between two certificates that a CA's renewal
// window asks for before their time.
const earlyPause = 24 * time.Hour

// ByLifetime returns when a certificate is due without a CA's advice: when a third
// of its lifetime is left, or a half for lifetimes under ten days.
func ByLifetime(notBefore, notAfter time.Time) time.Time {
	left := notAfter.Sub(notBefore) / 3
	if shortLived(notBefore, notAfter) {
		left = notAfter.Sub(notBefore) / 2
	}
	return notAfter.Add(-left)
}

// due is the certificate's own moment without a CA's advice: up to a thirty-sixth of its
// lifetime after [ByLifetime], so that what was obtained together is not all due together.
func (c *Certificate) due() time.Time {
	return ByLifetime(c.NotBefore, c.NotAfter).Add(share(c.Serial, c.apart()))
}

// apart is over how much time renewals are spread that would all be at one moment.
func (c *Certificate) apart() time.Duration { return c.NotAfter.Sub(c.NotBefore) / 36 }

func shortLived(notBefore, notAfter time.Time) bool { return notAfter.Sub(notBefore) < 10*24*time.Hour }

// How long to leave a CA alone about its renewal window.
const (
	minAskAgain = time.Minute
	maxAskAgain = 24 * time.Hour
	askAgain    = 6 * time.Hour // when it does not say, or did not answer
)

// askWindowAt is when to ask the CA for the renewal window, if there is anything to ask for.
func askWindowAt(in Input) (at time.Time, ask bool) {
	c, w := in.State.Certificate, in.State.Window
	switch {
	case c == nil || in.Disk.StoredProblem != nil || c.Directory != in.Goal.CA:
		return time.Time{}, false
	case w == nil || w.Serial != c.Serial || in.Now.Before(w.Asked):
		return in.Now, true
	case wrongClock(in) != nil && w.AskAgain.After(w.Asked.Add(clockTolerance)):
		// The CA is to say again what time it is. A clock that was set right since says at
		// least that much more, or less.
		return w.Asked.Add(clockTolerance), true
	}
	return w.AskAgain, true
}

// sane says whether a window can be meant for the certificate. CAs have answered
// with nothing, with the year 1, and with an end before the start.
func (w *Window) sane(c *Certificate) bool {
	const past = 366 * 24 * time.Hour
	return w.Start.Before(w.End) && w.Start.After(c.NotBefore.Add(-past)) && !w.End.After(c.NotAfter)
}

// selected picks a time in the window, uniform over certificates and always the
// same for one (RFC 9773 section 4.2). However late the window is, a sixth of the
// certificate's lifetime is left then, for further attempts.
func (w *Window) selected(c *Certificate) time.Time {
	start, end := w.Start, w.End
	if latest := c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore) / 6); end.After(latest) {
		end = latest
	}
	if !start.Before(end) {
		start = end.Add(-c.apart())
	}
	return start.Add(share(w.Serial, end.Sub(start)))
}

// askAfter says when to ask again: after a pause, or up to a quarter of it later, so that
// certificates that were first asked for together drift apart.
func (w *Window) askAfter(pause time.Duration) {
	w.AskAgain = w.Asked.Add(pause + share(w.Serial, pause/4))
}

// share is a part of a duration, uniform over certificates, or lineages, and always the
// same for one.
func share(id string, d time.Duration) time.Duration {
	sum := sha256.Sum256([]byte(id))
	part, _ := bits.Mul64(binary.BigEndian.Uint64(sum[:]), uint64(max(d, 0)))
	return time.Duration(part)
}

// SameNames reports whether two certificates have the same names, in whatever order.
func SameNames(a, b []string) bool {
	return slices.Equal(a, b) || slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
