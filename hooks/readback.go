package hooks

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Source is where a published document can be read back, as clients see it.
// Exactly one of the first three is set.
type Source struct {
	URL     string
	Command []string // prints the document; it is told the event like a hook
	File    string
	Timeout time.Duration // 0 stands for a minute
	// Transport is for tests; nil stands for the usual one.
	Transport http.RoundTripper
}

func (s Source) String() string {
	switch {
	case s.URL != "":
		return withoutSecrets(s.URL)
	case s.File != "":
		return s.File
	}
	return Command{Args: s.Command}.String()
}

// maxDocument bounds a document that is read back.
const maxDocument = 1 << 20

// Read returns the document that is there now. Failures are [*Error]s.
func (s Source) Read(ctx context.Context, e Event) ([]byte, error) {
	s.Timeout = cmp.Or(s.Timeout, defaultTimeout)
	limited, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	var data []byte
	var err error
	switch {
	case s.URL != "":
		data, err = s.fetch(limited)
	case s.File != "":
		data, err = readDocument(s.File)
	default:
		data, err = s.run(ctx, e)
	}
	var explained *Error
	switch {
	case errors.As(err, &explained):
		return nil, err
	case err != nil && ctx.Err() != nil:
		return nil, &Error{Hook: s.String(), Reason: "it was interrupted"}
	case err != nil && limited.Err() != nil:
		return nil, &Error{Hook: s.String(), Reason: fmt.Sprintf("no answer within %s", s.Timeout)}
	case err != nil:
		return nil, &Error{Hook: s.String(), Reason: reason(err)}
	case len(data) > maxDocument:
		return nil, &Error{Hook: s.String(), Reason: fmt.Sprintf("more than %d bytes are there", maxDocument)}
	}
	return data, nil
}

func (s Source) fetch(ctx context.Context) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	if err != nil {
		return nil, err
	}
	// What is asked for is what clients get next, not what a cache still has.
	req.Header.Set("Cache-Control", "no-cache")
	req.Header.Set("User-Agent", "keepkey")
	client := &http.Client{Transport: s.Transport, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if len(via) > 5 || (req.URL.Scheme != "https" && via[0].URL.Scheme == "https") {
			return errors.New("it redirects in circles, or away from https")
		}
		return nil
	}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if resp.StatusCode != http.StatusOK {
		return nil, &Error{Hook: s.String(), Reason: fmt.Sprintf("it answered with status %d", resp.StatusCode), Output: tail(string(data), maxAnswer)}
	}
	return data, err
}

func readDocument(path string) ([]byte, error) {
	f, _, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxDocument+1))
}

func (s Source) run(ctx context.Context, e Event) ([]byte, error) {
	input, err := e.encode()
	if err != nil {
		return nil, err
	}
	document := headBuffer{limit: maxDocument + 1}
	var stderr tailBuffer
	err = Command{Args: s.Command, Timeout: s.Timeout}.exec(ctx, environment(e), input, &document, &stderr)
	return document.Bytes(), err
}

// headBuffer takes any amount of output and keeps the beginning.
type headBuffer struct {
	bytes.Buffer
	limit int
}

func (b *headBuffer) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), b.limit-b.Len())])
	return len(p), nil
}
