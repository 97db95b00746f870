package plan

import (
	"fmt"
	"time"

	"keepkey/config"
	"keepkey/pinset"
)

// clockTolerance is how far two clocks may be apart and both count as right.
const clockTolerance = time.Hour

// CheckClock says whether this machine's clock can be believed, so that the ledger
// may carry its time: one that is behind would let pin sets end too early, and one
// that is ahead would poison the ledger. skew is how far the CA's clock is ahead of
// ours, if the CA was asked; else what is on record has to do.
func CheckClock(in Input, skew time.Duration, known bool) error {
	latest := Latest(in)
	switch {
	case known && skew > clockTolerance:
		return fmt.Errorf("this machine's clock is %s behind the CA's: set it right; until then nothing is published or confirmed, since pin sets would seem to end too early", apart(skew))
	case known && skew < -clockTolerance:
		return fmt.Errorf("this machine's clock is %s ahead of the CA's: set it right; until then nothing is published or confirmed", apart(skew))
	case !known && in.Now.Before(latest.Add(-clockTolerance)):
		return fmt.Errorf("this machine's clock says %s, but something on record happened at %s: set it right; until then nothing is published or confirmed, since pin sets would seem to end too early", stamp(in.Now), stamp(latest))
	}
	return nil
}

// CheckSwitch is the last word on a switch of keys: the gate must be open by this
// machine's clock and, should that be ahead, by the CA's.
func CheckSwitch(in Input, key pinset.Pin, skew time.Duration) error {
	by := ""
	if skew < -clockTolerance {
		in.Now = in.Now.Add(skew)
		by = fmt.Sprintf(" by the CA's clock (this machine's is %s ahead of it: set it right)", apart(skew))
	}
	if v := Gate(in, key); !v.Open {
		return fmt.Errorf("the key is not switched, since the gate is %s%s", TellGate(in.Config.Name, v), by)
	}
	return nil
}

func apart(skew time.Duration) string { return config.FormatDuration(skew.Abs().Round(time.Minute)) }

// Latest is the latest time that is on record: nothing happened after it.
func Latest(in Input) time.Time {
	var t time.Time
	if e, ok := in.Ledger.Last(); ok {
		t = e.At
	}
	if s := in.State; s != nil {
		for _, other := range []time.Time{s.Begun, s.Since} {
			if other.After(t) {
				t = other
			}
		}
		if c := s.Certificate; c != nil && c.Obtained.After(t) {
			t = c.Obtained
		}
	}
	return t
}
