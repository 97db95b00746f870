package hooks

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"keepkey/internal/durable"
)

// File is a file that holds the newest pin set.
type File struct{ Path string }

func (f File) String() string { return f.Path }

// Run replaces the file in one step. One that is there already keeps its mode; a
// new one can be read by everybody.
func (f File) Run(_ context.Context, e Event) error {
	mode := fs.FileMode(0o644)
	old, err := os.ReadFile(f.Path)
	switch {
	case err == nil && string(old) == e.Document:
		return nil
	case err == nil:
		info, err := os.Stat(f.Path)
		if err != nil {
			return &Error{Hook: f.String(), Reason: err.Error()}
		}
		mode = info.Mode().Perm()
	case !errors.Is(err, fs.ErrNotExist):
		return &Error{Hook: f.String(), Reason: err.Error()}
	}
	if err := durable.Replace(f.Path, []byte(e.Document), durable.Access{Mode: mode}); err != nil {
		return &Error{Hook: f.String(), Reason: err.Error()}
	}
	return nil
}
