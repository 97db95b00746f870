package cli

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"unicode"
	"unicode/utf16"
)

// jsonWriter escapes in JSON what JSON itself leaves as it is, and what could steer a
// terminal or turn text around there: DEL and the control characters after it, and marks for the
// direction of writing. JSON has such characters in strings alone.
type jsonWriter struct{ w io.Writer }

func (j jsonWriter) Write(b []byte) (int, error) {
	if _, err := j.w.Write(escaped(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

func escaped(b []byte) []byte {
	steers := func(r rune) bool { return r > '~' && !unicode.IsPrint(r) }
	if bytes.IndexFunc(b, steers) < 0 {
		return b
	}
	var out bytes.Buffer
	for _, r := range string(b) {
		switch high, low := utf16.EncodeRune(r); {
		case !steers(r):
			out.WriteRune(r)
		case high != unicode.ReplacementChar:
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.Bytes()
}

// The longest texts in a log, in bytes: of what anybody else said, and of where a bug was.
const (
	maxLogged = 2 << 10
	maxStack  = 16 << 10
)

// cut shortens what a log record says.
func cut(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString, slog.KindAny:
	default:
		return a
	}
	limit := maxLogged
	if a.Key == "stack" {
		limit = maxStack
	}
	if text := a.Value.String(); len(text) > limit {
		a.Value = slog.StringValue(text[:limit] + fmt.Sprintf("... (%d bytes)", len(text)))
	}
	return a
}
