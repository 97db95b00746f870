package plan

import (
	"maps"
	"slices"

	"keepkey/pinset"
)

// Said says whether a person may put something on record: that a pin set is out
// ([Confirm]), that no client carries it any more ([Retire]), or that a host is gone
// ([ForgetHost]). done reports that it is on record already. The error is a
// [*Refusal].
func Said(in Input, a Action) (done bool, err error) {
	if a.Kind == ForgetHost {
		return false, forgettable(in, a)
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
	_, configured := in.Goal.Channel(a.Channel)
	switch {
	case len(versions) == 0:
		return false, refuse(in.Goal.Name, Finding{Code: NothingPublished, Channel: a.Channel})
	case found == nil:
		return false, refuse(in.Goal.Name, Finding{Code: NoSuchVersion, Channel: a.Channel, Version: a.Version, Versions: versions})
	case a.Kind == Confirm && !found.Confirmed.IsZero(), a.Kind == Retire && found.Retired:
		return true, nil
	case a.Kind == Retire && configured && a.Version == newest.Version:
		return false, refuse(in.Goal.Name, Finding{Code: NewestVersion, Channel: a.Channel, Version: a.Version})
	}
	return false, nil
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
