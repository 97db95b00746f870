package hooks

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"keepkey/internal/durable"
	"keepkey/internal/fault"
)

// Serve has the daemon hand the newest pin set to clients, at [ServedPath]. The document lies
// in a file of keepkey's own, so it is published whether or not a daemon runs at that moment.
// It is a [Hook], and a [Reader] of that file.
type Serve struct{}

func (s Serve) ID() string { return identity("serve") }

func (s Serve) String() string { return "the daemon's /pins" }

// Run replaces the file in one step. One that already holds the document is left alone.
func (s Serve) Run(_ context.Context, e Event) error {
	path := filepath.Join(e.ServeDir, e.Channel)
	if there, err := readRegular(path); err == nil && bytes.Equal(there, []byte(e.Document)) {
		return nil
	}
	if err := durable.Replace(path, []byte(e.Document), durable.Access{Mode: 0o600}); err != nil {
		return failed(s, err.Error(), "")
	}
	return nil
}

// Read returns what the file holds.
func (s Serve) Read(_ context.Context, e Event) ([]byte, error) {
	data, err := readRegular(filepath.Join(e.ServeDir, e.Channel))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nothing(s, "nothing was published there", "")
	}
	if err != nil {
		return nil, unread(s, err.Error(), "")
	}
	return bounded(s, data)
}

// Unserve removes from an [Event.ServeDir] what is not of a channel that is served. Were it to
// lie there until the channel is served again, clients would get an old pin set then.
func Unserve(dir string, served func(channel string) bool) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	removed := false
	for _, e := range entries {
		if served(e.Name()) {
			continue
		}
		left := filepath.Join(dir, e.Name())
		err = errors.Join(err, fault.Do("remove what was served", left, func() error { return os.Remove(left) }))
		removed = true
	}
	if removed {
		err = errors.Join(err, durable.SyncDir(dir))
	}
	return err
}

// ServedPath is where the daemon serves the pin set of a channel of a lineage.
func ServedPath(channel, name string) string {
	return "/pins/" + url.PathEscape(channel) + "/" + url.PathEscape(name)
}

// Daemon is the daemon's own listener, from which clients get what a [Serve] published. It is
// a [Reader].
type Daemon struct {
	Network, Address string // as [net.Dial] has them
}

func (d Daemon) String() string {
	if d.Network == "unix" {
		return "the daemon's /pins on unix:" + d.Address
	}
	return "the daemon's /pins on " + d.Address
}

// daemonTimeout bounds a question to a daemon on this machine.
const daemonTimeout = 10 * time.Second

var errNoDaemon = errors.New("no daemon runs there; start it: systemctl start keepkey-daemon")

// Read asks the daemon for the document, as a client does.
func (d Daemon) Read(ctx context.Context, e Event) ([]byte, error) {
	t := &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10, DialContext: d.dial}
	u := URL{URL: "http://localhost" + ServedPath(e.Channel, e.Name), Timeout: daemonTimeout, Transport: t}
	return u.read(ctx, d)
}

func (d Daemon) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, d.Network, d.Address)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return nil, errNoDaemon
	}
	return conn, err
}
