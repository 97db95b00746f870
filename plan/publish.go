package plan

import (
	"maps"
	"slices"
	"time"

	"keepkey/pinset"
)

// publications returns what channels lack of the wanted pin set.
func publications(in Input) []Action {
	if in.Disk.LedgerProblem != nil || compromisedInUse(in) || len(in.State.Pins()) == 0 {
		return nil // an intent could not be put on record, or there is nothing to publish
	}
	if len(in.seen(PublicationNewer)) > 0 {
		return nil // a version of ours would get a number that is taken
	}
	var actions []Action
	want := Wanted(in)
	for _, ch := range in.Goal.Channels {
		if f, fails := in.failure(Action{Kind: Look, Channel: ch.Name}); fails && slices.Contains(holdBack, f.Code) {
			continue
		}
		if a, needed := publication(in, ch, want); needed {
			actions = append(actions, a)
		}
	}
	return actions
}

func publication(in Input, ch Channel, want pinset.Set) (Action, bool) {
	newest, known := in.Ledger.Channel(ch.Name)
	progress := in.State.Channels[ch.Name]
	current := known && newest.Version == want.Version
	by, open := ch.confirmation(), !current || newest.Confirmed.IsZero()
	// Nothing counts as out because the configuration was changed: what was to be
	// confirmed in another way is published once more.
	again := current && open && progress.By != "" && progress.By != by
	places := in.places(ch)
	if current {
		places = lacking(newest, places)
	}
	if current && len(newest.Places) == 0 && progress.By != ByPerson {
		places = nil // it is from the time when places were not on record
	}
	outstanding := again || progress.Version != want.Version || len(Outstanding(ch.hooks(), progress.Done)) > 0 || len(places) > 0
	if current && !outstanding && open && by == ByReadBack {
		a := Action{Kind: ReadBack, Channel: ch.Name, PinSet: want, Why: Why{Code: WhyNotReadBack}}
		a.At, _, _ = in.retries(a)
		return a, true
	}
	a := Action{
		Kind: Publish, Channel: ch.Name, PinSet: want, Intended: current, Again: again,
		By: by, Confirms: by == ByHooks && (open || len(places) > 0), Clients: ch.Clients, Places: places,
	}
	if a.Intended {
		a.Expires = newest.Expires
	} else if ch.Expires > 0 {
		a.Expires = in.Now.Add(ch.Expires)
	}
	switch {
	case !known:
		a.Why = Why{Code: WhyNeverPublished}
	case !current:
		a.Why = Why{Code: WhyOutdatedPinSet, Have: newest.Version}
	case again:
		a.Why = Why{Code: WhyOtherConfirmation}
	case outstanding && !open:
		a.Why = Why{Code: WhyHookAdded}
	case outstanding, open && by == ByHooks:
		a.Why = Why{Code: WhyUnfinished, Have: newest.Version}
	default:
		return Action{}, false
	}
	return a, true
}

// places returns where clients get pin sets of a channel. Where a person says what is out,
// that is nowhere that keepkey knows of, unless it was otherwise once.
func (in Input) places(ch Channel) []pinset.Place {
	if !ch.Manual {
		return ch.Publish
	}
	return slices.DeleteFunc(slices.Clone(ch.Publish), func(place pinset.Place) bool {
		return !slices.ContainsFunc(in.Ledger.Published(), func(p pinset.Published) bool { return p.Channel == ch.Name && p.Went(place.ID) })
	})
}

// lacking returns the places at which a pin set is not on record.
func lacking(p pinset.Published, places []pinset.Place) []pinset.Place {
	return slices.DeleteFunc(slices.Clone(places), func(place pinset.Place) bool { return p.Went(place.ID) })
}

// Wanted returns the pin set that every channel should carry: the newest in the ledger if
// its pins are still right, else its successor. A channel that was retired, and is
// configured again, needs a new one, too: the old one counts no more.
func Wanted(in Input) pinset.Set {
	newest := in.Ledger.Newest()
	want := pinset.Set{Version: newest.Version, Pins: in.State.Pins()}
	back := slices.ContainsFunc(in.Goal.Channels, func(ch Channel) bool {
		last, _ := in.Ledger.Channel(ch.Name)
		return last.Retired && last.Version == newest.Version
	})
	if want.Version > 0 && want.Equal(newest) && !back {
		return newest
	}
	want.Version++
	return want
}

// Verdict is the gate's answer for a key.
type Verdict struct {
	pinset.Verdict
	// Shut says what keeps the gate closed, whatever the pin sets say.
	Shut Code
	// Reported are pin sets that lack the key, and that clients still enforce by their own
	// reports, although the ledger says that nobody does.
	Reported []Reported
	// Channels are those that are configured.
	Channels []Channel
}

