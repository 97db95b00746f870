package hooks

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"keepkey/internal/fault"
)

// Webhook is a server that is told over HTTP. For a publication the body is the
// pin set's document, else the event as JSON.
type Webhook struct {
	URL        string
	SecretFile string        // holds the key that signs requests, or ""
	Timeout    time.Duration // 0 stands for a minute
	// Transport is for tests; nil stands for the usual one.
	Transport http.RoundTripper
}

func (w Webhook) String() string { return withoutSecrets(w.URL) }

// maxAnswer is how much of a server's answer an error can show.
const maxAnswer = 4 << 10

// Run posts the event. Any status from 200 to 299 is success. Redirects are not
// followed: the body is signed for this address.
func (w Webhook) Run(ctx context.Context, e Event) error {
	fail := func(reason, output string) error { return &Error{Hook: w.String(), Reason: reason, Output: output} }
	limit := cmp.Or(w.Timeout, defaultTimeout)
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	body := []byte(e.Document)
	if e.Kind != Publish {
		var err error
		if body, err = e.encode(); err != nil {
			return fail(err.Error(), "")
		}
	}
	req, err := http.NewRequestWithContext(limited, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return fail(reason(err), "")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "keepkey")
	req.Header.Set("Keepkey-Event", e.Kind)
	req.Header.Set("Keepkey-Event-Id", e.ID)
	if w.SecretFile != "" {
		signature, err := w.sign(body, time.Now())
		if err != nil {
			return fail(err.Error(), "")
		}
		req.Header.Set("Keepkey-Signature", signature)
	}
	client := &http.Client{
		Transport:     w.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	var resp *http.Response
	err = fault.Do("post to webhook", w.String(), func() (err error) {
		resp, err = client.Do(req)
		return err
	})
	if resp != nil {
		defer resp.Body.Close()
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return fail("it was interrupted", "")
	case err != nil && limited.Err() != nil:
		return fail(fmt.Sprintf("no answer within %s", limit), "")
	case err != nil:
		return fail(reason(err), "")
	}
	if resp.StatusCode >= 200 && resp.StatusCode <= 299 {
		return nil // whatever else it says, and however slowly
	}
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // the status decides
	said := fmt.Sprintf("it answered with status %d", resp.StatusCode)
	if resp.StatusCode >= 300 && resp.StatusCode <= 399 {
		said += ", and redirects are not followed"
	}
	return fail(said, string(answer))
}

// withoutSecrets returns an address as it may be shown: some services want a token
// in the query, or a password before the host.
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

// reason explains an error of net/http without the address, which [Error] names
// already, and which may hold a secret.
func reason(err error) string {
	var of *url.Error
	if errors.As(err, &of) {
		err = of.Err
	}
	return err.Error()
}

// sign makes the signature header: the time and the HMAC-SHA256 of the time, a
// dot and the body, so that a copied request grows stale.
func (w Webhook) sign(body []byte, now time.Time) (string, error) {
	secret, err := os.ReadFile(w.SecretFile)
	if err != nil {
		return "", err
	}
	key := strings.TrimRight(string(secret), "\r\n") // editors end the last line
	if key == "" {
		return "", fmt.Errorf("%s is empty", w.SecretFile)
	}
	t := strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(key))
	fmt.Fprintf(mac, "%s.%s", t, body)
	return fmt.Sprintf("t=%s,v1=%s", t, hex.EncodeToString(mac.Sum(nil))), nil
}
