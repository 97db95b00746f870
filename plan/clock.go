package plan

import (
	"fmt"
	"strings"
	"time"

	"keepkey/pinset"
)

// clockTolerance is how far two clocks may be apart and both count as right.
const clockTolerance = time.Hour

// ClockError says that this machine's clock can't be believed.
type ClockError struct {
	// Skew is how far the CA's clock is ahead of ours; 0 when the CA was not asked.
	Skew time.Duration
	// Now is this machine's time, and Recorded a later one that is on record.
	Now, Recorded time.Time
}

func (e *ClockError) Error() string {
	switch {
	case e.Skew > 0:
		return fmt.Sprintf("this machine's clock is %s behind the CA's", apart(e.Skew))
	case e.Skew < 0:
		return fmt.Sprintf("this machine's clock is %s ahead of the CA's", apart(e.Skew))
	}
	return fmt.Sprintf("this machine's clock says %s, but something on record happened at %s", e.Now.UTC().Format(time.RFC3339), e.Recorded.UTC().Format(time.RFC3339))
}

// apart writes how far two clocks are apart.
func apart(d time.Duration) string {
	const day = 24 * time.Hour
	if d = d.Abs(); d >= 2*day {
		return fmt.Sprintf("%d days", d.Round(day)/day)
	}
	text := strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	if strings.HasSuffix(text, "h0m") {
		return strings.TrimSuffix(text, "0m")
	}
	return text
}

// CheckClock says whether this machine's clock can be believed, so that the ledger
// may carry its time: one that is behind would let pin sets end too early, and one
// that is ahead would poison the ledger. skew is how far the CA's clock is ahead of
// ours, if the CA was asked; else what is on record has to do. The error is a
// [*ClockError].
func CheckClock(in Input, skew time.Duration, known bool) error {
	if known && skew.Abs() > clockTolerance {
		return &ClockError{Skew: skew}
	}
	if latest := Latest(in); !known && in.Now.Before(latest.Add(-clockTolerance)) {
		return &ClockError{Now: in.Now, Recorded: latest}
	}
	return nil
}

// Clock is what a CA last said of the time. The time can't be earlier than that, so it
// tells a wrong clock later on, without asking anybody.
type Clock struct {
	Ours time.Time `json:"ours"`
	CA   time.Time `json:"ca"`
}

// wrongClock reports a clock that was wrong when the CA last told the time and was not
// set since, or that was set back.
func wrongClock(in Input) *Finding {
	c := in.State.Clock
	if c == nil {
		return nil
	}
	skew := c.CA.Sub(c.Ours)
	switch {
	case in.Now.Before(c.CA.Add(-clockTolerance)):
		skew = max(skew, c.CA.Sub(in.Now))
	case skew.Abs() <= clockTolerance, in.Now.Before(c.Ours.Add(-clockTolerance)):
		return nil
	}
	return &Finding{Code: ClockWrong, Err: &ClockError{Skew: skew}}
}

// GateError says that a key may not be served now.
type GateError struct {
	Verdict Verdict
	// Skew is how far the CA's clock is ahead of ours, where it was that clock that
	// keeps the gate closed.
	Skew time.Duration
}

func (e *GateError) Error() string {
	if e.Skew != 0 {
		return fmt.Sprintf("the gate is closed by the CA's clock: this machine's is %s ahead of it", roughly(e.Skew.Abs()))
	}
	return "the gate is closed"
}

// roughly rounds to what matters to people.
func roughly(d time.Duration) time.Duration {
	if d >= time.Minute {
		return d.Round(time.Minute)
	}
	return d.Round(time.Second)
}

// slack is how long after the gate opened by this machine's clock it is surely open by the
// CA's: that may be behind, and tells whole seconds.
func (in Input) slack() time.Duration {
	const resolution = 2 * time.Second
	behind := time.Duration(0)
	if c := in.State.Clock; c != nil {
		behind = min(max(c.Ours.Sub(c.CA), 0), clockTolerance)
	}
	return behind + resolution
}

// CheckSwitch is the last word on a switch of keys: the gate must be open by this
// machine's clock and by the CA's, however little they differ. The error is a
// [*GateError].
func CheckSwitch(in Input, key pinset.Pin, skew time.Duration) error {
	if v := Gate(in, key); !v.Open {
		return &GateError{Verdict: v}
	}
	if v := gateAt(in, key, in.Now.Add(min(skew, 0))); !v.Open {
		return &GateError{Verdict: v, Skew: skew}
	}
	return nil
}

// Latest is the latest time that is on record: nothing happened after it.
func Latest(in Input) time.Time {
	var t time.Time
	if e, ok := in.Ledger.Last(); ok {
		t = e.At
	}
	for _, other := range []time.Time{in.State.Begun, in.State.Since} {
		if other.After(t) {
			t = other
		}
	}
	if c := in.State.Certificate; c != nil && c.Obtained.After(t) {
		t = c.Obtained
	}
	if c := in.State.Clock; c != nil && c.CA.After(t) {
		t = c.CA
	}
	return t
}
