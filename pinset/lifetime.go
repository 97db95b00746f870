package pinset

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Lifetime is how long a client of a channel goes on enforcing a pin set after a
// newer one is out.
type Lifetime struct {
	Forever  bool          // there is no limit: pins compiled into an app
	Duration time.Duration // otherwise
}

// Longer returns the longer of two lifetimes.
func (l Lifetime) Longer(m Lifetime) Lifetime {
	if l.Forever || m.Forever {
		return Lifetime{Forever: true}
	}
	return Lifetime{Duration: max(l.Duration, m.Duration)}
}

// MarshalText writes "forever" or whole seconds, as in "2592000s".
func (l Lifetime) MarshalText() ([]byte, error) {
	if l.Forever {
		return []byte("forever"), nil
	}
	return []byte(strconv.FormatInt(int64(l.wholeSeconds().Duration/time.Second), 10) + "s"), nil
}

// wholeSeconds returns the lifetime as it is written: rounded up, never down.
func (l Lifetime) wholeSeconds() Lifetime {
	if l.Forever {
		return Lifetime{Forever: true}
	}
	if over := l.Duration % time.Second; over > 0 {
		l.Duration += time.Second - over
	}
	return l
}

// valid reports whether what is written can be read again.
func (l Lifetime) valid() bool {
	return l.Forever || (l.Duration >= 0 && l.Duration <= maxLifetime*time.Second)
}

// UnmarshalText reads what [Lifetime.MarshalText] writes.
func (l *Lifetime) UnmarshalText(text []byte) error {
	if string(text) == "forever" {
		*l = Lifetime{Forever: true}
		return nil
	}
	digits, ok := strings.CutSuffix(string(text), "s")
	seconds, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || seconds < 0 || seconds > maxLifetime {
		return fmt.Errorf("%.50q is not a lifetime: want forever, or seconds such as 2592000s", text)
	}
	*l = Lifetime{Duration: time.Duration(seconds) * time.Second}
	return nil
}

// maxLifetime is in seconds. It is a century, so that adding a lifetime to a time
// never overflows.
const maxLifetime = 100 * 366 * 24 * 3600
