package plan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"keepkey/pinset"
)

// Schema is the version of the state document that this keepkey writes.
const Schema = 2

// migration brings a document to the next schema.
type migration func([]byte) ([]byte, error)

// migrations are by the schema that they begin with: a document of schema n passes
// migrations[n], then n+1, until it is of the present one. testdata/state holds a directory
// of each that a release could have written; they must load for ever.
var migrations = map[int]migration{
	1: toSchema(2), // everything that is new may be missing
}

// toSchema changes nothing but the number.
func toSchema(n int) migration {
	return func(data []byte) ([]byte, error) {
		var doc map[string]json.RawMessage
		if err := json.Unmarshal(data, &doc); err != nil {
			return nil, err
		}
		doc["schema"] = json.RawMessage(strconv.Itoa(n))
		return json.Marshal(doc)
	}
}

// NewerSchemaError says that a state was written by a newer keepkey. It is refused
// rather than misread.
type NewerSchemaError struct {
	Schema int    // of the document
	By     string // what wrote it, such as keepkey/v1.2.3, or ""
}

func (e *NewerSchemaError) Error() string {
	by := "a newer keepkey"
	if e.By != "" {
		by = fmt.Sprintf("%.50q", e.By)
	}
	return fmt.Sprintf("written by %s (schema %d, this one reads up to %d): use that version or a newer one", by, e.Schema, Schema)
}

// Marshal writes the state document. by is the version of keepkey that writes it.
func (s State) Marshal(by string) ([]byte, error) {
	return json.Marshal(struct {
		WrittenBy string `json:"written_by,omitempty"`
		State
	}{by, s})
}

// ParseState reads a state document and proves that it makes sense. What does
// not is an error that says so; nothing is repaired or guessed. One that a newer
// keepkey wrote is a [*NewerSchemaError].
func ParseState(lineage string, data []byte) (State, error) {
	return parseState(lineage, data, migrations)
}

func parseState(lineage string, data []byte, migrations map[int]migration) (State, error) {
	s, err := decode(data)
	if err != nil || s.Schema != Schema {
		// Which schema it is of says more than what can't be decoded.
		if data, err = migrated(data, migrations); err != nil {
			return State{}, err
		}
		if s, err = decode(data); err != nil {
			return State{}, err
		}
	}
	if s.Lineage != lineage {
		return State{}, fmt.Errorf("it belongs to %q", s.Lineage)
	}
	return s, s.check()
}

// decode reads a document of the present schema, strictly.
func decode(data []byte) (State, error) {
	var doc struct {
		WrittenBy string `json:"written_by"`
		State
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		return State{}, fmt.Errorf("not a state document: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return State{}, errors.New("not a state document: something follows it")
	}
	return doc.State, nil
}

// migrated brings a document of an older schema to the present one.
func migrated(data []byte, migrations map[int]migration) ([]byte, error) {
	var head struct {
		Schema    int    `json:"schema"`
		WrittenBy string `json:"written_by"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("not a state document: %w", err)
	}
	if head.Schema > Schema {
		return nil, &NewerSchemaError{Schema: head.Schema, By: head.WrittenBy}
	}
	for n := head.Schema; n < Schema; n++ {
		migrate, known := migrations[n]
		if !known {
			return nil, fmt.Errorf("schema %d is not known", head.Schema)
		}
		var err error
		if data, err = migrate(data); err != nil {
			return nil, fmt.Errorf("from schema %d to %d: %w", n, n+1, err)
		}
	}
	return data, nil
}

// check proves that a state makes sense.
func (s *State) check() error {
	if s.Schema != Schema {
		return fmt.Errorf("schema %d is not known", s.Schema)
	}
	if s.Begun.IsZero() {
		return errors.New("it does not say when the lineage began")
	}
	if err := s.checkKeys(); err != nil {
		return err
	}
	if err := s.checkCertificates(); err != nil {
		return err
	}
	for r := s.Rollover; r != nil; r = r.Interrupted {
		if err := s.checkRollover(r); err != nil {
			return err
		}
	}
	if err := checkFailures(s.Failures); err != nil {
		return err
	}
	for name, p := range s.Channels {
		if p.Version < 1 {
			return fmt.Errorf("channel %q carries pin set version %d", name, p.Version)
		}
	}
	for id, h := range s.Hosts {
		if id == "" || h.Installed < 0 || h.Installed > s.NewestVersion() {
			return fmt.Errorf("host %q installed certificate version %d, which makes no sense", id, h.Installed)
		}
		if err := checkFailures(h.Failures); err != nil {
			return err
		}
	}
	return nil
}

// maxFailures is more often than anything can have failed.
const maxFailures = 1 << 30

func checkFailures(failures map[string]Failure) error {
	for purpose, f := range failures {
		if f.Count < 1 || f.Count > maxFailures {
			return fmt.Errorf("it says that %q failed %d times, which makes no sense", purpose, f.Count)
		}
	}
	return nil
}

// NewestVersion is that of the newest certificate on record.
func (s *State) NewestVersion() int {
	if s.Certificate != nil {
		return max(s.Certificate.Version, s.Stored)
	}
	return s.Stored
}

func (s *State) checkKeys() error {
	actives := 0
	for i, k := range s.Keys {
		if k.Pin.IsZero() || s.key(k.Pin) != &s.Keys[i] {
			return fmt.Errorf("the key %s is named twice or has no pin", k.Pin)
		}
		switch k.Role {
		case Active:
			actives++
		case Backup, Retired, Compromised, Lost:
		default:
			return fmt.Errorf("the key %s has the role %q", k.Pin, k.Role)
		}
	}
	if actives > 1 || (actives == 0 && len(s.Keys) > 0) {
		return fmt.Errorf("%d keys are active, want one", actives)
	}
	return nil
}

func (s *State) checkCertificates() error {
	if c := s.Certificate; c != nil {
		if a := s.key(c.Pin); a == nil || a.Role != Active {
			return fmt.Errorf("the certificate's key %s is not the active one", c.Pin)
		}
		if c.Version < 1 || len(c.Domains) == 0 || !c.NotAfter.After(c.NotBefore) {
			return errors.New("its certificate makes no sense")
		}
	}
	if s.Stored < 0 {
		return fmt.Errorf("it names certificate version %d", s.Stored)
	}
	for _, c := range s.Issued {
		if s.key(c.Pin) == nil || c.Version < 1 || c.Serial == "" {
			return fmt.Errorf("it names certificate version %d of the key %s, which makes no sense", c.Version, c.Pin)
		}
	}
	seen := make(map[pinset.Pin]bool, len(s.Orders))
	for _, o := range s.Orders {
		if s.key(o.Pin) == nil || seen[o.Pin] {
			return fmt.Errorf("it has an order for the key %s, which is not there or has two", o.Pin)
		}
		seen[o.Pin] = true
	}
	return nil
}

// checkRollover holds a rollover to the roles of its keys.
func (s *State) checkRollover(r *Rollover) error {
	from, to := s.key(r.From), s.key(r.To)
	if from == nil || to == nil || from == to {
		return errors.New("the rollover names keys that are not there")
	}
	if (r.BreakageAccepted || r.Now || r.Interrupted != nil) && !r.Compromised {
		return errors.New("the rollover is not of a compromised key, but says what only such a one can")
	}
	fits := from.Role == Active && (to.Role == Backup || (to.Role == Retired && !r.Compromised))
	if !r.Switched.IsZero() {
		left := Retired
		if r.Compromised {
			left = Compromised
		}
		fits = from.Role == left && to.Role == Active
	}
	if !fits {
		return errors.New("the rollover does not fit the roles of its keys")
	}
	return nil
}
