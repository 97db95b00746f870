// Ca runs a CA for the benchmarks, Pebble on loopback, until its standard input
// ends. Clients reach it through a proxy (HTTPS_PROXY) under a name that stays the
// same, so that a state directory can be used again in a later process, when the
// CA is at another port and has forgotten everything.
//
// It is a process of its own because the peak memory that a system reports for a
// child is at least that of its parent.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"sync/atomic"

	"keepkey/internal/acmetest"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "ca:", err)
		os.Exit(1)
	}
}

func run(stdin io.Reader, stdout io.Writer) error {
	ca, err := acmetest.Start(acmetest.Options{})
	if err != nil {
		return err
	}
	defer ca.Close()
	ca.Misbehave(ordersAlone())
	at, err := url.Parse(ca.Directory)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	go http.Serve(l, &proxy{ca: at.Host})
	// See type ca in the parent.
	err = json.NewEncoder(stdout).Encode(map[string]string{
		"proxy":     "http://" + l.Addr().String(),
		"directory": "https://example.com" + at.Path, // a name in the certificate of Go's test server
		"bundle":    string(ca.CAPEM),
		"http01":    ca.HTTPAddr,
	})
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, stdin)
	return err
}

// ordersAlone keeps Pebble (v2.10.1) from locking up in the middle of thousands of
// orders: a new order waits for the locks of all authorizations while it holds the
// one of the database, and a request for an authorization the other way round.
func ordersAlone() func(http.Handler) http.Handler {
	var mu sync.RWMutex
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == string(acmetest.NewOrder) {
				mu.Lock()
				defer mu.Unlock()
			} else {
				mu.RLock()
				defer mu.RUnlock()
			}
			next.ServeHTTP(w, r)
		})
	}
}

// proxy leads to the CA, whatever name is asked for, and counts who comes: GET /
// answers with the number.
type proxy struct {
	ca    string
	count atomic.Int64
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		fmt.Fprint(w, p.count.Load())
		return
	}
	p.count.Add(1)
	ca, err := net.Dial("tcp", p.ca)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer ca.Close()
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer client.Close()
	if _, err := io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	go func() {
		io.Copy(ca, buffered)
		ca.Close()
	}()
	io.Copy(client, ca)
}
