package acme

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"github.com/go-acme/lego/v4/challenge"
)

// NewWebroot answers HTTP-01 with files under a web server's document root.
// Nothing outside of it is written, wherever symbolic links in it point.
func NewWebroot(dir string) *Solver {
	return &Solver{kind: challenge.HTTP01, provider: webroot{dir: dir}}
}

type webroot struct{ dir string }

func (w webroot) Present(_, token, keyAuth string) error {
	return w.within(func(root *os.Root) error {
		if err := root.MkdirAll(http01Path, 0o755); err != nil {
			return err
		}
		return root.WriteFile(path.Join(http01Path, token), []byte(keyAuth), 0o644)
	})
}

func (w webroot) CleanUp(_, token, _ string) error {
	return w.within(func(root *os.Root) error {
		err := root.Remove(path.Join(http01Path, token))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

func (w webroot) within(f func(*os.Root) error) error {
	root, err := os.OpenRoot(w.dir)
	if err != nil {
		return fmt.Errorf("webroot: %w", err)
	}
	if err := errors.Join(f(root), root.Close()); err != nil {
		return fmt.Errorf("webroot %s: %w", w.dir, err)
	}
	return nil
}
