package acme

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"runtime/debug"
	"strings"
	"unicode"

	"github.com/go-acme/lego/v4/acme"
)

// nonceRounds is how often a request is made anew when lego has given up on the
// CA's nonces; each round is some ten tries in 20 seconds.
const nonceRounds = 3

// call runs one request of lego's, or something of a DNS provider's, which know no
// contexts and may panic. When ctx ends it returns at once, and leaves f behind: the
// guard ends a request in time, and lego's providers have time limits of their own.
func call[T any](ctx context.Context, c *Client, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var last result
	for range nonceRounds {
		done := make(chan result, 1)
		go func() {
			var r result
			defer func() {
				if p := recover(); p != nil {
					r.err = fmt.Errorf("the ACME library panicked: %.200q", fmt.Sprint(p))
					c.cfg.Logger.Debug("panic in the ACME library", "stack", string(debug.Stack()))
				}
				done <- r
			}()
			r.value, r.err = f()
		}()
		select {
		case <-ctx.Done():
			var zero T
			return zero, context.Cause(ctx)
		case last = <-done:
		}
		var nonce *acme.NonceError
		if !errors.As(last.err, &nonce) {
			break
		}
	}
	return last.value, c.tidy(last.err)
}

// tidy returns the one of our errors that is in one of lego's, or else lego's, made
// fit for a person: it can carry a whole response body.
func (c *Client) tidy(err error) error {
	if err == nil {
		return nil
	}
	var p *Problem
	var u *unanswered
	var nonce *acme.NonceError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &u):
		return u
	case errors.As(err, &nonce): // lego gave up
		return &Problem{URL: nonce.URL, Status: nonce.HTTPStatus, Type: nonce.Type, Detail: nonce.Detail}
	}
	if ours := c.guard.nonceError(err.Error()); ours != nil {
		return ours
	}
	var request *url.Error // of net/http; what the guard says names the URL itself
	if errors.As(err, &request) {
		err = request.Err
	}
	if text := printable(err); text != err.Error() {
		return errors.New(text)
	}
	return err
}

// printable returns an error's text, quoted and cut when it is too long or has
// control characters in it.
func printable(err error) string {
	const shown = 300
	text := err.Error()
	if len(text) > shown || strings.ContainsFunc(text, unicode.IsControl) {
		return fmt.Sprintf("%.*q", shown, text)
	}
	return text
}
