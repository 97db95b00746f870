package keystore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"keepkey/internal/durable"
)

// Told is the record of what notify hooks were told of a lineage, or of keepkey as a whole.
// It is opaque here; package status says what it means. It is not beside the lineage's other
// records, since much can be wrong with a lineage that was never begun, and be over only when
// it is gone.
type Told struct {
	store *Store
	name  string
}

// Told returns the record of a lineage; "" stands for keepkey as a whole.
func (s *Store) Told(name string) (*Told, error) {
	if name != "" && !validName(name) {
		return nil, fmt.Errorf("%.200q cannot name a lineage", name)
	}
	return &Told{store: s, name: name}, nil
}

// ToldOf returns the names of all lineages that have a record.
func (s *Store) ToldOf() ([]string, error) {
	entries, err := os.ReadDir(s.toldDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".json"); ok && validName(name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// Load returns the record. One that can't be read is as if there were none: what it
// remembers is told again.
func (t *Told) Load() []byte {
	data, err := readRecord(t.path(), maxFile)
	if err != nil {
		return nil
	}
	return data
}

// Save puts another record in its place; nil stands for none.
//
//	durable.Replace(told/<name>.json)
//	durable.RemoveFile(told/<name>.json)      where there is none
func (t *Told) Save(data []byte) error {
	if t.store.lock == nil {
		return errReadOnly
	}
	if len(data) > maxFile {
		return fmt.Errorf("%s would be %d bytes long, more than the %d that can be read back", t.path(), len(data), maxFile)
	}
	if t.name != "" {
		if err := t.store.ensureDir(t.store.toldDir(), private); err != nil {
			return err
		}
	}
	if data != nil {
		return t.store.wrote(durable.Replace(t.path(), data, secret))
	}
	err := durable.RemoveFile(t.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (s *Store) toldDir() string { return s.dir + "/told" }

func (t *Told) path() string {
	if t.name == "" {
		return t.store.dir + "/told.json"
	}
	return t.store.toldDir() + "/" + t.name + ".json"
}
