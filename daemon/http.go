package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"keepkey/config"
	"keepkey/page"
)

// Web shows what there is to see of the certificates to whoever reaches its listener: a page,
// metrics, and the pin sets that clients get from the daemon. Nothing can be changed through
// it. What a visitor costs is bounded, and none of them holds up the daemon or another.
type Web struct {
	*Overview
	// Show reads a certificate anew, to be shown in full.
	Show func(context.Context, config.Certificate) page.Certificate
	// LeftOver returns the lineages on record that the configuration does not name.
	LeftOver func(context.Context) ([]page.Certificate, error)
	// Served returns a document that clients get, and since when they do.
	Served func(name, channel string) (document []byte, since time.Time, err error)
	// Reports takes reports of pin failures, at /reports; nil: nobody does.
	Reports  http.Handler
	Metrics  *Metrics
	Listen   config.Listen
	Now      func() time.Time
	Since    time.Time // when the daemon began
	Hostname string
	Version  string
	Log      *slog.Logger

	visitors visitors
}

// Bounds of what a visitor costs.
const (
	maxVisitors = 128              // at a time
	maxHeader   = 8 << 10          // bytes
	headerTime  = 5 * time.Second  // for it to come
	requestTime = 10 * time.Second // for all of a request to come
	answerTime  = 20 * time.Second // for the answer to be taken; less than any channel's cache that is served
	idleTime    = time.Minute      // between two requests
	lastAnswers = time.Second      // for answers under way when the daemon ends
)

// Serve answers until ctx ends, and has closed the listener then.
func (w *Web) Serve(ctx context.Context, l net.Listener) {
	server := &http.Server{
		Handler: w.handler(), ConnState: w.visitors.state, MaxHeaderBytes: maxHeader, DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout: headerTime, ReadTimeout: requestTime, WriteTimeout: answerTime, IdleTimeout: idleTime,
		ErrorLog: slog.NewLogLogger(w.Log.Handler(), slog.LevelWarn),
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastAnswers)
		defer cancel()
		server.Shutdown(last)
		server.Close()
	})
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		w.Log.Error("nothing can be seen over HTTP any more; renewals go on", "problem", err)
	}
	if !stop() {
		<-ended
	}
}

// handler answers requests. Those that only look are all there are, but for reports.
func (w *Web) handler() http.Handler {
	drawn := newDrawings()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", w.page(drawn, w.overviewPage))
	mux.HandleFunc("GET /certificates/{name}", w.page(drawn, w.certificatePage))
	mux.HandleFunc("GET /certificates/{name}/timeline.svg", w.page(drawn, w.timeline))
	mux.HandleFunc("GET /pins/{channel}/{name}", w.pins)
	mux.HandleFunc("GET /metrics", w.metrics)
	mux.HandleFunc("GET /healthz", w.healthz)
	mux.HandleFunc("GET /readyz", w.readyz)
	if w.Reports != nil {
		mux.Handle("POST /reports", w.Reports)
	}
	return w.guard(mux)
}

// guard has every answer say how little a browser may do with it. Where this machine alone
// can connect, it keeps web pages out that a browser here shows: theirs is another host's name,
// wherever that is made to lead (DNS rebinding). A Unix socket no browser reaches by itself.
func (w *Web) guard(h http.Handler) http.Handler {
	csp := page.CSP()
	own := w.Listen.Network == "tcp" && !w.Listen.Public
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		header := rw.Header()
		header.Set("Content-Security-Policy", csp)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cache-Control", "no-store")
		if own && !local(r.Host) {
			http.Error(rw, "this address is for this machine alone: ask for localhost, or by the address itself", http.StatusMisdirectedRequest)
			return
		}
		h.ServeHTTP(rw, r)
	})
}

// local reports whether a Host header names this machine without any name server's help.
func local(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(trimBrackets(host))
	return err == nil && addr.IsLoopback()
}

func trimBrackets(host string) string {
	if n := len(host); n > 1 && host[0] == '[' && host[n-1] == ']' {
		return host[1 : n-1]
	}
	return host
}

// healthz says whether the daemon is at work at all.
func (w *Web) healthz(rw http.ResponseWriter, _ *http.Request) {
	if !w.alive() {
		http.Error(rw, fmt.Sprintf("the daemon has not turned for %s", silence), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(rw, "ok")
}

// readyz says whether what the configuration names has been looked at.
func (w *Web) readyz(rw http.ResponseWriter, _ *http.Request) {
	all, missing := w.all(), 0
	for _, k := range all {
		if k.at.IsZero() {
			missing++
		}
	}
	if missing > 0 {
		http.Error(rw, fmt.Sprintf("%d of %d certificates have not been looked at yet", missing, len(all)), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(rw, "ready")
}

// ListenHTTP listens where the configuration says. To a Unix socket, members of a group may
// connect, 0 for keepkey's own; what an earlier daemon left there is removed.
func ListenHTTP(at config.Listen, group int) (net.Listener, error) {
	l, err := net.Listen(at.Network, at.Address)
	if errors.Is(err, syscall.EADDRINUSE) && at.Network == "unix" && abandoned(at.Address) {
		if err := os.Remove(at.Address); err != nil {
			return nil, fmt.Errorf("listen: %w", err)
		}
		l, err = net.Listen(at.Network, at.Address)
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("something else is at %s already: end it, or choose another address for `listen`: %w", at, err)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("listen: the directory %s does not exist; contrib/systemd/keepkey-daemon.service makes /run/keepkey: %w", filepath.Dir(at.Address), err)
	case err != nil:
		return nil, fmt.Errorf("listen: %w", err)
	}
	if at.Network == "unix" {
		if err := admit(at.Address, group); err != nil {
			return nil, errors.Join(fmt.Errorf("listen: %w", err), l.Close())
		}
	}
	return l, nil
}

// admit lets a group connect to a socket.
func admit(socket string, group int) error {
	if group != 0 {
		if err := os.Chown(socket, -1, group); err != nil {
			return err
		}
	}
	return os.Chmod(socket, 0o660)
}

// abandoned reports whether a path is a socket at which nobody listens.
func abandoned(path string) bool {
	if info, err := os.Lstat(path); err != nil || info.Mode()&fs.ModeSocket == 0 {
		return false
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
