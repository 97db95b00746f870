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
	Terminal bool     `json:"terminal"`           // standard error is one
	Width    int      `json:"width"`              // of the terminal that standard output is
	Input    []byte   `json:"input,omitempty"`    // standard input, of a command that reads it
	NoColor  string   `json:"no_color,omitempty"` // $NO_COLOR

	// UID is whose process it came from. That is what the kernel says, not the client.
	UID int `json:"-"`
}

// answer is a part of what comes back: something that was printed, or in the end the exit
// status.
type answer struct {
	Out    []byte `json:"out,omitempty"`
	Err    []byte `json:"err,omitempty"`
	Status *int   `json:"status,omitempty"`
}

// Bounds of clients.
const (
	maxRequest = 128 << 10 // bytes that one may send
	maxClients = 64        // at a time; others wait
	// patience is how long a client may take to say what it wants, or to take what it is told.
	patience = 10 * time.Second
)

// Serve takes requests until ctx ends. Who may make one is decided by who may connect. A
// client that goes away ends what it asked for, as an interrupt would.
func Serve(ctx context.Context, l net.Listener, run func(ctx context.Context, r Request, stdout, stderr io.Writer) int) {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var wg sync.WaitGroup
	defer wg.Wait()
	room := make(chan struct{}, maxClients)
	for {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return
		}
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			<-room
			select { // no descriptors, say
			case <-time.After(time.Second):
			case <-ctx.Done():
				return
			}
			continue
		}
		wg.Go(func() {
			defer func() { conn.Close(); <-room }()
			serve(ctx, conn.(*net.UnixConn), run)
		})
	}
}

func serve(ctx context.Context, conn *net.UnixConn, run func(context.Context, Request, io.Writer, io.Writer) int) {
	conn.SetReadDeadline(time.Now().Add(patience))
	defer context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Now()) })()
	decoder := json.NewDecoder(io.LimitReader(conn, maxRequest))
	var r Request
	if err := decoder.Decode(&r); err != nil || len(r.Args) == 0 {
		return
	}
	uid, err := peerOf(conn)
	if err != nil {
		return
	}
	r.UID = uid
	conn.SetReadDeadline(time.Time{})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		io.Copy(io.Discard, conn) // until the client is gone
		cancel()
	}()
	s := &stream{conn: conn, gone: cancel}
	status := run(ctx, r, part{s, false}, part{s, true})
	s.send(answer{Status: &status})
}

// peerOf returns whose process connected.
func peerOf(conn *net.UnixConn) (uid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var peerErr error
	err = raw.Control(func(fd uintptr) { uid, peerErr = peerUID(int(fd)) })
	return uid, errors.Join(err, peerErr)
}

// stream sends answers, one at a time. A client that takes none is gone.
type stream struct {
	mu   sync.Mutex
	conn net.Conn
	gone func() // called when the client is
	err  error  // since then
}

func (s *stream) send(a answer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.conn.SetWriteDeadline(time.Now().Add(patience))
		if s.err = json.NewEncoder(s.conn).Encode(a); s.err != nil {
			s.gone()
		}
	}
	return s.err
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

// What there may be instead of an answer.
var (
	// ErrNoDaemon says that no daemon listens there, or none that we can know of.
	ErrNoDaemon = errors.New("no daemon listens there")
	// ErrNotAllowed says that we may not connect to a socket that is there.
	ErrNotAllowed = errors.New("not allowed to connect")
)

// BrokenError says that a daemon ended, or was killed, while it did what was asked for.
type BrokenError struct {
	Socket string
	Err    error
}

func (e *BrokenError) Error() string {
	return fmt.Sprintf("the daemon at %s ended before this was done (%v)\n"+
		"safe: each step is on record before the next begins; a daemon that starts again goes on from there, and so does keepkey renew\n"+
		"do: run the command again: it says what is left to do", e.Socket, e.Err)
}

func (e *BrokenError) Unwrap() error { return e.Err }

// Hand gives a request to the daemon that listens on a Unix socket, passes on what it
// prints, and returns the exit status. When ctx ends, so does what was asked for.
func Hand(ctx context.Context, socket string, r Request, stdout, stderr io.Writer) (status int, err error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case errors.Is(err, fs.ErrPermission):
		if _, err := os.Lstat(socket); err != nil {
			return 0, ErrNoDaemon
		}
		return 0, ErrNotAllowed
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return 0, ErrNoDaemon
	default:
		return 0, fmt.Errorf("the daemon can't be reached, and nothing was done: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() {
		conn.(*net.UnixConn).CloseWrite() // it tells how far it got
	})()
	if err := json.NewEncoder(conn).Encode(r); err != nil {
		return 0, fmt.Errorf("the daemon at %s did not take the command, and nothing was done; run it again: %w", socket, err)
	}
	decoder := json.NewDecoder(conn)
	for {
		var a answer
		if err := decoder.Decode(&a); err != nil {
			return 0, &BrokenError{Socket: socket, Err: err}
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

// NoGroup is for a socket that only its owner and root can connect to.
const NoGroup = -1

// Listen listens on a Unix socket that its owner, root, and the members of a group can
// connect to. The caller holds the lock of the directory, so what an earlier daemon left
// there is removed.
//
//	unlink(socket) socket fchmod bind listen
//	chmod chown chmod        0600 until it has its group
func Listen(socket string, group int) (net.Listener, error) {
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// On Linux a socket begins with the mode of its descriptor, so there is no moment at
	// which others could connect. Elsewhere only the umask prevents that.
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { syscall.Fchmod(int(fd), 0o600) })
	}}
	l, err := config.Listen(context.Background(), "unix", socket)
	if err != nil {
		return nil, err
	}
	err = os.Chmod(socket, 0o600)
	if err == nil && group != NoGroup {
		if err = os.Chown(socket, -1, group); err == nil {
			err = os.Chmod(socket, 0o660)
		}
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}
