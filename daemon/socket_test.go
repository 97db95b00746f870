package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// serving listens on a socket with what runs commands, until the test is over.
func serving(t *testing.T, run func(context.Context, Request, io.Writer, io.Writer) int) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "kk") // the path of a socket has to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "daemon.sock")
	l, err := Listen(socket, NoGroup)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); Serve(ctx, l, run) }()
	t.Cleanup(func() { cancel(); <-ended })
	return socket
}

func TestACommandThatIsHandedOverPrintsAndEndsAsUsual(t *testing.T) {
	t.Parallel()
	socket := serving(t, func(_ context.Context, r Request, stdout, stderr io.Writer) int {
		fmt.Fprintf(stdout, "%q %s %d\n", r.Args, r.Config, r.Width)
		fmt.Fprintf(stderr, "%v\x00\xff\n", r.Terminal)
		return 3
	})
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: the socket is for its owner alone", info.Mode(), err)
	}
	var out, errs bytes.Buffer
	status, err := Hand(t.Context(), socket, Request{Args: []string{"keepkey", "renew"}, Config: "/c.yaml", Terminal: true, Width: 80}, &out, &errs)
	if status != 3 || err != nil || out.String() != "[\"keepkey\" \"renew\"] /c.yaml 80\n" || errs.String() != "true\x00\xff\n" {
		t.Errorf("status %d, %v, printed %q and %q", status, err, &out, &errs)
	}
}

func TestWithoutADaemonNothingIsHandedOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(dir, "left.sock") // by one that was killed
	l, err := net.Listen("unix", left)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	for _, socket := range []string{filepath.Join(dir, "none"), filepath.Join(file, "below"), left} {
		if _, err := Hand(t.Context(), socket, Request{Args: []string{"keepkey"}}, io.Discard, io.Discard); !errors.Is(err, ErrNoDaemon) {
			t.Errorf("%s: %v", socket, err)
		}
	}
	if again, err := Listen(left, NoGroup); err != nil {
		t.Errorf("what was left stands in the way: %v", err)
	} else {
		again.Close()
	}
}

// An interrupt reaches the command, which says how far it got.
func TestWhoGoesAwayEndsTheCommand(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{})
	socket := serving(t, func(ctx context.Context, _ Request, stdout, _ io.Writer) int {
		close(begun)
		<-ctx.Done()
		fmt.Fprint(stdout, "interrupted")
		return 1
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	var out bytes.Buffer
	status, err := Hand(ctx, socket, Request{Args: []string{"keepkey"}}, &out, io.Discard)
	if status != 1 || err != nil || out.String() != "interrupted" {
		t.Errorf("status %d, %v, printed %q", status, err, &out)
	}
}

func TestADaemonThatEndsMeanwhileIsAnError(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := Listen(socket, NoGroup)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		conn, err := l.Accept()
		if err == nil {
			json.NewDecoder(conn).Decode(new(Request))
			conn.Close()
		}
		l.Close()
	}()
	var broken *BrokenError
	if status, err := Hand(t.Context(), socket, Request{Args: []string{"keepkey"}}, io.Discard, io.Discard); !errors.As(err, &broken) || !strings.Contains(err.Error(), "\ndo: run the command again") {
		t.Errorf("status %d, %v", status, err)
	}
}

func TestWhoAsksIsNotForTheClientToSay(t *testing.T) {
	t.Parallel()
	socket := serving(t, func(_ context.Context, r Request, stdout, _ io.Writer) int {
		fmt.Fprint(stdout, r.UID)
		return 0
	})
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintln(conn, `{"args": ["keepkey"], "uid": 4711, "UID": 4711, "Uid": 4711}`)
	var a answer
	if err := json.NewDecoder(conn).Decode(&a); err != nil || string(a.Out) != strconv.Itoa(os.Geteuid()) {
		t.Errorf("it is said to be %s, %v", a.Out, err)
	}
}

// What waits is served when there is room.
func TestSoManyClientsAreServedAtATime(t *testing.T) {
	t.Parallel()
	var now, most atomic.Int64
	begun, enough := make(chan struct{}, 2*maxClients), make(chan struct{})
	socket := serving(t, func(context.Context, Request, io.Writer, io.Writer) int {
		n := now.Add(1)
		defer now.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		begun <- struct{}{}
		<-enough
		return 0
	})
	var clients sync.WaitGroup
	for range maxClients + 10 {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(conn, `{"args": ["keepkey"]}`)
		clients.Go(func() {
			defer conn.Close()
			if answered, _ := io.ReadAll(conn); string(answered) != "{\"status\":0}\n" {
				t.Errorf("answered %q", answered)
			}
		})
	}
	for range maxClients {
		<-begun
	}
	close(enough)
	clients.Wait()
	if n := most.Load(); n != maxClients {
		t.Errorf("%d were served at a time, want %d", n, maxClients)
	}
}

// A client that is stopped, say, holds nothing up for ever.
func TestWhoTakesNothingIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		ctx, gone := context.WithCancel(t.Context())
		began := time.Now()
		s := &stream{conn: ours, gone: gone}
		_, err := part{s, false}.Write([]byte("a line\n"))
		s.send(answer{}) // waits no more
		if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took != patience || ctx.Err() == nil {
			t.Errorf("%v after %s, and the command goes on: %v", err, took, ctx.Err() == nil)
		}
	})
}

func TestWhatIsNoRequestIsNotAnswered(t *testing.T) {
	t.Parallel()
	socket := serving(t, func(context.Context, Request, io.Writer, io.Writer) int {
		t.Error("it was run")
		return 0
	})
	for _, text := range []string{"GET / HTTP/1.1\r\n\r\n", "[]\n", `{"args": 7}`, `{}`, `{"args": []}`, string(bytes.Repeat([]byte(" "), maxRequest+1))} {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		conn.Write([]byte(text))
		if got, _ := io.ReadAll(conn); len(got) > 0 {
			t.Errorf("%.20q was answered with %q", text, got)
		}
		conn.Close()
	}
}

func TestSystemdIsToldWhatItAskedFor(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	env := map[string]string{"NOTIFY_SOCKET": socket, "WATCHDOG_USEC": "180000000"}
	s := SystemdOf(func(name string) string { return env[name] })
	if s.Watchdog.Minutes() != 3 {
		t.Errorf("a watchdog of %s, want three minutes", s.Watchdog)
	}
	s.Tell("READY=1", "STATUS=at work")
	buf := make([]byte, 100)
	n, err := l.Read(buf)
	if err != nil || string(buf[:n]) != "READY=1\nSTATUS=at work" {
		t.Errorf("%q, %v", buf[:n], err)
	}
	Systemd{}.Tell("READY=1")                             // nobody asked
	Systemd{Socket: "/nowhere/at/all"}.Tell("STOPPING=1") // nobody listens
}
