package acme

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/go-acme/lego/v4/log"
)

// SetLogger sends what lego logs, which it does through a variable of its own,
// to the given logger. Call it once, before any order.
func SetLogger(l *slog.Logger) { log.Logger = legoLogger{l} }

// legoLogger speaks lego's logging interface. lego's chatter is of interest for
// debugging only; its warnings are warnings. Values are quoted by the handler.
type legoLogger struct{ slog *slog.Logger }

func (l legoLogger) print(msg string) {
	level := slog.LevelDebug
	msg = strings.TrimSpace(msg)
	if text, ok := strings.CutPrefix(msg, "[WARN] "); ok {
		level, msg = slog.LevelWarn, text
	}
	l.slog.Log(context.Background(), level, "lego", "text", strings.TrimPrefix(msg, "[INFO] "))
}

func (l legoLogger) Print(args ...any)                 { l.print(fmt.Sprint(args...)) }
func (l legoLogger) Println(args ...any)               { l.print(fmt.Sprintln(args...)) }
func (l legoLogger) Printf(format string, args ...any) { l.print(fmt.Sprintf(format, args...)) }

// lego calls these nowhere in what keepkey uses; a library does not end the
// process, so they panic, and call turns that into an error.

func (l legoLogger) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (l legoLogger) Fatalln(args ...any)               { panic(fmt.Sprintln(args...)) }
func (l legoLogger) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
