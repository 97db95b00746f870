package keystore

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

const goodHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // of nothing

func TestEnvelopeIsStrict(t *testing.T) {
	t.Parallel()
	envelope := func(entries, hash, state string) string {
		return fmt.Sprintf("{\n  \"ledger\": {\n    \"entries\": %s,\n    \"hash\": \"%s\"\n  },\n  \"state\": %s\n}\n", entries, hash, state)
	}
	other := strings.Replace(goodHash, "e3", "00", 1)
	for name, text := range map[string]string{
		"as it is written":      envelope("0", goodHash, "{\n    \"a\": 1\n  }"),
		"with entries":          envelope("3", other, `{}`),
		"another layout within": envelope("0", goodHash, "{ \"a\":\t1}"),
		"a list":                envelope("0", goodHash, `[]`),
		"parts like these":      envelope("0", goodHash, "{\n  \"state\": null,\n  \"ledger\": {\n    \"entries\": 7}}"),
	} {
		if _, state, err := parseEnvelope([]byte(text)); err != nil || !json.Valid(state) {
			t.Errorf("%s: %v", name, err)
		}
		if !json.Valid([]byte(text)) {
			t.Errorf("%s: the file is not JSON", name)
		}
	}
	good := envelope("0", goodHash, `{}`)
	for name, text := range map[string]string{
		"nothing":                 "",
		"null":                    "null",
		"a list":                  "[]",
		"empty":                   "{}\n",
		"no state":                strings.Replace(good, ",\n  \"state\": {}", "", 1),
		"no ledger":               "{\n  \"state\": {}\n}\n",
		"no hash":                 strings.Replace(good, ",\n    \"hash\": \""+goodHash+"\"", "", 1),
		"no entries":              strings.Replace(good, "    \"entries\": 0,\n", "", 1),
		"something else first":    strings.Replace(good, "{", "{\n  \"more\": 1,", 1),
		"something else last":     strings.Replace(good, "\n}\n", ",\n  \"more\": 1\n}\n", 1),
		"something else between":  strings.Replace(good, "  \"state\"", "  \"more\": 1,\n  \"state\"", 1),
		"something in the ledger": strings.Replace(good, "\n  },", ",\n    \"more\": 1\n  },", 1),
		"another case":            strings.Replace(good, `"state"`, `"State"`, 1),
		"two states":              strings.Replace(good, "\n}\n", ",\n  \"state\": {}\n}\n", 1),
		"two heads":               strings.Replace(good, "\n}\n", ",\n  \"ledger\": {}\n}\n", 1),
		"two numbers":             strings.Replace(good, "    \"entries\"", "    \"entries\": 1,\n    \"entries\"", 1),
		"two hashes":              strings.Replace(good, "    \"hash\"", "    \"hash\": \"\",\n    \"hash\"", 1),
		"a null state":            envelope("0", goodHash, "null"),
		"an empty state":          envelope("0", goodHash, ""),
		"half a state":            envelope("0", goodHash, `{"a":`),
		"two values":              envelope("0", goodHash, "{}\n{}"),
		"a null number":           envelope("null", goodHash, `{}`),
		"a fraction":              envelope("0.5", goodHash, `{}`),
		"a number with a sign":    envelope("+1", other, `{}`),
		"a number with a zero":    envelope("01", other, `{}`),
		"a negative number":       envelope("-1", other, `{}`),
		"a number in a string":    envelope(`"0"`, goodHash, `{}`),
		"a huge number":           envelope("99999999999999999999", other, `{}`),
		"a short hash":            envelope("1", other[1:], `{}`),
		"an upper-case hash":      envelope("1", strings.ToUpper(other), `{}`),
		"no hash at all":          envelope("1", strings.Repeat("x", 64), `{}`),
		"a hash of no entries":    envelope("0", other, `{}`),
		"another document":        good + good,
		"garbage behind":          good + "x",
		"a line behind":           good + "\n",
		"a bracket too many":      good + "}\n",
		"cut short":               good[:len(good)-1],
		"carriage returns":        strings.ReplaceAll(good, "\n", "\r\n"),
		"the state alone":         "{\n  \"schema\": 1,\n  \"lineage\": \"api\"\n}\n",
	} {
		if _, _, err := parseEnvelope([]byte(text)); err == nil {
			t.Errorf("%s was taken: %s", name, text)
		} else if strings.ContainsAny(err.Error(), "\n\x1b") || len(err.Error()) > 300 {
			t.Errorf("%s: the error is %q", name, err)
		}
	}
}

// What is read is written the same, but for the white space of the state.
func FuzzParseEnvelope(f *testing.F) {
	for _, state := range []string{`{"a": [1, "<>"]}`, `"\n}\n"`, "null", ""} {
		f.Add([]byte(beforeEntries + "0" + beforeHash + goodHash + beforeState + state + afterState))
		f.Add([]byte(beforeEntries + "12" + beforeHash + strings.Repeat("0", 64) + beforeState + state + afterState))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		head, state, err := parseEnvelope(data)
		if err != nil {
			return
		}
		written, err := formatEnvelope(head, state)
		if err != nil {
			t.Fatalf("%q was read and cannot be written: %v", data, err)
		}
		again, stateAgain, err := parseEnvelope(written)
		if err != nil || again != head || !same(stateAgain, string(state)) {
			t.Fatalf("%q became %q: %v", data, written, err)
		}
		if twice, err := formatEnvelope(again, stateAgain); err != nil || !bytes.Equal(twice, written) {
			t.Fatalf("%q became %q: %v", written, twice, err)
		}
	})
}
