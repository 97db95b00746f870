package acme

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/go-acme/lego/v4/acme"
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
	errUnauthorized        = errNamespace + "unauthorized"
	errUserActionRequired  = errNamespace + "userActionRequired"
	errInvalidContact      = errNamespace + "invalidContact"
	errUnsupportedContact  = errNamespace + "unsupportedContact"
	errCAA                 = errNamespace + "caa"
	errRejectedIdentifier  = errNamespace + "rejectedIdentifier"
)

// Problem is a CA's refusal: a problem document (RFC 7807, RFC 8555 section
// 6.7), or what stands in for one when the CA sent something else. Its text is
// quoted, so it can go to a terminal.
type Problem struct {
	URL    string
	Status int
	Type   string
	Detail string // with those of the subproblems
	// Instance is where a person can act (RFC 8555 section 7.3.3), if the CA says so.
	Instance string
	// Identifiers are those that the subproblems name (RFC 8555 section 6.7.1), as the
	// CA wrote them.
	Identifiers []string
	// RetryAfter is how long the CA asks to be left alone, between one second and
	// 24 hours, or 0 when it does not say.
	RetryAfter time.Duration

	newAccount bool // it is the answer to a request for an account
	bare       bool // there is no problem document, and Detail is what came instead
}

// Scope is how far a CA's request to wait reaches.
type Scope string

// The scopes, from the narrowest.
const (
	ScopeIdentifiers Scope = "identifiers" // orders for the same identifiers
	ScopeAccount     Scope = "account"     // everything that the account signs
	ScopeCA          Scope = "ca"          // everything that the CA is asked
)

// Scope says what is to wait when the CA refuses an order for these domains, or an
// account for them, and p.RetryAfter has to pass: a server that is unavailable (503)
// is so for everybody, and a limit on new accounts (429) can only be one of our
// address. Another rate limit (RFC 8555 section 6.6) is about the identifiers that the
// subproblems name (section 6.7.1), or about the order's own when the detail names
// one, a parent domain of one, or "this exact set" of them, as Let's Encrypt's does.
// Where nothing says so, it is about the account. What is refused for other reasons
// than a limit says nothing about other orders.
//
// A refusal of renewal information (RFC 9773) only puts off the next question.
func (p *Problem) Scope(domains []string) Scope {
	switch {
	case p.Status >= 500, p.Limited() && p.newAccount:
		return ScopeCA
	case !p.Limited(), len(p.Identifiers) > 0, mentions(p.Detail, domains), strings.Contains(p.Detail, "this exact set of"):
		return ScopeIdentifiers
	}
	return ScopeAccount
}

// mentions says whether a text has one of the domains, or a parent domain of one, as a
// word. Links do not count: a CA's documentation may lie under the domain.
func mentions(text string, domains []string) bool {
	separator := func(r rune) bool {
		return r != '.' && r != '-' && r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}
	for field := range strings.FieldsSeq(text) {
		if strings.Contains(field, "://") {
			continue
		}
		for word := range strings.FieldsFuncSeq(strings.ToLower(field), separator) {
			word = strings.Trim(word, ".")
			if !strings.Contains(word, ".") {
				continue // a top-level domain is too common a word
			}
			for _, d := range domains {
				if strings.HasSuffix("."+strings.ToLower(d), "."+word) {
					return true
				}
			}
		}
	}
	return false
}

// unanswered is the error of a request whose answer did not come, or not whole.
type unanswered struct{ err error }

func (e *unanswered) Error() string { return printable(e.err) }
func (e *unanswered) Unwrap() error { return e.err }

// Unanswered reports whether an error means that the CA did not answer: its host is
// unknown, there is no way to it, the connection was refused, broken, or came to no
// TLS session, our time limit ended, or there was only a server error without a
// Retry-After. Whoever asks next is likely to fare the same, whatever the question is.
// That a CA answered with nonsense, or refused, is another matter, and so is what goes
// wrong at a DNS provider or with a listener of ours.
func Unanswered(err error) bool {
	var u *unanswered
	var p *Problem
	return errors.As(err, &u) || errors.As(err, &p) && p.Status >= 500 && p.RetryAfter == 0
}

// Limited says whether the CA refuses because there were too many requests (RFC 8555
// section 6.6, RFC 6585 section 4).
func (p *Problem) Limited() bool {
	return p.Status == http.StatusTooManyRequests || p.Type == errRateLimited
}

// final says whether the same request would be refused again, however late.
func (p *Problem) final() bool {
	return p.Status < 500 && !p.Limited() && p.RetryAfter == 0
}

