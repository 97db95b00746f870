package config

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// The units that Go's durations lack.
const (
	day  = 24 * time.Hour
	week = 7 * day
)

var (
	wholeDuration = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(ns|us|µs|μs|ms|s|m|h|d|w))+$`)
	durationTerm  = regexp.MustCompile(`([0-9]+(?:\.[0-9]+)?)(ns|us|µs|μs|ms|s|m|h|d|w)`) // Go takes both signs for micro
)

var errDuration = errors.New(`want a duration such as 90s, 12h, 30d or 1w`)

// ParseDuration reads a duration in Go's units, in d (days of 24 hours) and in w
// (weeks). Negative ones are refused.
func ParseDuration(s string) (time.Duration, error) {
	if s == "0" {
		return 0, nil
	}
	if len(s) > 64 || !wholeDuration.MatchString(s) {
		return 0, errDuration
	}
	var total time.Duration
	for _, term := range durationTerm.FindAllStringSubmatch(s, -1) {
		d, err := parseTerm(term[1], term[2])
		if err != nil || total+d < total {
			return 0, fmt.Errorf("%w: too long", errDuration)
		}
		total += d
	}
	return total, nil
}

func parseTerm(number, unit string) (time.Duration, error) {
	hours, days := map[string]int{"d": 24, "w": 7 * 24}[unit]
	if !days {
		return time.ParseDuration(number + unit)
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || n*float64(hours)*float64(time.Hour) >= 1<<63 {
		return 0, errDuration
	}
	return time.Duration(n * float64(hours) * float64(time.Hour)), nil
}

// FormatDuration writes a duration as [ParseDuration] reads it, in the largest units
// that fit. It never uses weeks: 365d should come back as 365d, and not as 52w1d.
func FormatDuration(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	var b strings.Builder
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{day, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "µs"}, {time.Nanosecond, "ns"}} {
		if n := d / u.unit; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			d -= n * u.unit
		}
	}
	return b.String()
}
