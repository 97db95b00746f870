package daemon

import (
	"math"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"

	"keepkey/plan"
)

// raceDetector says whether the tests were built with it.
var raceDetector bool

// Days of the year that is lived through.
const (
	away, back   = 61, 68   // one CA can't be reached
	restart      = 120      // of the daemon
	stuck, freed = 150, 153 // orders of many certificates hang
)

// rollovers are the days on which keys are switched: after 90 days; again 120 days after a
// pin set with the key that takes over replaced the one without it, when that day was the
// first rollover's; and 90 days later.
var rollovers = []int{90, 210, 300}

// TestAYearOfAThousandCertificates lets a daemon live for a year, which takes seconds: with
// CAs that say when to renew and others that don't, lifetimes of 90, 45 and 6 days, a CA
// that is slow and one that is away for a week, orders that hang for days, rollovers by a
// schedule, and a restart. fleet_test.go has that world, and holds each order to its time.
func TestAYearOfAThousandCertificates(t *testing.T) {
	t.Parallel()
	size, days := 1000, 365
	switch {
	case raceDetector:
		size, days = 60, 130
	case testing.Short():
		size, days = 100, 160
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // most of what it makes is garbage at once
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, size, []*imaginedCA{
			{name: "windows", lifetime: 90 * day, windows: true, again: day, takes: 10 * time.Second, of: 25, rollovers: true, stuck: 20 * size / 1000},
			{name: "shorter", lifetime: 45 * day, windows: true, again: day, takes: 5 * time.Second, of: 20},
			{name: "slow", lifetime: 45 * day, windows: true, again: 12 * time.Hour, takes: 10 * time.Minute, of: 5},
			{name: "plain", lifetime: 90 * day, takes: 2 * time.Second, of: 25, rollovers: true},
			{name: "brief", lifetime: 6 * day, takes: time.Second, of: 10},
			{name: "away", lifetime: 90 * day, takes: time.Second, of: 15, away: true},
		})
		f.live(restart)
		f.live(days)
		f.moments()
		f.lateness()
		f.amount(days)
	})
}

// chance is how many of something that happens at random happen in the busiest hour of a
// year, when this many do in the mean.
func chance(mean float64) int { return int(mean + 5*math.Sqrt(mean) + 3) }

// moments sees that no hour gets more renewals than chance gives it, although the
// certificates of a CA were all obtained together: the mean is that of a time in which all
// of them are renewed once, the two days of their windows or their own part of the lifetime.
func (f *fleet) moments() {
	perHour := make(map[*imaginedCA]map[int]int)
	for _, o := range f.orders {
		if o.again || o.of.hangs || o.kind != plan.Obtain {
			continue // the CA, or a person, wants these all at once
		}
		if perHour[o.of.ca] == nil {
			perHour[o.of.ca] = make(map[int]int)
		}
		perHour[o.of.ca][int(o.at.Sub(f.began)/time.Hour)]++
	}
	for ca, hours := range perHour {
		span := ca.lifetime / 36
		if ca.windows {
			span = 2 * day
		}
		renewals, busiest := 0, 0
		for _, n := range hours {
			renewals += n
			busiest = max(busiest, n)
		}
		mean := float64(ca.size) / span.Hours()
		f.t.Logf("%s: %d certificates were renewed %d times, %d of these in the busiest hour; one time each takes %.1f in an hour", ca.name, ca.size, renewals, busiest, mean)
		if busiest > chance(mean) {
			f.t.Errorf("%s: %d renewals in one hour, want at most %d", ca.name, busiest, chance(mean))
		}
	}
}

// lateness sees that nothing waits for what hangs, but when all of that begins to hang at
// once; and that what failed is tried again soon after the CA is back.
func (f *fleet) lateness() {
	full := orderTime * time.Duration((len(f.lineages)/50+f.limit-1)/f.limit) // until each was tried once
	for _, o := range f.orders {
		switch {
		case !o.again && !o.of.hangs && o.late > time.Minute:
			if began := f.at(stuck); o.of.ca.stuck == 0 || o.at.Before(began) || o.at.After(began.Add(full+time.Minute)) {
				f.t.Errorf("%s was late by %s at %s", o.of.name, o.late, o.at)
			}
		case o.again && o.of.ca.away && o.at.After(f.at(back).Add(31*time.Hour)), o.again && o.of.hangs && o.at.After(f.at(freed).Add(31*time.Hour)):
			f.t.Errorf("%s was tried again at %s", o.of.name, o.at)
		}
	}
}

// amount sees that all was done, and no more: no certificate is looked at often while
// nothing is due for it, nor all of them at the same time.
func (f *fleet) amount(days int) {
	works := 0
	for _, l := range f.lineages {
		works += l.works
		if least := days * int(day) / int(l.ca.lifetime*3/4); l.in.State.Certificate.Version < least {
			f.t.Errorf("%s was renewed %d times, want %d", l.name, l.in.State.Certificate.Version, least)
		}
		if asked := int(day / (l.ca.again + 1)); l.ca.windows && l.works < asked*days*3/4 {
			f.t.Errorf("%s was worked on %d times in %d days, and the CA wanted to be asked every %s", l.name, l.works, days, l.ca.again)
		}
		want := 0
		for _, on := range rollovers {
			if l.in.Goal.RolloverEvery > 0 && on < days {
				want++
			}
		}
		if l.rollovers != want {
			f.t.Errorf("%s had %d rollovers, want %d", l.name, l.rollovers, want)
		}
		most := 3
		if l.ca.windows {
			most = max(most, int(day/l.ca.again)+2)
		}
		if l.works > most*days {
			f.t.Errorf("%s was worked on %d times in %d days", l.name, l.works, days)
		}
	}
	f.t.Logf("%d certificates were worked on %d times", len(f.lineages), works)
	f.spread("what is served was looked at", f.looks, days)
	f.spread("nothing was due but upkeep", f.quiet, days)
}

// spread sees that what is done day after day is not done in the same hour for all, once
// those that began together had some time to drift apart.
func (f *fleet) spread(what string, times []time.Time, days int) {
	perHour, busiest := make(map[int]int), 0
	for _, at := range times {
		settled := at.After(f.at(30)) && (at.Before(f.at(restart)) || at.After(f.at(restart+30)))
		if hour := int(at.Sub(f.began) / time.Hour); settled {
			perHour[hour]++
			busiest = max(busiest, perHour[hour])
		}
	}
	mean := float64(len(times)) / float64(24*days)
	f.t.Logf("%s %d times, %.1f times in an hour, and %d in the busiest", what, len(times), mean, busiest)
	// Not all of that is chance: what was renewed on the same day is asked about together.
	if most := chance(mean) * 3 / 2; busiest > most {
		f.t.Errorf("%s: %d times in one hour, want at most %d", what, busiest, most)
	}
}
