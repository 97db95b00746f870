package keystore

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"keepkey/internal/durable"
)

// Reports is what clients told of pin validations that failed. Package plan says what the file
// means; nothing proves it, and no other file depends on it.
type Reports struct{ *place }

// Load returns the content of the file, nil if there is none.
func (r *Reports) Load() ([]byte, error) {
	data, err := readRecord(r.path(), maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// Save replaces the content of the file.
//
//	durable.Replace(reports.json)
func (r *Reports) Save(data []byte) error {
	if len(data) > maxFile {
		return fmt.Errorf("the reports for %s would be %d bytes long, more than the %d that can be read back; nothing was written", r.name, len(data), maxFile)
	}
	if err := r.ensure("", durable.Access{}); err != nil {
		return err
	}
	if err := r.store.wrote(durable.Replace(r.path(), data, secret)); err != nil {
		return fmt.Errorf("reports for %s: %w", r.name, err)
	}
	return nil
}

// SetAside gives a damaged file another name, with the time at, so that a new one can begin.
//
//	durable.Move(reports.json, reports.json.damaged-<at>)
func (r *Reports) SetAside(at time.Time) (kept string, err error) {
	if err := r.ensure("", durable.Access{}); err != nil {
		return "", err
	}
	kept = r.path() + ".damaged-" + at.UTC().Format("20060102T150405Z")
	if err := durable.Move(r.path(), kept); err != nil {
		return "", fmt.Errorf("reports for %s: %w", r.name, err)
	}
	return kept, nil
}

func (r *Reports) path() string { return r.dir + "/reports.json" }
