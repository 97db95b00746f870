package acme

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"runtime/debug"
	"strings"
	"unicode"

	"github.com/go-acme/lego/v4/acme"
)

// nonceRounds is how often a request is made anew when lego has given up on the
// CA's nonces; each round is some ten tries in 20 seconds.
const nonceRounds = 3

// call runs one request of lego's, which knows no contexts and may panic. When
// ctx ends it returns at once; the request itself is ended by the guard.
func call[T any](ctx context.Context, f func() (T, error)) (T, error) {
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
					r.err = fmt.Errorf("the ACME library panicked on the CA's answer: %.200q", fmt.Sprint(p))
					slog.Debug("panic in the ACME library", "stack", string(debug.Stack()))
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
	return last.value, tidy(last.err)
}

// tidy makes an error of lego's fit for a person: ours come through unchanged,
// its own can carry a whole response body.
func tidy(err error) error {
	var ours *Problem
	if err == nil || errors.As(err, &ours) {
		return unwrapURLError(err)
	}
	const shown = 300
	if text := err.Error(); len(text) > shown || strings.ContainsFunc(text, unicode.IsControl) {
		return fmt.Errorf("%.*q", shown, text)
	}
	return unwrapURLError(err)
}

// unwrapURLError drops net/http's "Post \"https://…\":" before an error that names
// the URL itself.
func unwrapURLError(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
