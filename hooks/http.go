package hooks

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"
)

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
