package acme

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/netutil"
)

// Anybody can connect to a listener for challenges, so what that costs is bounded.
const (
	maxVisits = 200 // at a time; a CA that has to wait asks again
	visitTime = 5 * time.Second
)

// port is a listening address that is open while somebody needs it.
type port struct {
	addr    string
	purpose string

	opening sync.Mutex
	users   int
	ln      net.Listener
}

// open listens unless the port is open already, and counts the user either way:
// each open is matched by one close, also when it failed.
func (p *port) open(serve func(net.Listener)) error {
	p.opening.Lock()
	defer p.opening.Unlock()
	p.users++
	if p.ln != nil {
		return nil
	}
	ln, err := p.listen()
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("another program listens on %s, so %s cannot: choose another way to answer (webroot, dns-01), or free the port: %w", p.addr, p.purpose, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s may not listen on %s: ports under 1024 need CAP_NET_BIND_SERVICE, as contrib/systemd/keepkey.service has it; a webroot or dns-01 needs no port: %w", p.purpose, p.addr, err)
	case err != nil:
		return fmt.Errorf("%s listener: %w", p.purpose, err)
	}
	p.ln = ln
	go serve(netutil.LimitListener(ln, maxVisits))
	return nil
}

// listen tries for a moment: a hook that is just being started may hold the port that was
// closed here, between fork and exec.
func (p *port) listen() (net.Listener, error) {
	const moment, pause = time.Second, 10 * time.Millisecond
	for deadline := time.Now().Add(moment); ; time.Sleep(pause) {
		ln, err := net.Listen("tcp", p.addr)
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(deadline) {
			return ln, err
		}
	}
}

func (p *port) close() error {
	p.opening.Lock()
	defer p.opening.Unlock()
	p.users--
	if p.users > 0 || p.ln == nil {
		return nil
	}
	err := p.ln.Close()
	p.ln = nil
	return err
}
