package acme

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"keepkey/internal/fault"
)

// Bounds on what a CA may do to us. None is near what a working CA needs.
const (
	maxBody        = 1 << 20     // bytes of a response
	requestTimeout = time.Minute // one request with its whole response
	maxURL         = 2000        // bytes
	maxNonceErrors = 64          // that are kept: as many requests may be under way
	shownBody      = 200         // bytes of an unexpected body that an error quotes
)

// guard is the http.RoundTripper that every exchange with a CA passes. lego
// reads bodies without limit, dereferences error documents that may be null,
// sends signed requests on to wherever a redirect points, and cannot be
// cancelled; none of that gets past here:
//
//   - each request has a time limit, and ends when the client is closed;
//   - a body is read whole, up to maxBody, before anything looks at it;
//   - an error response becomes a [*Problem]; lego sees only the two kinds that
//     it must handle itself, a bad nonce and an already replaced certificate;
//   - a redirect of a signed request is an error;
//   - the CA's clock is noted beside ours;
//   - the headers of the last response are kept for each URL that somebody watches,
//     since lego's API drops Retry-After and Link.
type guard struct {
	next    http.RoundTripper
	ctx     context.Context // of the client; its end cancels requests under way
	timeout time.Duration
	now     func() time.Time

	ignoreClock bool
	ownRoots    bool // ca_bundle says whom to trust
	told        atomic.Pointer[told]

	mu          sync.Mutex // guards the rest
	watches     map[string]*watched
	nonceErrors []error // of the last requests for a nonce that failed
}

// told is what the CA last said of the time.
type told struct {
	skew time.Duration // how far its clock is ahead of ours
	at   time.Time     // by our clock
}

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	begun := g.now().Round(0)
	ctx, cancel := context.WithTimeout(req.Context(), g.timeout)
	defer cancel()
	defer context.AfterFunc(g.ctx, cancel)()

	var resp *http.Response
	var body []byte
	err := fault.Do("request", req.Method+" "+req.URL.String(), func() (err error) {
		if resp, err = g.next.RoundTrip(req.WithContext(ctx)); err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
		return err
	})
	if err != nil {
		return nil, g.failed(req, g.explain(ctx, req, err))
	}
	if len(body) > maxBody {
		return nil, fmt.Errorf("%s answered with more than %d bytes", req.URL, maxBody)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil && !g.ignoreClock {
		// Where our clock jumped meanwhile, because the machine was suspended, say, that proves
		// nothing.
		if now := g.now(); now.Round(0).Sub(begun).Abs() <= g.timeout+time.Second {
			g.told.Store(&told{date.Sub(now), now})
		}
	}

	switch {
	case resp.StatusCode >= 400:
		p, forLego := g.problem(req, resp, body)
		if forLego {
			return resp, nil
		}
		return nil, g.failed(req, p)
	case resp.StatusCode >= 300 && req.Method != http.MethodGet:
		return nil, fmt.Errorf("%s redirects a signed request to %.200q; not followed", req.URL, resp.Header.Get("Location"))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if w := g.watches[req.URL.String()]; w != nil {
		w.header = http.Header{"Retry-After": resp.Header["Retry-After"], "Link": resp.Header["Link"]}
	}
	return resp, nil
}

// explain says why a request has no answer.
func (g *guard) explain(ctx context.Context, req *http.Request, err error) error {
	switch {
	case g.ctx.Err() != nil:
		return context.Cause(g.ctx)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &unanswered{fmt.Errorf("%s did not answer within %s", req.URL, g.timeout)}
	}
	if errors.As(err, new(x509.UnknownAuthorityError)) {
		if g.ownRoots {
			return &unanswered{fmt.Errorf("%s is not trusted: its certificate was not issued by one in the file that ca_bundle names: %w", req.URL.Host, err)}
		}
		return &unanswered{fmt.Errorf("%s is not trusted; a private CA's root certificate goes into a file that ca_bundle names: %w", req.URL.Host, err)}
	}
	return &unanswered{fmt.Errorf("no answer from %s: %w", req.URL, err)}
}

// failed keeps the error of a request for a nonce, and returns it. go-jose, for which
// lego makes that request, passes on no more than the text; see nonceError.
func (g *guard) failed(req *http.Request, err error) error {
	if req.Method == http.MethodHead {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.nonceErrors = append(g.nonceErrors[max(0, len(g.nonceErrors)-maxNonceErrors+1):], err)
	}
	return err
}

// nonceError returns the error of a request for a nonce that a text repeats, or nil.
func (g *guard) nonceError(text string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, err := range g.nonceErrors {
		if strings.Contains(text, err.Error()) {
			return err
		}
	}
	return nil
}

// watched is the header of the last response for a URL, while somebody wants it.
type watched struct {
	by     int // how many: two orders can share an authorization
	header http.Header
}

// watch keeps the header of each response for a URL, until stop; last returns that of
// the last one, or nil.
func (g *guard) watch(url string) (last func() http.Header, stop func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := g.watches[url]
	if w == nil {
		w = &watched{}
		if g.watches == nil {
			g.watches = make(map[string]*watched)
		}
		g.watches[url] = w
	}
	w.by++
	last = func() http.Header {
		g.mu.Lock()
		defer g.mu.Unlock()
		return w.header
	}
	stop = func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if w.by--; w.by == 0 {
			delete(g.watches, url)
		}
	}
	return last, stop
}

// checkURL holds a URL that a CA gave to https (RFC 8555 section 6.1) and to a length.
func checkURL(s string) error {
	if u, err := url.Parse(s); err != nil || u.Scheme != "https" || u.Host == "" || len(s) > maxURL {
		return fmt.Errorf("the CA gave %.200q for a URL", s)
	}
	return nil
}
