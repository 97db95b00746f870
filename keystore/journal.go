package keystore

import (
	"bytes"
	"errors"
	"io/fs"

	"keepkey/internal/durable"
)

// Journal is what was done for a lineage, when and why, for people to read. Nothing is
// decided by it: a line that can't be written, or that a crash takes, is no harm.
type Journal struct{ *place }

// maxJournal bounds each of its two files, in bytes. A line takes some 200, and a renewal
// three lines, so they go back for years.
const maxJournal = 256 << 10

// Add writes a line. When the file is full, the one before it is forgotten.
//
//	durable.AppendLine(journal.jsonl)
func (j *Journal) Add(line []byte) error {
	if j.store.lock == nil {
		return errReadOnly
	}
	return durable.AppendLine(j.path(), line, maxJournal, secret)
}

// Lines returns the lines that there are, the oldest first; with an error, those of the file
// that can be read. They are what lies on the disk: nothing proves them. A last line without
// an end is left out: somebody writes it, or a crash took the rest.
func (j *Journal) Lines() ([][]byte, error) {
	var lines [][]byte
	var problems []error
	for _, path := range []string{durable.Older(j.path()), j.path()} {
		data, err := readRecord(path, maxFile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, err)
		}
		for line := range bytes.Lines(data) {
			if line, whole := bytes.CutSuffix(line, []byte("\n")); whole && len(line) > 0 {
				lines = append(lines, line)
			}
		}
	}
	return lines, errors.Join(problems...)
}

func (j *Journal) path() string { return j.dir + "/journal.jsonl" }
