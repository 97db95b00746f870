package acme

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"testing"

	"github.com/go-acme/lego/v4/log"
)

// Not parallel: what is hidden, and lego's logger, are the process's.
func TestSecretsAreNotShown(t *testing.T) {
	Hide("correct horse/battery", "correct horse", "short", "a-token-of-duckdns")
	for text, want := range map[string]string{
		"no secret":                        "no secret",
		"token=a-token-of-duckdns&x=1":     "token=...&x=1",
		"q=correct+horse%2Fbattery":        "q=...",
		"/correct%20horse%2Fbattery/x":     "/.../x",
		"correct horse/battery is refused": "... is refused",
		"correct horse is refused":         "... is refused",
		"a short name":                     "a short name",
	} {
		if got := Hidden(errors.New(text)).Error(); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
	err := Hidden(fmt.Errorf("a-token-of-duckdns: %w", fs.ErrNotExist))
	if err.Error() != "...: file does not exist" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if Hidden(nil) != nil {
		t.Error("nothing became an error")
	}
	var b bytes.Buffer
	SetLogger(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug})))
	defer SetLogger(slog.New(slog.DiscardHandler))
	log.Warnf("asked %s", "https://duckdns.example/update?token=a-token-of-duckdns")
	if s := b.String(); strings.Contains(s, "duckdns\"") || !strings.Contains(s, "token=...") {
		t.Errorf("logged %s", s)
	}
}
