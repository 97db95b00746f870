package cli

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestJSONHasNothingThatSteersATerminal(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"plain", "bücher.example → x", "\u009b2J", "\u202egpj.exe", "\u2028\u2066x\u2069", "a\x1b[2J\r\n\x00", "\U000e0001tag", "😀", "\xff\xfe", `\u0041 "quoted"`} {
		var out bytes.Buffer
		if err := json.NewEncoder(jsonWriter{&out}).Encode(text); err != nil {
			t.Fatal(err)
		}
		if s := strings.TrimSuffix(out.String(), "\n"); s != strings.Trim(printable(s), "\n") {
			t.Errorf("%q is written as %q", text, s)
		}
		var back string
		if err := json.Unmarshal(out.Bytes(), &back); err != nil || (utf8.ValidString(text) && back != text) {
			t.Errorf("%q came back as %q (%v)", text, back, err)
		}
		out.Reset()
		slog.New(slog.NewJSONHandler(jsonWriter{&out}, nil)).Info(text, "key", text)
		if s := strings.TrimSuffix(out.String(), "\n"); s != printable(s) || !json.Valid(out.Bytes()) {
			t.Errorf("%q is logged as %q", text, s)
		}
	}
}

func TestLongTextsAreCutInLogs(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{ReplaceAttr: cut}))
	log.Info("message", "problem", strings.Repeat("x", 1<<20), "n", 7, "stack", strings.Repeat("z", 3<<10))
	if n := out.Len(); n > 6<<10 || !strings.Contains(out.String(), `xxx... (1048576 bytes)"`) || !strings.Contains(out.String(), `"n":7`) || strings.Count(out.String(), "z") != 3<<10 {
		t.Errorf("%d bytes: %.200s", n, out.String())
	}
}
