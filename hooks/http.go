package hooks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// transport is the default one, with a bound for what a server sends before its answer.
var transport = func() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxResponseHeaderBytes = 64 << 10
	return t
}()

// via returns a transport, or the default one.
func via(t http.RoundTripper) http.RoundTripper {
	if t == nil {
		return transport
	}
	return t
}

// maxAnswer is how much of a server's answer an error can show, in bytes.
const maxAnswer = 4 << 10

// failure says why no answer came. limited is the request's context, which is ctx with
// the time limit.
func failure(ctx, limited context.Context, limit time.Duration, err error) string {
	switch {
	case ctx.Err() != nil:
		return "it was interrupted"
	case limited.Err() != nil:
		return fmt.Sprintf("no answer within %s", limit)
	}
	return reason(err)
}

// reason explains an error of net/http without the address: [Error] names it already,
// and it may contain a secret.
func reason(err error) string {
	var of *url.Error
	if errors.As(err, &of) {
		err = of.Err
	}
	return err.Error()
}

// withoutSecrets returns an address as it may be shown: some services expect a token
// in the query, or a password in front of the host.
func withoutSecrets(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "an address that is not a URL"
	}
	u.User, u.Fragment = nil, ""
	if u.RawQuery != "" {
		u.RawQuery = "..."
	}
	return u.String()
}