// Gate says whether a key may be served now. A ledger that is damaged, or lacks
// what the state knows of, keeps it closed. So does a configuration that says nothing of
// channels: no channel means that nobody knows who pins, not that nobody does. Only who
// accepts that clients are locked out can go on then.
func Gate(in Input, key pinset.Pin) Verdict { return gateAt(in, key, in.Now) }

// gateAt is the gate at a time; what else is known is known now.
func gateAt(in Input, key pinset.Pin, at time.Time) Verdict {
	r := in.State.Pending()
	return gateOf(in, key, at, r != nil && r.Compromised)
}

// EmergencyGate is the gate for a key that is to take over from a compromised one.
func EmergencyGate(in Input, key pinset.Pin) Verdict { return gateOf(in, key, in.Now, true) }

// gateOf is the gate at a time, in an emergency or not: one is a rollover from a compromised key.
//
// What clients report does not close the gate in an emergency, though it is told. Anybody can
// forge a report, and whoever has the key has every reason to: it is theirs for as long as the
// gate is closed. The clients that are at stake hold a pin set of which a person, or its own
// lifetime, said that nobody does; that may be wrong, but a server with a stolen key is worse.
func gateOf(in Input, key pinset.Pin, at time.Time, emergency bool) Verdict {
	if in.Disk.LedgerProblem != nil {
		return Verdict{Shut: LedgerDamaged}
	}
	r := in.State.Pending()
	accepted := r != nil && r.BreakageAccepted && r.To == key
	if len(in.Goal.Channels) == 0 && !in.Goal.NobodyPins && !accepted {
		return Verdict{Shut: ChannelsMissing}
	}
	if code := in.unsettled(emergency); code != "" && !accepted {
		return Verdict{Shut: code}
	}
	if in.Disk.ReportsProblem != nil && !emergency {
		return Verdict{Shut: ReportsDamaged}
	}
	v := Verdict{Verdict: in.Ledger.Gate(key, in.Goal.Clients(), at), Channels: in.Goal.Channels, Reported: in.stillInUse(key, at)}
	if len(v.Reported) > 0 && !emergency {
		v.Open, v.OpensAt = false, time.Time{}
	}
	return v
}

// AnyEnforced returns the pin sets that clients may be enforcing now, as obstacles.
func AnyEnforced(in Input) Verdict {
	noKey := pinset.Pin{} // which is in none
	return Verdict{Verdict: in.Ledger.Gate(noKey, in.Goal.Clients(), in.Now), Channels: in.Goal.Channels}
}

// ledgerProblems finds what keeps the ledger from being the whole truth.
func ledgerProblems(in Input) []Finding {
	if err := in.Disk.LedgerProblem; err != nil {
		return []Finding{{Code: LedgerDamaged, Err: err}}
	}
	var problems []Finding
	for _, p := range in.Ledger.Published() {
		ch, configured := in.Goal.Channel(p.Channel)
		switch {
		case !p.Enforced(ch.Clients, in.Now):
		case !configured:
			problems = append(problems, Finding{Code: ChannelRemoved, Channel: p.Channel, Version: p.Version})
		default:
			for _, place := range lacking(pinset.Published{Places: ch.Publish}, p.Left) {
				problems = append(problems, Finding{Code: PlaceRemoved, Channel: p.Channel, Version: p.Version, Places: []pinset.Place{place}})
			}
		}
	}
	return problems
}

// Restart returns the entries of a new ledger for a lineage whose ledger is lost for
// good. What clients hold is not known any more, but for one thing: they accept the
// active key, or the promise was broken before. So each channel counts as having an
// unknown pin set with that key alone, until a newer one is confirmed there and a
// lifetime has passed. known is what can still be read of the clients in the old one: the
// longest counts.
func Restart(in Input, known map[string]pinset.Clients) []pinset.Entry {
	var entries []pinset.Entry
	for _, name := range slices.Sorted(maps.Keys(in.State.Channels)) {
		// Of a channel that is not configured, a person has to say when it is over.
		clients := pinset.Clients{Lifetime: pinset.Lifetime{Forever: true}}
		if ch, configured := in.Goal.Channel(name); configured {
			clients = ch.Clients.Longer(known[name])
		}
		e := pinset.Entry{
			At: in.Now, Kind: pinset.Unknown, Channel: name, Version: in.State.Channels[name].Version,
			Pins: []pinset.Pin{in.State.Active().Pin}, By: pinset.ByPerson,
		}
		entries = append(entries, *e.WithClients(clients))
	}
	return entries
}
