package daemon

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"keepkey/apply"
	"keepkey/config"
	reports "keepkey/report"
)

// Reports takes what clients report over HTTP, by POST, and hands it on. Anybody can send a
// report, so everything is bounded: what is read of one, how long that may take, how many there
// may be from one source and in all, and how many wait to be put on record. None waits for a
// certificate that is worked on. Make one with [NewReports], and set its functions before
// [Reports.Run].
type Reports struct {
	// About returns the certificates that a report may be about; none if it is not ours.
	About func(reports.Report) []config.Certificate
	// Hear puts reports on record that are about the same certificates.
	Hear func(context.Context, []config.Certificate, []apply.Received)
	Now  func() time.Time
	// Count, if it is set, is told what became of each request: one of the words below.
	Count func(result string)

	queue    chan waiting
	room     chan struct{} // for requests that are being read
	limits   limits
	patience time.Duration
	pause    time.Duration
}

// What becomes of a report.
const (
	ReportTaken   = "taken"
	ReportInvalid = "invalid" // it is not a report
	ReportForeign = "foreign" // it is about none of our hosts
	ReportLimited = "limited" // there were too many
	ReportLost    = "lost"    // there was no room
)

// waiting is a report that is not on record yet.
type waiting struct {
	certs []config.Certificate
	apply.Received
}

// Bounds of what clients may do.
const (
	maxWaiting = 500
	maxReading = 64
	// maxTracked is how many sources are kept in mind. With more, all are forgotten: what
	// holds then is the limit for all of them.
	maxTracked = 10_000
)

// NewReports returns what has no reports yet.
func NewReports() *Reports {
	return &Reports{
		queue: make(chan waiting, maxWaiting), room: make(chan struct{}, maxReading),
		limits: limits{total: rate.NewLimiter(10, 100), of: make(map[string]*rate.Limiter)},
		// A report is a few kilobytes, from a telephone on the edge of a network at worst.
		patience: 10 * time.Second,
		// Each time a file is replaced for each lineage that is concerned.
		pause: 5 * time.Second,
	}
}

// Run puts reports on record until ctx ends, and those that wait then.
func (r *Reports) Run(ctx context.Context) {
	for {
		select {
		case first := <-r.queue:
			r.store(ctx, r.rest(first))
		case <-ctx.Done():
			r.store(ctx, r.rest())
			return
		}
		select {
		case <-time.After(r.pause):
		case <-ctx.Done():
		}
	}
}

// rest returns all reports that wait, after those given.
func (r *Reports) rest(all ...waiting) []waiting {
	for {
		select {
		case next := <-r.queue:
			all = append(all, next)
		default:
			return all
		}
	}
}

// store hands reports on, those about the same certificates together.
func (r *Reports) store(ctx context.Context, all []waiting) {
	about := make(map[string][]waiting)
	for _, w := range all {
		var names strings.Builder
		for _, cert := range w.certs {
			names.WriteString(cert.Name + " ")
		}
		about[names.String()] = append(about[names.String()], w)
	}
	for _, same := range about {
		var received []apply.Received
		for _, w := range same {
			received = append(received, w.Received)
		}
		r.Hear(context.WithoutCancel(ctx), same[0].certs, received)
	}
}

// ServeHTTP takes one report. The answer is 204 once it is certain that it will be put on
// record, unless the process ends.
func (r *Reports) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	status, result, text := r.take(w, req)
	if r.Count != nil && result != "" {
		r.Count(result)
	}
	switch status {
	case http.StatusNoContent:
		w.WriteHeader(status)
		return
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodPost)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "60")
	}
	http.Error(w, text, status)
}

func (r *Reports) take(w http.ResponseWriter, req *http.Request) (status int, result, text string) {
	source, now := sourceOf(req), r.Now()
	switch {
	case req.Method != http.MethodPost:
		return http.StatusMethodNotAllowed, "", "reports are sent by POST"
	case !r.limits.allow(source, now):
		return http.StatusTooManyRequests, ReportLimited, "too many reports"
	case !acceptable(req.Header.Get("Content-Type")):
		return http.StatusUnsupportedMediaType, ReportInvalid, "a report is application/json"
	}
	select {
	case r.room <- struct{}{}:
		defer func() { <-r.room }()
	default:
		return http.StatusServiceUnavailable, ReportLost, "too many reports at a time"
	}
	body, err := r.read(w, req)
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return http.StatusRequestEntityTooLarge, ReportInvalid, "a report is at most 64 KiB"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return http.StatusRequestTimeout, ReportInvalid, "the report took too long"
	case err != nil:
		return http.StatusBadRequest, ReportInvalid, "the report could not be read"
	}
	rep, err := reports.Parse(body)
	if err != nil {
		return http.StatusBadRequest, ReportInvalid, err.Error()
	}
	certs := r.About(rep)
	if len(certs) == 0 {
		return http.StatusNotFound, ReportForeign, "no certificate here is for that host"
	}
	select {
	case r.queue <- waiting{certs, apply.Received{Report: rep, Source: source, At: now}}:
		return http.StatusNoContent, ReportTaken, ""
	default:
		return http.StatusServiceUnavailable, ReportLost, "too many reports are waiting"
	}
}

// read reads the body, for as long as a client may take. Where the server does not let that be
// bounded, it bounds requests itself.
func (r *Reports) read(w http.ResponseWriter, req *http.Request) ([]byte, error) {
	err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(r.patience))
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, err
	}
	return io.ReadAll(http.MaxBytesReader(w, req.Body, reports.MaxBody))
}

// acceptable reports whether a report can be of a content type. Clients are not at one: what no
// form in a browser sends will do.
func acceptable(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	return contentType == "" || (err == nil && strings.HasPrefix(kind, "application/") && kind != "application/x-www-form-urlencoded")
}

// sourceOf tells clients apart by their addresses: in IPv6 by the network that a site has. A
// proxy is on this machine, and says in the end of X-Forwarded-For who connected to it; what
// stands before that anybody may have written.
func sourceOf(req *http.Request) string {
	direct, err := netip.ParseAddrPort(req.RemoteAddr)
	if err == nil && !direct.Addr().Unmap().IsLoopback() {
		return network(direct.Addr())
	}
	all := strings.Split(strings.Join(req.Header.Values("X-Forwarded-For"), ","), ",")
	last := strings.TrimSpace(all[len(all)-1])
	if addr, err := netip.ParseAddr(last); err == nil {
		return network(addr)
	}
	if addr, err := netip.ParseAddrPort(last); err == nil {
		return network(addr.Addr())
	}
	return "this machine"
}

func network(addr netip.Addr) string {
	addr, bits := addr.Unmap().WithZone(""), 64
	if addr.Is4() {
		bits = 32
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return addr.String()
	}
	return p.String()
}

// limits are how many reports may come in. An app reports each kind of failure once a day; many
// telephones can have one address.
type limits struct {
	mu    sync.Mutex
	total *rate.Limiter
	of    map[string]*rate.Limiter
}

// allow counts a report.
func (l *limits) allow(source string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	one := l.of[source]
	if one == nil {
		if len(l.of) >= maxTracked {
			clear(l.of)
		}
		one = rate.NewLimiter(rate.Every(time.Minute), 20)
		l.of[source] = one
	}
	return one.AllowN(now, 1) && l.total.AllowN(now, 1)
}
