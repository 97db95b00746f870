package keystore

import (
	"encoding/json"
	"time"

	"keepkey/internal/durable"
)

// Pause is a time for which a CA asked an account to leave it alone (RFC 8555 section
// 6.6).
type Pause struct {
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
	// Identifiers are the names that it is about; empty for all that the account does.
	Identifiers []string `json:"identifiers,omitempty"`
	Reason      string   `json:"reason"`
}

type pausesFile struct {
	Schema int     `json:"schema"`
	Pauses []Pause `json:"pauses"`
}

// maxPauses bounds the file. With more, the oldest are forgotten: the CA says it again.
const maxPauses = 200

// Pauses returns what is on record. A damaged or missing record reads as none: the CA
// says it again.
func (a *Account) Pauses() []Pause {
	data, err := readRecord(a.pausesPath(), maxFile)
	if err != nil {
		return nil
	}
	var f pausesFile
	if json.Unmarshal(data, &f) != nil || f.Schema != 1 {
		return nil
	}
	return f.Pauses
}

// SavePauses puts all pauses on record, in the place of those before.
func (a *Account) SavePauses(pauses []Pause) error {
	if err := a.ensure(); err != nil {
		return err
	}
	pauses = pauses[max(0, len(pauses)-maxPauses):]
	data, err := json.MarshalIndent(pausesFile{Schema: 1, Pauses: pauses}, "", "  ")
	if err != nil {
		return err
	}
	return a.store.wrote(durable.Replace(a.pausesPath(), append(data, '\n'), secret))
}

func (a *Account) pausesPath() string { return a.dir + "/pauses.json" }
