package plan

import (
	"fmt"
	"slices"

	"keepkey/pinset"
)

// Adoption is how to go on from what is out there, where the state is from an old backup
// and no newer one is left.
type Adoption struct {
	Active pinset.Pin // the key that is served, or that clients accept
	// Version is greater than any that is known: under it each channel counts as having an
	// unknown pin set, of which all that is known is that it has the active key's pin.
	Version int
	Reasons []string // for people
}

// Served is a key that was seen at an address.
type Served struct {
	Addr string
	Pin  pinset.Pin
}

// Evidence is what shows which key is the active one.
type Evidence struct {
	Sightings map[string][]Sighting // what clients get, by channel
	Served    []Served
	// Installed is the key of the certificate that is live, where that is newer than the state.
	Installed pinset.Pin
	// Chosen is the key that a person named, whatever the rest shows.
	Chosen pinset.Pin
}

// unseenVersions is how many versions may have been published since an old backup, where no
// channel shows it: clients may refuse a version that is lower than the one they have.
const unseenVersions = 1000

// Adopt concludes which key of this lineage is the active one by now. It is one of
// in.Disk.Keys, whether or not the state knows it. Where nothing shows it, or where it is a
// key that is not here, the error is a [*Refusal].
func Adopt(in Input, e Evidence) (Adoption, error) {
	a, candidates := Adoption{Version: in.Ledger.Newest().Version}, in.candidates()
	no := func(f Finding) (Adoption, error) { return Adoption{}, refuse(in.Goal.Name, f) }
	if len(in.seen(StateOutdated, PublicationNewer, ServedKeyUnknown)) == 0 && in.Disk.Live <= in.State.NewestVersion() {
		return no(Finding{Code: NothingToAdopt})
	}
	newest := make(map[string]Sighting)
	for channel, all := range e.Sightings {
		for _, s := range all {
			a.Version = max(a.Version, s.Version)
			if len(s.Pins) > 0 && (s.Lineage == "" || s.Lineage == in.Goal.Name) && s.Version >= newest[channel].Version {
				newest[channel] = s
			}
		}
	}
	a.Version++
	if len(newest)+len(e.Served) == 0 && e.Chosen.IsZero() {
		return no(Finding{Code: NothingSeen, Pins: candidates})
	}
	if len(newest) == 0 {
		a.Version += unseenVersions
	}
	here := func(pin pinset.Pin) bool {
		k := in.State.key(pin)
		return slices.Contains(in.Disk.Keys, pin) && (k == nil || k.Role != Compromised)
	}
	a.Active = e.Chosen
	switch {
	case e.Chosen.IsZero():
	case !here(e.Chosen):
		return no(Finding{Code: NoSuchKey, Pin: e.Chosen})
	default:
		a.Reasons = append(a.Reasons, fmt.Sprintf("the key %s is the one that you chose", e.Chosen))
	}
	for _, s := range e.Served {
		if e.Chosen.IsZero() && (!here(s.Pin) || (!a.Active.IsZero() && a.Active != s.Pin)) {
			return no(Finding{Code: ServedKeyNotHere, Target: s.Addr, Pin: s.Pin, Pins: candidates})
		}
		if e.Chosen.IsZero() {
			a.Active = s.Pin
		}
		a.Reasons = append(a.Reasons, fmt.Sprintf("%s serves the key %s", s.Addr, s.Pin))
	}
	accepted := func(pin pinset.Pin) bool {
		for _, s := range newest {
			if !slices.Contains(s.Pins, pin) {
				return false
			}
		}
		return true
	}
	if a.Active.IsZero() && here(e.Installed) {
		a.Active = e.Installed
		a.Reasons = append(a.Reasons, fmt.Sprintf("certificate version %d, which is installed and newer than the state, has the key %s", in.Disk.Live, e.Installed))
	}
	switch {
	case a.Active.IsZero():
		i := slices.IndexFunc(candidates, func(pin pinset.Pin) bool { return here(pin) && accepted(pin) })
		if i < 0 {
			return no(Finding{Code: NoKeyAccepted, Pins: candidates})
		}
		a.Active = candidates[i]
		a.Reasons = append(a.Reasons, fmt.Sprintf("the key %s is in every pin set that clients get", a.Active))
	case !accepted(a.Active):
		a.Reasons = append(a.Reasons, "some clients get a pin set without it, and are locked out until they get the next one, which has it")
	}
	for _, ch := range in.Goal.Channels {
		if s, seen := newest[ch.Name]; seen {
			a.Reasons = append(a.Reasons, fmt.Sprintf("channel %s has version %d of the pin set, and the ledger knows of %d", ch.Name, s.Version, in.Ledger.Newest().Version))
		}
	}
	return a, nil
}

// candidates returns the keys that may be active by now, the likeliest first: so that none
// is switched without need, the one that was active. Those that the state does not know were
// made after it.
func (in Input) candidates() []pinset.Pin {
	var pins []pinset.Pin
	if active := in.State.Active(); active != nil {
		pins = append(pins, active.Pin)
	}
	for _, k := range in.State.Backups() {
		pins = append(pins, k.Pin)
	}
	for _, pin := range in.Disk.Keys {
		if in.State.key(pin) == nil {
			pins = append(pins, pin)
		}
	}
	return pins
}

// adopt has the key that is served be the active one, as it is out there. a.Version is that
// of the certificate that is installed.
func (s *State) adopt(a Action, r Result) error {
	from := s.Active()
	if from == nil {
		return s.refuse(Finding{Code: NoSuchKey, Pin: a.Pin})
	}
	pending := s.Pending()
	compromised := pending != nil && pending.Compromised
	stored, switched := s.NewestVersion(), a.Pin != from.Pin
	switch {
	case switched:
		s.adoptKey(from.Pin, compromised, a, r)
	case !compromised:
		s.Rollover = nil
	}
	if !switched && a.Version <= stored {
		return nil
	}
	s.Stored = max(stored, a.Version)
	s.Certificate, s.Window = nil, nil // that was the old key's, or is not the newest
	return nil
}

// adoptKey puts on record that another key than from is the active one. Servers may not have
// left that yet: it is a switch like any other, but for the gate.
func (s *State) adoptKey(from pinset.Pin, compromised bool, a Action, r Result) {
	if s.key(a.Pin) == nil { // it was made after the backup
		s.Keys = append(s.Keys, Key{Pin: a.Pin, Type: a.KeyType, Digest: r.Digest, Created: r.At})
	}
	s.Rollover = &Rollover{From: from, To: a.Pin, Asked: r.At, Switched: r.At, Compromised: compromised}
	s.Since = r.At
	s.key(a.Pin).Role, s.key(from).Role = Active, Retired
	if compromised {
		s.key(from).Role = Compromised
	}
}
