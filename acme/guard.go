package acme

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"keepkey/internal/fault"
)

// Bounds on what a CA may do to us. None is near what a working CA needs.
const (
	maxBody        = 1 << 20     // bytes of a response
	requestTimeout = time.Minute // one request with its whole response
	maxHeaders     = 1000        // URLs whose last headers are kept
	minRetryAfter  = time.Second // clamp of Retry-After after an error
	maxRetryAfter  = 24 * time.Hour
	shownBody      = 200 // bytes of an unexpected body that an error quotes
)

// guard is the http.RoundTripper that every exchange with a CA passes. lego
// reads bodies without limit, dereferences error documents that may be null,
// sends signed requests on to wherever a redirect points, and can't be
// cancelled; none of that gets past here:
//
//   - each request has a time limit, and ends when the client is closed;
//   - a body is read whole, up to maxBody, before anything looks at it;
//   - an error response becomes a [*Problem]; lego sees only the two kinds that
//     it must handle itself, a bad nonce and an already replaced certificate;
//   - a redirect of a signed request is an error;
//   - the CA's clock is noted beside ours;
//   - the headers of the last response are kept for each URL, since lego's API
//     drops Retry-After and Link.
type guard struct {
	next    http.RoundTripper
	ctx     context.Context // of the client; its end cancels requests under way
	timeout time.Duration
	now     func() time.Time

	skew atomic.Pointer[time.Duration] // how far the CA's clock is ahead, by its last answer

	mu      sync.Mutex
	headers map[string]http.Header // by request URL; taken out when read
}

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
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
		return nil, g.explain(ctx, req, err)
	}
	if len(body) > maxBody {
		return nil, fmt.Errorf("%s answered with more than %d bytes", req.URL, maxBody)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		skew := date.Sub(g.now())
		g.skew.Store(&skew)
	}

	switch {
	case resp.StatusCode >= 400:
		p := g.problem(req, resp, body)
		if p.Type == errBadNonce || p.Type == errAlreadyReplaced {
			return resp, nil
		}
		return nil, p
	case resp.StatusCode >= 300 && req.Method != http.MethodGet:
		return nil, fmt.Errorf("%s redirects a signed request to %.200q; not followed", req.URL, resp.Header.Get("Location"))
	}
	g.mu.Lock()
	if len(g.headers) >= maxHeaders {
		clear(g.headers) // what nobody took; a poll then falls back on our own interval
	}
	g.headers[req.URL.String()] = resp.Header
	g.mu.Unlock()
	return resp, nil
}

// explain replaces the error of a request that we cut short by its reason.
func (g *guard) explain(ctx context.Context, req *http.Request, err error) error {
	switch {
	case g.ctx.Err() != nil:
		return context.Cause(g.ctx)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%s did not answer within %s", req.URL, g.timeout)
	}
	return err
}

// takeHeader returns the headers of the last response for a URL, once.
func (g *guard) takeHeader(url string) http.Header {
	g.mu.Lock()
	defer g.mu.Unlock()
	h := g.headers[url]
	delete(g.headers, url)
	return h
}

// The error types that the guard or the orders look at (RFC 8555 section 6.7,
// RFC 9773 section 7.4).
const (
	errNamespace           = "urn:ietf:params:acme:error:"
	errBadNonce            = errNamespace + "badNonce"
	errAlreadyReplaced     = errNamespace + "alreadyReplaced"
	errAlreadyRevoked      = errNamespace + "alreadyRevoked"
	errAccountDoesNotExist = errNamespace + "accountDoesNotExist"
	errRateLimited         = errNamespace + "rateLimited"
)

// Problem is a CA's refusal: a problem document (RFC 7807, RFC 8555 section
// 6.7), or what stands in for one when the CA sent something else. Its text is
// quoted, so it can go to a terminal.
type Problem struct {
	URL    string
	Status int
	Type   string
	Detail string
	// RetryAfter is how long the CA asks to be left alone, between one second and
	// 24 hours, or 0 when it does not say.
	RetryAfter time.Duration
}

func (p *Problem) Error() string {
	msg := fmt.Sprintf("the CA refuses (%s, status %d", p.URL, p.Status)
	if p.Type != "" {
		msg += fmt.Sprintf(", %.100q", p.Type)
	}
	msg += ")"
	if p.Detail != "" {
		msg += fmt.Sprintf(": %.500q", p.Detail)
	}
	if p.RetryAfter > 0 {
		msg += fmt.Sprintf("; it asks to wait %s", p.RetryAfter)
	}
	return msg
}

func (g *guard) problem(req *http.Request, resp *http.Response, body []byte) *Problem {
	p := &Problem{URL: req.URL.String(), Status: resp.StatusCode}
	var doc struct {
		Type        string `json:"type"`
		Detail      string `json:"detail"`
		Subproblems []struct {
			Detail     string `json:"detail"`
			Identifier struct {
				Value string `json:"value"`
			} `json:"identifier"`
		} `json:"subproblems"`
	}
	if err := json.Unmarshal(body, &doc); err != nil || (doc.Type == "" && doc.Detail == "") {
		p.Detail = fmt.Sprintf("no problem document but %.*q", shownBody, body)
	} else {
		p.Type, p.Detail = doc.Type, doc.Detail
		for i, sub := range doc.Subproblems {
			if i == 10 {
				break
			}
			p.Detail += fmt.Sprintf("; %s: %s", sub.Identifier.Value, sub.Detail)
		}
	}
	if d, ok := parseRetryAfter(resp.Header.Get("Retry-After"), g.now()); ok {
		p.RetryAfter = min(max(d, minRetryAfter), maxRetryAfter)
	}
	return p
}

// parseRetryAfter reads a Retry-After header (RFC 9110 section 10.2.3): seconds
// or a date. Nonsense reads as absent; what is too large to count, as very long.
func parseRetryAfter(value string, now time.Time) (time.Duration, bool) {
	if value == "" {
		return 0, false
	}
	if secs, err := strconv.ParseInt(value, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		switch {
		case secs < 0:
			return 0, false
		case secs > int64(maxRetryAfter/time.Second):
			return maxRetryAfter, true
		}
		return time.Duration(secs) * time.Second, true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return max(at.Sub(now), 0), true
}
