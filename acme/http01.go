package acme

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-acme/lego/v4/challenge"
)

const http01Path = ".well-known/acme-challenge"

// NewHTTP01 answers HTTP-01 (RFC 8555 section 8.3) from a listener of its own.
// One listener serves all orders: it opens with the first token and closes when
// the last one is gone, so the port is taken only while a CA may ask.
func NewHTTP01(listen string) *Solver {
	return &Solver{kind: challenge.HTTP01, provider: &http01Listener{
		port: port{addr: listen, purpose: "HTTP-01"}, tokens: make(map[string]string),
	}}
}

type http01Listener struct {
	port
	mu     sync.Mutex
	tokens map[string]string // token to key authorization
}

func (l *http01Listener) Present(_, token, keyAuth string) error {
	l.mu.Lock()
	l.tokens[token] = keyAuth
	l.mu.Unlock()
	return l.open(func(ln net.Listener) {
		server := &http.Server{
			Handler:           l,
			ReadHeaderTimeout: 10 * time.Second,
			WriteTimeout:      10 * time.Second,
			MaxHeaderBytes:    16 << 10,
		}
		server.SetKeepAlivesEnabled(false)
		server.Serve(ln) // ends when the port is closed
	})
}

func (l *http01Listener) CleanUp(_, token, _ string) error {
	l.mu.Lock()
	_, presented := l.tokens[token]
	delete(l.tokens, token)
	l.mu.Unlock()
	if !presented {
		return nil
	}
	return l.close()
}

func (l *http01Listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, ok := strings.CutPrefix(r.URL.Path, "/"+http01Path+"/")
	l.mu.Lock()
	keyAuth, known := l.tokens[token]
	l.mu.Unlock()
	if !ok || !known || (r.Method != http.MethodGet && r.Method != http.MethodHead) {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	fmt.Fprint(w, keyAuth)
}

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
	ln, err := net.Listen("tcp", p.addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("another program listens on %s, so %s can't: choose another way to answer (webroot, dns-01), or free the port: %w", p.addr, p.purpose, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s may not listen on %s: ports under 1024 need CAP_NET_BIND_SERVICE: %w", p.purpose, p.addr, err)
	case err != nil:
		return fmt.Errorf("%s listener: %w", p.purpose, err)
	}
	p.ln = ln
	go serve(ln)
	return nil
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

// NewWebroot answers HTTP-01 with files under a web server's document root.
// Nothing outside of it is written, wherever symbolic links in it point.
func NewWebroot(dir string) *Solver {
	return &Solver{kind: challenge.HTTP01, provider: webroot{dir: dir}}
}

type webroot struct{ dir string }

func (w webroot) Present(_, token, keyAuth string) error {
	return w.within(func(root *os.Root) error {
		if err := root.MkdirAll(http01Path, 0o755); err != nil {
			return err
		}
		return root.WriteFile(path.Join(http01Path, token), []byte(keyAuth), 0o644)
	})
}

func (w webroot) CleanUp(_, token, _ string) error {
	return w.within(func(root *os.Root) error {
		err := root.Remove(path.Join(http01Path, token))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

func (w webroot) within(f func(*os.Root) error) error {
	root, err := os.OpenRoot(w.dir)
	if err != nil {
		return fmt.Errorf("webroot: %w", err)
	}
	if err := errors.Join(f(root), root.Close()); err != nil {
		return fmt.Errorf("webroot %s: %w", w.dir, err)
	}
	return nil
}
