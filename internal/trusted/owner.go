package trusted

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxLinks bounds how many symbolic links lead to a directory.
const maxLinks = 40

// Owner returns whose a directory is, for somebody who is going to act as that user. So it
// refuses a directory that anybody but its owner and root could have put there, or could
// put another one in the place of.
//
//	stat(dir)
//	lstat(each directory and link on the way)
func Owner(dir string) (uid int, err error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(abs)
	if err != nil {
		return 0, err
	}
	if !info.IsDir() {
		return 0, fmt.Errorf("%s is not a directory", dir)
	}
	owner := uidOf(info)
	at, links := "/", 0 // no link is in at
	for todo := strings.Split(abs, "/"); len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		if name == "" || name == "." {
			continue
		}
		if name == ".." {
			at = filepath.Dir(at)
			continue
		}
		entry, err := step(owner, at, name)
		if err != nil {
			return 0, err
		}
		path := filepath.Join(at, name)
		if entry.Mode()&fs.ModeSymlink == 0 {
			at = path
			continue
		}
		if links++; links > maxLinks {
			return 0, &fs.PathError{Op: "follow", Path: abs, Err: syscall.ELOOP}
		}
		target, err := os.Readlink(path)
		if err != nil {
			return 0, err
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	if end, err := os.Lstat(at); err != nil || uidOf(end) != owner {
		return 0, fmt.Errorf("%s changed meanwhile", dir)
	}
	return owner, nil
}

// step returns an entry of a directory on the way to one of that owner, unless somebody else
// could have made it.
func step(owner int, dir, name string) (fs.FileInfo, error) {
	above, err := os.Lstat(dir)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, name)
	entry, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	others := above.Mode().Perm() & 0o022
	if above.Sys().(*syscall.Stat_t).Gid == 0 {
		others &^= 0o020
	}
	// In a sticky directory nobody else can move or remove what root made.
	roots := above.Mode()&fs.ModeSticky != 0 && uidOf(entry) == 0
	if others != 0 && !roots {
		return nil, fmt.Errorf("%s can be written by others (mode %04o), who could have put it there", dir, above.Mode().Perm())
	}
	if whose := uidOf(entry); whose != 0 && whose != owner {
		return nil, fmt.Errorf("%s belongs to %s, who could lead to another directory", path, User(whose))
	}
	return entry, nil
}

func uidOf(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }
