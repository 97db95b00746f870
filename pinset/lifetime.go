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
	seconds := (l.Duration + time.Second - 1) / time.Second // rounded up, never down
	return []byte(strconv.FormatInt(int64(seconds), 10) + "s"), nil
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
		return fmt.Errorf("%q is not a lifetime: want forever, or seconds such as 2592000s", text)
	}
	*l = Lifetime{Duration: time.Duration(seconds) * time.Second}
	return nil
}

// maxLifetime is in seconds: a century, so that no sum of a time and a lifetime
// overflows.
const maxLifetime = 100 * 366 * 24 * 3600
