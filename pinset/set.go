package pinset

// Set is a pin set: what clients are told to accept. Versions of a lineage's
// pin sets only ever grow. The first pin is the active key's.
type Set struct {
	Version int   `json:"version"`
	Pins    []Pin `json:"pins"`
}
