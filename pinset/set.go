package pinset

import "slices"

// Set is a pin set: what clients are told to accept. Versions of a lineage's
// pin sets only ever grow. The order of the pins means nothing.
type Set struct {
	Version int   `json:"version"`
	Pins    []Pin `json:"pins"`
}

// Equal reports whether two pin sets have the same version and the [SamePins].
func (s Set) Equal(o Set) bool { return s.Version == o.Version && SamePins(s.Pins, o.Pins) }

// SamePins reports whether a client that accepts the pins in a accepts exactly those
// in b: order and repetition mean nothing.
func SamePins(a, b []Pin) bool {
	lackedBy := func(pins []Pin) func(Pin) bool {
		return func(p Pin) bool { return !slices.Contains(pins, p) }
	}
	return !slices.ContainsFunc(a, lackedBy(b)) && !slices.ContainsFunc(b, lackedBy(a))
}
