package acme

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"github.com/go-acme/lego/v4/challenge"
)

// NewWebroot answers HTTP-01 with files under a web server's document root, which anybody
// can read whatever the umask is. Nothing outside of it is written, wherever links in it
// point.
func NewWebroot(dir string) *Solver {
	return &Solver{kind: challenge.HTTP01, provider: webroot{dir: dir}}
}

type webroot struct{ dir string }

func (w webroot) Present(_, token, keyAuth string) error {
	return w.within(func(root *os.Root) error {
		for _, dir := range []string{path.Dir(http01Path), http01Path} {
			err := root.Mkdir(dir, 0o755)
			if err == nil {
				err = root.Chmod(dir, 0o755) // whatever the umask
			}
			if err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		}
		// A new file: what else has that name may be a pipe, or a link to somewhere.
		name := path.Join(http01Path, token)
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		_, err = f.WriteString(keyAuth)
		return errors.Join(err, f.Chmod(0o644), f.Close())
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
	err = errors.Join(f(root), root.Close())
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("keepkey's user may not write to the webroot %s: %w", w.dir, err)
	}
	if err != nil {
		return fmt.Errorf("webroot %s: %w", w.dir, err)
	}
	return nil
}
