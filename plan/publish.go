package plan

import (
	"maps"
	"slices"

	"keepkey/pinset"
)

// publications returns what channels lack of the wanted pin set.
func publications(in Input) []Action {
	if in.Disk.LedgerProblem != nil || compromisedInUse(in) || len(in.State.Pins()) == 0 {
		return nil // an intent could not be put on record, or there is nothing to publish
	}
	var actions []Action
	want := in.State.WantedPinSet(in.Ledger)
	for _, ch := range in.Goal.Channels {
		if a, needed := publication(in, ch, want); needed {
			actions = append(actions, a)
		}
	}
	return actions
}

func publication(in Input, ch Channel, want pinset.Set) (Action, bool) {
	newest, known := in.Ledger.Channel(ch.Name)
	progress := in.State.Channels[ch.Name]
	outstanding := progress.Version != want.Version || len(Outstanding(ch.Hooks, progress.Done)) > 0
	if known && newest.Version == want.Version && !outstanding && newest.Confirmed.IsZero() && ch.ReadBack {
		a := Action{Kind: ReadBack, Channel: ch.Name, PinSet: want, Why: Why{Code: WhyNotReadBack}}
		if f, fails := in.failure(a); fails && f.Next.After(in.Now) && !in.Force {
			a.At = f.Next
		}
		return a, true
	}
	a := Action{
		Kind: Publish, Channel: ch.Name, PinSet: want, Intended: known && newest.Version == want.Version,
		Confirms: !ch.Manual && !ch.ReadBack && (newest.Version != want.Version || newest.Confirmed.IsZero()),
		Lifetime: ch.Lifetime,
	}
	if a.Intended {
		a.Expires = newest.Expires
	} else if ch.Expires > 0 {
		a.Expires = in.Now.Add(ch.Expires)
	}
	switch {
	case !known:
		a.Why = Why{Code: WhyNeverPublished}
	case newest.Version != want.Version:
		a.Why = Why{Code: WhyOutdatedPinSet, Have: newest.Version}
	case outstanding && !newest.Confirmed.IsZero():
		a.Why = Why{Code: WhyHookAdded}
	case outstanding, newest.Confirmed.IsZero() && !ch.Manual:
		a.Why = Why{Code: WhyUnfinished, Have: newest.Version}
	default:
		return Action{}, false
	}
	return a, true
}

// Gate says whether a key may be served now. A ledger that is damaged, or lacks
// what the state knows of, keeps it closed.
func Gate(in Input, key pinset.Pin) pinset.Verdict {
	if in.Disk.LedgerProblem != nil {
		return pinset.Verdict{}
	}
	return in.Ledger.Gate(key, in.Goal.Lifetimes(), in.Now)
}

// ledgerProblems finds what keeps the ledger from being the whole truth.
func ledgerProblems(in Input) []Finding {
	if err := in.Disk.LedgerProblem; err != nil {
		return []Finding{{Code: LedgerDamaged, Err: err}}
	}
	var problems []Finding
	for _, p := range in.Ledger.Published() {
		if _, configured := in.Goal.Channel(p.Channel); configured || !p.Enforced(pinset.Lifetime{}, in.Now) {
			continue
		}
		problems = append(problems, Finding{Code: ChannelRemoved, Channel: p.Channel, Version: p.Version})
	}
	return problems
}

// Restart returns the entries of a new ledger for a lineage whose ledger is lost for
// good. What clients hold is not known any more, but for one thing: they accept the
// active key, or the promise was broken before. So each channel counts as having an
// unknown pin set with that key alone, until a newer one is confirmed there and a
// lifetime has passed.
func Restart(in Input) []pinset.Entry {
	var entries []pinset.Entry
	for _, name := range slices.Sorted(maps.Keys(in.State.Channels)) {
		lifetime := pinset.Lifetime{Forever: true} // of a channel that is not configured: a person has to say when it is over
		if ch, configured := in.Goal.Channel(name); configured {
			lifetime = ch.Lifetime
		}
		entries = append(entries, pinset.Entry{
			At: in.Now, Kind: pinset.Unknown, Channel: name, Version: in.State.Channels[name].Version,
			Pins: []pinset.Pin{in.State.Active().Pin}, Lifetime: &lifetime, By: pinset.ByPerson,
		})
	}
	return entries
}