func (p *Problem) Error() string {
	msg := fmt.Sprintf("the CA refuses (%s, status %d", p.URL, p.Status)
	if p.Type != "" {
		msg += fmt.Sprintf(", %.100q", p.Type)
	}
	msg += ")"
	switch {
	case p.Detail == "":
	case p.bare:
		msg += fmt.Sprintf(": no problem document but %q", p.Detail)
	default:
		msg += fmt.Sprintf(": %.500q", p.Detail)
	}
	if p.RetryAfter > 0 {
		msg += fmt.Sprintf("; it asks to wait %s", p.RetryAfter)
	}
	return msg + p.advice()
}

// advice says what a person can do about it, where the CA's words may not.
func (p *Problem) advice() string {
	switch p.Type {
	case errCAA:
		return "; the domain's CAA records must allow this CA: change them at the DNS provider, or name another CA"
	case errRejectedIdentifier:
		return "; this CA issues no certificate for that name: take it out of the configuration, or name another CA"
	case errInvalidContact, errUnsupportedContact:
		return "; give another email in the acme section"
	case errUserActionRequired:
		if p.Instance != "" {
			return fmt.Sprintf("; a person has to act at %.300q, such as to agree to new terms", p.Instance)
		}
		return "; a person has to act, such as to agree to new terms: see what the CA wrote to the account's e-mail address"
	}
	if p.Limited() && p.RetryAfter == 0 && strings.Contains(p.Detail, "://") {
		return "; see the address that it gives: this may not pass by itself"
	}
	return ""
}

// Bounds of a Retry-After that comes with an error.
const (
	minRetryAfter = time.Second
	maxRetryAfter = 24 * time.Hour
)

// Bounds on what is kept of a refusal. An order has up to a hundred identifiers.
const (
	maxDetail        = 4000 // bytes
	maxSubproblems   = 100
	shownSubproblems = 10
	maxIdentifier    = 255 // bytes; a domain is shorter
)

// problem reads a CA's refusal. forLego says whether lego has to see it, since it
// answers it itself: a bad nonce (RFC 8555 section 6.5), or a certificate that is
// replaced already (RFC 9773 section 7.4).
func (g *guard) problem(req *http.Request, resp *http.Response, body []byte) (p *Problem, forLego bool) {
	p = &Problem{URL: req.URL.String(), Status: resp.StatusCode}
	var doc struct {
		Type        string `json:"type"`
		Detail      string `json:"detail"`
		Instance    string `json:"instance"`
		Status      int    `json:"status"`
		Subproblems []struct {
			Detail     string `json:"detail"`
			Identifier struct {
				Value string `json:"value"`
			} `json:"identifier"`
		} `json:"subproblems"`
	}
	if err := json.Unmarshal(body, &doc); err != nil || (doc.Type == "" && doc.Detail == "") {
		p.Detail, p.bare = strings.TrimSpace(string(body[:min(len(body), shownBody)])), true
	} else {
		p.Type, p.Detail, p.Instance = doc.Type, doc.Detail, doc.Instance[:min(len(doc.Instance), maxURL)]
		for i, sub := range doc.Subproblems[:min(len(doc.Subproblems), maxSubproblems)] {
			if i < shownSubproblems {
				p.Detail += fmt.Sprintf("; %s: %s", sub.Identifier.Value, sub.Detail)
			}
			if v := sub.Identifier.Value; v != "" && len(v) <= maxIdentifier {
				p.Identifiers = append(p.Identifiers, v)
			}
		}
	}
	p.Type, p.Detail = p.Type[:min(len(p.Type), maxDetail)], p.Detail[:min(len(p.Detail), maxDetail)]
	if d, ok := retryAfter(resp.Header, g.now()); ok {
		p.RetryAfter = min(max(d, minRetryAfter), maxRetryAfter)
	}
	// lego believes the document's status before the response's.
	forLego = (doc.Status == 0 || doc.Status == resp.StatusCode) &&
		(p.Status == http.StatusBadRequest && p.Type == errBadNonce || p.Status == http.StatusConflict && p.Type == errAlreadyReplaced)
	return p, forLego
}

// details words the error of an order or a challenge, which is a problem document
// within an answer rather than a refusal.
func details(d *acme.ProblemDetails) string {
	return fmt.Sprintf("%.500q (%.100q)", d.Detail, d.Type)
}

// retryAfter reads how long a response asks to wait. A date is by the CA's own clock,
// if the response tells that; else by ours, now.
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return parseRetryAfter(h.Get("Retry-After"), now)
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
