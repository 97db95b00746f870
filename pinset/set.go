package pinset

// Set is a pin set: what clients are told to accept. Versions of a lineage's
// pin sets only ever grow. The first pin is the active key's.
type Set struct {
	Version int   `json:"version"`
	Pins    []Pin `json:"pins"`
}

// FormatJSON is the format of keepkey's own pin set documents, for apps that
// fetch them.
const FormatJSON = "json"

// Formats returns the formats in which a pin set can be written, in the order in
// which messages list them. Package format writes them.
func Formats() []string { return []string{FormatJSON} }
