// Package invariant says what must hold of a lineage at every instant, whoever
// looks and whatever happened before: in the middle of a run, after a crash, after
// a power cut, after a disk that failed. The tests of everything else end with it.
package invariant

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"keepkey/internal/durable"
	"keepkey/keystore"
	"keepkey/pinset"
	"keepkey/plan"
)

// Found is a lineage as it was found on disk.
type Found struct {
	Goal  plan.Goal
	Host  string     // this host's ID
	State plan.State // zero: there is none
	// StateProblem says why there is none although there is a file.
	StateProblem  error
	Ledger        pinset.Ledger
	LedgerProblem error
	Reports       plan.Reports          // of clients
	Keys          map[pinset.Pin]string // the key files, by name, with a hash of each
	KeyProblems   map[pinset.Pin]error
	Versions      map[int]string // the certificate versions, with a hash of all their files
	Live          int            // 0: nothing is
	LiveProblem   error
	LivePin       pinset.Pin // of the certificate that is live, and of its key
	LiveNames     []string
	Unfinished    []string // temporary files
	Open          []string // files that more people can read than may

	keys map[pinset.Pin][]byte // to look for in what came out; never shown
}

// Look reads a lineage. What can't be read is in the result; the error is for what
// keeps it from looking at all.
func Look(store *keystore.Store, goal plan.Goal) (Found, error) {
	l, err := store.Lineage(goal.Name)
	if err != nil {
		return Found{}, err
	}
	f := Found{
		Goal: goal, Host: store.Host(), Keys: make(map[pinset.Pin]string), KeyProblems: make(map[pinset.Pin]error),
		Versions: make(map[int]string), keys: make(map[pinset.Pin][]byte),
	}
	records, err := l.Records.Load()
	switch {
	case err != nil:
		f.StateProblem = err
	case records.State != nil:
		if f.State, err = plan.ParseState(goal.Name, records.State); err != nil {
			f.State, f.StateProblem = plan.State{}, err
		}
	}
	f.Ledger, f.LedgerProblem = records.Ledger, records.LedgerProblem
	if data, err := l.Reports.Load(); err == nil && data != nil {
		f.Reports, _ = plan.ParseReports(data) // damaged ones close the gate, which no check minds
	}
	if err := f.lookAtFiles(filepath.Dir(l.Live.Dir()), store.Group() != 0); err != nil {
		return Found{}, err
	}
	for pin := range f.Keys {
		key, err := l.Keys.Signer(pin)
		if err != nil {
			f.KeyProblems[pin] = err
			continue
		}
		if f.keys[pin], err = keystore.MarshalKey(key); err != nil {
			return Found{}, err
		}
	}
	f.lookAtLive(l)
	return f, nil
}

func (f *Found) lookAtLive(l *keystore.Lineage) {
	if f.Live, f.LiveProblem = l.Live.Current(); f.Live == 0 || f.LiveProblem != nil {
		return
	}
	chain, err := l.Live.Chain(f.Live)
	if err != nil {
		f.LiveProblem = err
		return
	}
	f.LivePin, f.LiveNames = pinset.OfCertificate(chain.Leaf()), chain.Leaf().DNSNames
	_, f.LiveProblem = l.Live.Inspect(f.Live, keystore.Want{Pin: f.LivePin, Domains: f.LiveNames})
}

// lookAtFiles goes through all files of the lineage.
func (f *Found) lookAtFiles(dir string, group bool) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if strings.HasPrefix(d.Name(), durable.TempPrefix) || strings.HasPrefix(rel, "hooks/") {
			f.Unfinished = append(f.Unfinished, rel)
		}
		if forbidden := forbiddenMode(rel, d, group); info.Mode().Perm()&forbidden != 0 && info.Mode()&fs.ModeSymlink == 0 {
			f.Open = append(f.Open, fmt.Sprintf("%s (mode %04o)", rel, info.Mode().Perm()))
		}
		parts := strings.Split(rel, string(filepath.Separator))
		if d.IsDir() || strings.HasPrefix(parts[min(1, len(parts)-1)], durable.TempPrefix) {
			return nil
		}
		switch parts[0] {
		case "keys":
			stem, _ := strings.CutSuffix(parts[len(parts)-1], ".pem")
			pin, err := pinset.ParseHex(stem)
			if err != nil {
				return nil
			}
			f.Keys[pin], err = hashFile(path)
			return err
		case "certs":
			n, err := strconv.Atoi(parts[1])
			if err != nil {
				return nil
			}
			sum, err := hashFile(path)
			f.Versions[n] += d.Name() + " " + sum + "\n"
			return err
		}
		return nil
	})
	return err
}

// forbiddenMode returns the permissions that a file must not grant.
func forbiddenMode(rel string, d fs.DirEntry, group bool) fs.FileMode {
	private := fs.FileMode(0o077)
	if group && rel != "keys" && !strings.HasPrefix(rel, "keys/") && rel != "state.json" && rel != "ledger.jsonl" {
		private = 0o027
	}
	if d.IsDir() || !strings.HasPrefix(rel, "certs/") || strings.HasPrefix(d.Name(), "privkey") || strings.HasPrefix(d.Name(), "combined") {
		return private
	}
	return 0o022 // certificates are public
}

func hashFile(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}
