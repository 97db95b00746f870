package pinset

import "slices"

// Set is a pin set: what clients are told to accept. Versions of a lineage's
// pin sets only ever grow. The order of the pins means nothing.
type Set struct {
	Version int   `json:"version"`
	Pins    []Pin `json:"pins"`
}

// Equal reports whether two pin sets have the same version and the same pins, in
// whatever order.
func (s Set) Equal(o Set) bool {
	lacks := func(pins []Pin) func(Pin) bool {
		return func(p Pin) bool { return !slices.Contains(pins, p) }
	}
	return s.Version == o.Version &&
		!slices.ContainsFunc(s.Pins, lacks(o.Pins)) && !slices.ContainsFunc(o.Pins, lacks(s.Pins))
}

// FormatJSON is the format of keepkey's own pin set documents, for apps that
// fetch them.
const FormatJSON = "json"

// Formats returns the formats in which a pin set can be written, in the order in
// which messages list them. Package format writes them.
func Formats() []string { return []string{FormatJSON} }
