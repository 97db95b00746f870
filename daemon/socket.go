package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Request is a command line that somebody hands to a daemon.
type Request struct {
	Args     []string `json:"args"` // as they were typed, the program's name first
	Config   string   `json:"config"`
	Terminal bool     `json:"terminal"` // standard error is one
	Width    int      `json:"width"`    // of the terminal that standard output is
}

// answer is a part of what comes back: something that was printed, or in the end the exit
// status.
type answer struct {
	Out    []byte `json:"out,omitempty"`
	Err    []byte `json:"err,omitempty"`
	Status *int   `json:"status,omitempty"`
}

// maxRequest bounds what a client may send, in bytes.
const maxRequest = 64 << 10

// Serve takes requests until ctx ends. Who may make one is decided by who may connect. A
// client that goes away ends what it asked for, as an interrupt would.
func Serve(ctx context.Context, l net.Listener, run func(ctx context.Context, r Request, stdout, stderr io.Writer) int) {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			select { // no descriptors, say
			case <-time.After(time.Second):
			case <-ctx.Done():
				return
			}
			continue
		}
		wg.Go(func() {
			defer conn.Close()
			serve(ctx, conn, run)
		})
	}
}

func serve(ctx context.Context, conn net.Conn, run func(context.Context, Request, io.Writer, io.Writer) int) {
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	decoder := json.NewDecoder(io.LimitReader(conn, maxRequest))
	var r Request
	if err := decoder.Decode(&r); err != nil {
		return
	}
	conn.SetReadDeadline(time.Time{})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		io.Copy(io.Discard, conn) // until the client is gone
		cancel()
	}()
	s := &stream{encoder: json.NewEncoder(conn)}
	status := run(ctx, r, part{s, false}, part{s, true})
	s.send(answer{Status: &status})
}

// stream sends answers, one at a time.
type stream struct {
	mu      sync.Mutex
	encoder *json.Encoder
}

func (s *stream) send(a answer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.encoder.Encode(a)
}

// part is standard output or standard error.
type part struct {
	*stream
	err bool
}

func (p part) Write(b []byte) (int, error) {
	a := answer{Out: b}
	if p.err {
		a = answer{Err: b}
	}
	if err := p.send(a); err != nil {
		return 0, err
	}
	return len(b), nil
}

// ErrNoDaemon says that no daemon listens there, or none that we may talk to.
var ErrNoDaemon = errors.New("no daemon listens there")

// Hand gives a request to the daemon that listens on a Unix socket, passes on what it
// prints, and returns the exit status. Where there is none, the error is [ErrNoDaemon].
// When ctx ends, so does what was asked for.
func Hand(ctx context.Context, socket string, r Request, stdout, stderr io.Writer) (status int, err error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return 0, ErrNoDaemon
	default:
		return 0, fmt.Errorf("the daemon that is at work can't be reached: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() {
		conn.(*net.UnixConn).CloseWrite() // it tells how far it got
	})()
	if err := json.NewEncoder(conn).Encode(r); err != nil {
		return 0, err
	}
	decoder := json.NewDecoder(conn)
	for {
		var a answer
		if err := decoder.Decode(&a); err != nil {
			return 0, fmt.Errorf("the daemon ended before it was done: %w", err)
		}
		if a.Status != nil {
			return *a.Status, nil
		}
		if _, err := stdout.Write(a.Out); err != nil {
			return 0, err
		}
		if _, err := stderr.Write(a.Err); err != nil {
			return 0, err
		}
	}
}

// Listen listens on a Unix socket that only its owner and root can connect to. The caller
// holds the lock of the directory, so what an earlier daemon left there is removed.
func Listen(socket string) (net.Listener, error) {
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}
