package acme

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/go-acme/lego/v4/challenge"
)

const http01Path = ".well-known/acme-challenge"

// NewHTTP01 answers HTTP-01 (RFC 8555 section 8.3) from a listener of its own.
// One listener serves all orders: it opens with the first token and closes when
// the last one is gone, so the port is taken only while a CA may ask.
func NewHTTP01(listen string) *Solver {
	return &Solver{kind: challenge.HTTP01, provider: &http01Listener{
		port: port{addr: listen, purpose: "HTTP-01"}, tokens: make(map[string]answer),
	}}
}

type http01Listener struct {
	port
	mu     sync.Mutex
	tokens map[string]answer
}

// answer is what a token stands for. A CA may give one token to several names, on purpose
// or not: each of them is presented, and each is taken away.
type answer struct {
	keyAuth   string
	presented int
}

func (l *http01Listener) Present(_, token, keyAuth string) error {
	l.mu.Lock()
	l.tokens[token] = answer{keyAuth, l.tokens[token].presented + 1}
	l.mu.Unlock()
	return l.open(func(ln net.Listener) {
		server := &http.Server{
			Handler:           l,
			ReadHeaderTimeout: visitTime,
			WriteTimeout:      visitTime,
			MaxHeaderBytes:    2 << 10,
			ErrorLog:          log.New(io.Discard, "", 0), // what strangers do wrong there
		}
		server.SetKeepAlivesEnabled(false)
		server.Serve(ln) // ends when the port is closed
	})
}

func (l *http01Listener) CleanUp(_, token, _ string) error {
	l.mu.Lock()
	a, presented := l.tokens[token]
	a.presented--
	l.tokens[token] = a
	if a.presented <= 0 {
		delete(l.tokens, token)
	}
	l.mu.Unlock()
	if !presented {
		return nil
	}
	return l.close()
}

func (l *http01Listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, ok := strings.CutPrefix(r.URL.Path, "/"+http01Path+"/")
	l.mu.Lock()
	a, known := l.tokens[token]
	l.mu.Unlock()
	if !ok || !known || (r.Method != http.MethodGet && r.Method != http.MethodHead) {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	fmt.Fprint(w, a.keyAuth)
}
