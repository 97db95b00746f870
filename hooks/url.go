package hooks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// URL is an address from which clients fetch the document. It is a [Reader].
type URL struct {
	URL     string
	Timeout time.Duration // 0 means a minute
	// Transport is for tests; nil means the default one.
	Transport http.RoundTripper
}

func (u URL) String() string { return withoutSecrets(u.URL) }

// Read fetches the document, bypassing caches that heed Cache-Control.
func (u URL) Read(ctx context.Context, _ Event) ([]byte, error) { return u.read(ctx, u) }

// read does so for a reader, whose name it is that errors have.
func (u URL) read(ctx context.Context, r Reader) ([]byte, error) {
	limit := cmp.Or(u.Timeout, defaultTimeout)
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	status, data, err := u.get(limited)
	switch {
	case err != nil:
		return nil, &Error{What: "reading " + r.String(), Reason: failure(ctx, limited, limit, err), NoDaemon: errors.Is(err, errNoDaemon)}
	case status == http.StatusNotFound, status == http.StatusGone:
		return nil, nothing(r, fmt.Sprintf("it answered with status %d", status), tail(string(data), maxAnswer))
	case status != http.StatusOK:
		return nil, unread(r, fmt.Sprintf("it answered with status %d", status), tail(string(data), maxAnswer))
	}
	return bounded(r, data)
}

// get returns the status of the answer, and its body up to one byte more than a
// document may have.
func (u URL) get(ctx context.Context) (status int, data []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.URL, nil)
	if err != nil {
		return 0, nil, err
	}
	// What matters is what clients get from now on, not what a cache still holds.
	req.Header.Set("Cache-Control", "no-cache")
	req.Header.Set("User-Agent", "keepkey")
	client := &http.Client{Transport: via(u.Transport), CheckRedirect: func(req *http.Request, past []*http.Request) error {
		if len(past) > 5 || (req.URL.Scheme != "https" && past[0].URL.Scheme == "https") {
			return errors.New("it redirects in circles, or away from https")
		}
		return nil
	}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	data, err = io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if resp.StatusCode != http.StatusOK {
		err = nil // the status says enough, with however much of the body there was
	}
	return resp.StatusCode, data, err
}
