package keystore

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"keepkey/internal/durable"
)

// hostBytes is the length of a host's id: enough that no two hosts of a fleet share
// one, and short enough to read aloud.
const hostBytes = 8

// Host returns the id of this host: 16 hexadecimal digits, made with the state
// directory. It distinguishes what was done on this host from what was done on others. In
// a store opened for reading it is "" when no id was made yet.
func (s *Store) Host() string { return s.host }

// loadHost reads the host's id, if there is one.
func (s *Store) loadHost() error {
	path := s.hostPath()
	data, err := readRecord(path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("host id: %w", err)
	}
	id, whole := strings.CutSuffix(string(data), "\n")
	if b, err := hex.DecodeString(id); err != nil || !whole || len(b) != hostBytes || hex.EncodeToString(b) != id {
		return fmt.Errorf("the host id in %s is damaged: it should be 16 hexadecimal digits on one line; restore it from a backup; "+
			"without a backup, remove the file: the next run makes a new id, and what was done here before then counts as done by another host", path)
	}
	s.host = id
	return nil
}

// makeHost makes an id for this host, unless it has one.
func (s *Store) makeHost() error {
	if s.host != "" {
		return nil
	}
	id := make([]byte, hostBytes)
	rand.Read(id) // never fails
	if err := s.wrote(durable.Create(s.hostPath(), []byte(hex.EncodeToString(id)+"\n"), durable.Access{Mode: 0o600})); err != nil {
		return fmt.Errorf("host id: %w", err)
	}
	return s.loadHost()
}

func (s *Store) hostPath() string { return s.dir + "/host" }
