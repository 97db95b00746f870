package plan

import (
	"slices"
	"time"
)

// How long a process that lives on leaves a lineage alone.
const (
	// At most: what is on disk may have changed. It is as long as the longest pause before
	// the CA is asked for the renewal window again, so that one look mostly does for both.
	maxWake = maxAskAgain * 5 / 4
	// At most, while nothing is done until a person acts.
	blockedWake = time.Hour
)

// Wake says when a process that lives on should work on a lineage again: when its next
// action is due. What failed and has no back-off of its own, such as a hook, every run of
// keepkey tries at once; here it waits for 1, 2, 4 minutes and so on, up to an hour.
func Wake(in Input) time.Time {
	in.Tried, in.Force, in.Asked = nil, false, false
	p := Next(in)
	wake := in.Now.Add(maxWake)
	if slices.ContainsFunc(p.Problems, func(f Finding) bool { return f.Blocks }) {
		wake = in.Now.Add(blockedWake)
	}
	// Looks come with what they precede, and else once a day.
	actions := slices.DeleteFunc(p.Actions, func(a Action) bool { return a.Kind == Look })
	actions = append(actions, looks(in, false)...)
	if at, ask := askWindowAt(in); ask && at.After(in.Now) { // else it is planned
		actions = append(actions, Action{Kind: AskWindow, At: at})
	}
	for _, a := range actions {
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
