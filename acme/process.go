package acme

// What lego and net/http keep for the whole process, and keepkey therefore has to: the
// loggers and the recursive DNS servers, and with them what must not be shown (secrets.go).
// Nothing else here is shared between clients.
// (A third such thing is in package dns: the environment that providers read.)

import (
	"context"
	"fmt"
	stdlog "log"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"

	"github.com/go-acme/lego/v4/challenge/dns01"
	"github.com/go-acme/lego/v4/log"
)

// logger is where lego's messages go. lego's own variable is set once, before any
// goroutine can read it; ours can change at any time.
var logger atomic.Pointer[slog.Logger]

func init() {
	log.Logger = legoLogger{}
	stdlog.SetFlags(0)
	stdlog.SetOutput(standardLog{})
}

// SetLogger sends what lego logs to the given logger, for all clients and solvers of
// the process, and what Go's library logs by itself (net/http does). Until it is called,
// nothing is logged.
func SetLogger(l *slog.Logger) { logger.Store(l) }

// resolver is what the same servers are asked with for what lego does not ask.
var resolver atomic.Pointer[net.Resolver]

func init() { resolver.Store(net.DefaultResolver) }

// SetResolvers sets the recursive DNS servers (host:port) that all DNS-01 solvers of
// the process ask, in place of the system's. lego reads them without a lock, so call it
// before any order.
func SetResolvers(servers []string) {
	// The option acts on lego's package, not on the challenge that it is given.
	_ = dns01.AddRecursiveNameservers(servers)(nil)
	var asked atomic.Uint32
	resolver.Store(&net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		server := servers[(asked.Add(1)-1)%uint32(len(servers))]
		var d net.Dialer
		return d.DialContext(ctx, network, server)
	}})
}

// legoLogger implements lego's logging interface. lego's chatter is of interest for
// debugging only; its warnings are warnings. Values are quoted by the handler.
type legoLogger struct{}

func (legoLogger) print(msg string) {
	l := logger.Load()
	if l == nil {
		return
	}
	level := slog.LevelDebug
	msg = strings.TrimSpace(msg)
	if text, ok := strings.CutPrefix(msg, "[WARN] "); ok {
		level, msg = slog.LevelWarn, text
	}
	l.Log(context.Background(), level, "lego", "text", hidden(strings.TrimPrefix(msg, "[INFO] ")))
}

func (l legoLogger) Print(args ...any)                 { l.print(fmt.Sprint(args...)) }
func (l legoLogger) Println(args ...any)               { l.print(fmt.Sprintln(args...)) }
func (l legoLogger) Printf(format string, args ...any) { l.print(fmt.Sprintf(format, args...)) }

// lego calls these nowhere in what keepkey uses. A library must not end the process,
// so they panic, which call turns into an error.

func (l legoLogger) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (l legoLogger) Fatalln(args ...any)               { panic(fmt.Sprintln(args...)) }
func (l legoLogger) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// standardLog is where Go's library logs to. It would bypass the format, and the escaping,
// of everything else.
type standardLog struct{}

func (standardLog) Write(line []byte) (int, error) {
	if l := logger.Load(); l != nil {
		l.Debug("go", "text", hidden(strings.TrimSpace(string(line))))
	}
	return len(line), nil
}
