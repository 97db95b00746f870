package acme

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

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

// limited says whether the CA refuses because there were too many requests (RFC 8555
// section 6.6, RFC 6585 section 4).
func (p *Problem) limited() bool {
	return p.Status == http.StatusTooManyRequests || p.Type == errRateLimited
}

// final says whether the same request would be refused again, however late.
func (p *Problem) final() bool {
	return p.Status < 500 && !p.limited() && p.RetryAfter == 0
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

// Bounds of a Retry-After that comes with an error.
const (
	minRetryAfter = time.Second
	maxRetryAfter = 24 * time.Hour
)

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
