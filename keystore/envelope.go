package keystore

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"keepkey/pinset"
)

// The layout of the state's file is fixed to the last space. So there is nowhere for
// anything else to hide, and reading it takes next to no time. (It is the layout that
// `jq .` writes, for the day on which somebody has to edit it.)
const (
	beforeEntries = "{\n  \"ledger\": {\n    \"entries\": "
	beforeHash    = ",\n    \"hash\": \""
	beforeState   = "\"\n  },\n  \"state\": "
	afterState    = "\n}\n"
)

// formatEnvelope writes what [parseEnvelope] reads.
func formatEnvelope(head pinset.Head, state []byte) ([]byte, error) {
	b := bytes.NewBufferString(beforeEntries + strconv.Itoa(head.Entries) + beforeHash + head.Hash + beforeState)
	if err := json.Indent(b, bytes.TrimSpace(state), "  ", "  "); err != nil {
		return nil, err
	}
	b.WriteString(afterState)
	return b.Bytes(), nil
}

// parseEnvelope reads the state's file: the ledger's head, and the state.
func parseEnvelope(data []byte) (head pinset.Head, state []byte, err error) {
	rest, ok := bytes.CutPrefix(data, []byte(beforeEntries))
	entries, rest, ok2 := bytes.Cut(rest, []byte(beforeHash))
	hash, rest, ok3 := bytes.Cut(rest, []byte(beforeState))
	state, ok4 := bytes.CutSuffix(rest, []byte(afterState))
	if !ok || !ok2 || !ok3 || !ok4 {
		return pinset.Head{}, nil, errors.New("its layout is not the one that keepkey writes: the ledger's entries and hash, then the state, indented by two spaces")
	}
	if !json.Valid(state) || string(state) == "null" {
		return pinset.Head{}, nil, errors.New("the state in it is not a JSON value")
	}
	head.Hash = string(hash)
	if head.Entries, err = strconv.Atoi(string(entries)); err != nil || head.Entries < 0 || strconv.Itoa(head.Entries) != string(entries) {
		return pinset.Head{}, nil, fmt.Errorf("%.50q is not a number of entries", entries)
	}
	if b, err := hex.DecodeString(head.Hash); err != nil || len(b) != sha256.Size || hex.EncodeToString(b) != head.Hash {
		return pinset.Head{}, nil, fmt.Errorf("%.80q is not a SHA-256 hash", hash)
	}
	if head.Entries == 0 && head != (pinset.Ledger{}).Head() {
		return pinset.Head{}, nil, errors.New("a ledger without entries does not have this hash")
	}
	return head, state, nil
}
