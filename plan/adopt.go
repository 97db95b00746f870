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

// Adopt concludes from what clients get and what is served which key of this lineage is the
// active one by now. Where nothing shows it, or where it is a key that is not here, the
// error is a [*Refusal].
func Adopt(in Input, sightings map[string][]Sighting, served []Served) (Adoption, error) {
	a := Adoption{Version: in.Ledger.Newest().Version}
	no := func(f Finding) (Adoption, error) { return Adoption{}, refuse(in.Goal.Name, f) }
	newest := make(map[string]Sighting)
	for channel, all := range sightings {
		for _, s := range all {
			a.Version = max(a.Version, s.Version)
			if len(s.Pins) > 0 && (s.Lineage == "" || s.Lineage == in.Goal.Name) && s.Version >= newest[channel].Version {
				newest[channel] = s
			}
		}
	}
	a.Version++
	if len(newest)+len(served) == 0 {
		return no(Finding{Code: NothingSeen})
	}
	here := func(pin pinset.Pin) bool {
		k := in.State.key(pin)
		return k != nil && k.Role != Compromised && in.Disk.KeyProblems[pin] == nil
	}
	for _, s := range served {
		if !here(s.Pin) || (!a.Active.IsZero() && a.Active != s.Pin) {
			return no(Finding{Code: ServedKeyUnknown, Target: s.Addr, Pin: s.Pin})
		}
		a.Active = s.Pin
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
	if a.Active.IsZero() {
		for _, k := range in.State.Keys { // the active one first, then backups in their order
			better := a.Active.IsZero() || k.Role == Active
			if (k.Role == Active || k.Role == Backup) && here(k.Pin) && accepted(k.Pin) && better {
				a.Active = k.Pin
			}
		}
		if a.Active.IsZero() {
			return no(Finding{Code: NoKeyAccepted})
		}
		a.Reasons = append(a.Reasons, fmt.Sprintf("the key %s is in every pin set that clients get", a.Active))
	} else if !accepted(a.Active) {
		a.Reasons = append(a.Reasons, "some clients get a pin set without it; the next one has it")
	}
	for _, ch := range in.Goal.Channels {
		if s, seen := newest[ch.Name]; seen {
			a.Reasons = append(a.Reasons, fmt.Sprintf("channel %s has version %d of the pin set, and the ledger knows of %d", ch.Name, s.Version, in.Ledger.Newest().Version))
		}
	}
	return a, nil
}

// adopt has the key that is served be the active one, as it is out there.
func (s *State) adopt(pin pinset.Pin) error {
	to, from := s.key(pin), s.Active()
	if to == nil || from == nil {
		return s.refuse(Finding{Code: NoSuchKey, Pin: pin})
	}
	s.Rollover = nil
	if to.Pin == from.Pin {
		return nil
	}
	s.key(from.Pin).Role, to.Role = Retired, Active
	s.Stored = s.newestVersion()
	s.Certificate, s.Window = nil, nil // that was the old key's
	return nil
}
