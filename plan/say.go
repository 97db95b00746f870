package plan

import (
	"maps"
	"slices"

	"keepkey/pinset"
)

// Said says whether a person may put something on record: that a pin set is out
// ([Confirm]), that no client carries it any more ([Retire]), that clients get nothing more
// from a place ([ClosePlace]), or that a host is gone ([ForgetHost]). done reports that it is on record already. The error is a
// [*Refusal].
func Said(in Input, a Action) (done bool, err error) {
	switch a.Kind {
	case ForgetHost:
		return false, forgettable(in, a)
	case ClosePlace:
		return closable(in, a)
	}
	var found *pinset.Published
	var versions []int
	for _, p := range in.Ledger.Published() {
		if p.Channel == a.Channel {
			versions = append(versions, p.Version)
			if p.Version == a.Version {
				found = &p
			}
		}
	}
	newest, _ := in.Ledger.Channel(a.Channel)
	ch, configured := in.Goal.Channel(a.Channel)
	out := 0 // the newest version that is out
	for _, p := range in.Ledger.Published() {
		if p.Channel == a.Channel && !p.Confirmed.IsZero() {
			out = max(out, p.Version)
		}
	}
	switch {
	case len(versions) == 0:
		return false, refuse(in.Goal.Name, Finding{Code: NothingPublished, Channel: a.Channel})
	case found == nil:
		return false, refuse(in.Goal.Name, Finding{Code: NoSuchVersion, Channel: a.Channel, Version: a.Version, Versions: versions})
	case a.Kind == Confirm && !(configured && ch.Manual):
		return false, refuse(in.Goal.Name, Finding{Code: NotManual, Channel: a.Channel, Version: a.Version})
	case a.Kind == Confirm && !found.Confirmed.IsZero(), a.Kind == Retire && found.Retired:
		return true, nil
	case a.Kind == Retire && configured && a.Version == newest.Version:
		return false, refuse(in.Goal.Name, Finding{Code: NewestVersion, Channel: a.Channel, Version: a.Version})
	case a.Kind == Retire && configured && a.Version == out:
		return false, refuse(in.Goal.Name, Finding{Code: NewestOut, Channel: a.Channel, Version: a.Version, Versions: []int{newest.Version}})
	}
	return false, nil
}

// closable says whether a person may say that clients get nothing more from a place.
func closable(in Input, a Action) (done bool, err error) {
	var places []pinset.Place
	left := false
	for _, p := range in.Ledger.Published() {
		if p.Channel != a.Channel {
			continue
		}
		places = append(places, lacking(pinset.Published{Places: places}, p.Places)...)
		left = left || slices.ContainsFunc(p.Left, func(place pinset.Place) bool { return place.ID == a.Target })
	}
	ch, _ := in.Goal.Channel(a.Channel)
	switch {
	case !(pinset.Published{Places: places}).Went(a.Target):
		return false, refuse(in.Goal.Name, Finding{Code: NoSuchPlace, Channel: a.Channel, Target: a.Target, Places: places})
	case slices.Contains(ch.hooks(), a.Target):
		return false, refuse(in.Goal.Name, Finding{Code: PlaceInUse, Channel: a.Channel, Target: a.Target, Places: placed(places, a.Target)})
	}
	return !left, nil
}

// placed returns the place with an ID.
func placed(places []pinset.Place, id string) []pinset.Place {
	return slices.DeleteFunc(places, func(p pinset.Place) bool { return p.ID != id })
}

func forgettable(in Input, a Action) error {
	if _, known := in.State.Hosts[a.Host]; !known {
		return refuse(in.Goal.Name, Finding{Code: NoSuchHost, Target: a.Host, Hosts: slices.Sorted(maps.Keys(in.State.Hosts))})
	}
	if a.Host == in.Host {
		return refuse(in.Goal.Name, Finding{Code: ThisHost, Target: a.Host})
	}
	return nil
}
