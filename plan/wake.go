package plan

import (
	"slices"
	"time"
)

// How long a process that lives on leaves a lineage alone.
const (
	maxWake     = 24 * time.Hour // at most: what is on disk may have changed
	blockedWake = time.Hour      // at most, while nothing is done until a person acts
)

// Wake says when a process that lives on should work on a lineage again: when its next
// action is due. What failed and has no back-off of its own, such as a hook, every run of
// keepkey tries at once; here it waits for 1, 2, 4 minutes and so on, up to an hour.
func Wake(in Input) time.Time {
	in.Tried, in.Force, in.Asked = nil, false, false
	p := Next(in)
	wake := in.Now.Add(maxWake - share(in.Goal.Name, maxWake/8))
	if slices.ContainsFunc(p.Problems, func(f Finding) bool { return f.Blocks }) {
		wake = in.Now.Add(blockedWake)
	}
	// Looks come with what they precede, and else once a day.
	actions := slices.DeleteFunc(p.Actions, func(a Action) bool { return a.Kind == Look })
	for _, a := range append(actions, looks(in, false)...) {
		at := a.At
		if f, fails := in.failure(a); fails {
			if retry := f.Last.Add(Doubling(f.Count)); at.Before(retry) {
				at = retry
			}
		}
		if at.Before(wake) {
			wake = at
		}
	}
	return wake
}
