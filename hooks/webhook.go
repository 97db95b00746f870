package hooks

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"keepkey/internal/fault"
	"keepkey/internal/trusted"
)

// Webhook is a server that is told over HTTP. For a publication the body is the
// pin set's document, otherwise the event as JSON. It is a [Hook].
type Webhook struct {
	URL        string
	SecretFile string        // path of a file with the key that signs requests, or ""
	Timeout    time.Duration // 0 means a minute
	// Transport is for tests; nil means the default one.
	Transport http.RoundTripper
}

func (w Webhook) ID() string { return identity("webhook", w.URL) }

func (w Webhook) String() string { return withoutSecrets(w.URL) }

// Run posts the event. Any status from 200 to 299 is success but 202: it says that the
// event may be acted on some time (RFC 9110 section 15.3.3), and a pin set would count as
// out that is not. Where people are notified, that is as good as it gets. Redirects are not followed: the body is signed for this address.
func (w Webhook) Run(ctx context.Context, e Event) error {
	limit := cmp.Or(w.Timeout, defaultTimeout)
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	body, contentType := []byte(e.Document), e.ContentType
	if e.Kind != Publish {
		var err error
		if body, err = e.encode(); err != nil {
			return failed(w, err.Error(), "")
		}
		contentType = "application/json"
	}
	req, err := http.NewRequestWithContext(limited, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return failed(w, reason(err), "")
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", "keepkey")
	req.Header.Set("Keepkey-Event", e.Kind)
	req.Header.Set("Keepkey-Event-Id", e.ID)
	if w.SecretFile != "" {
		signature, err := w.sign(e, body, time.Now())
		if err != nil {
			return failed(w, err.Error(), "")
		}
		req.Header.Set("Keepkey-Signature", signature)
	}
	client := &http.Client{
		Transport:     via(w.Transport),
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
	if err != nil {
		return failed(w, failure(ctx, limited, limit, err), "")
	}
	if resp.StatusCode >= 200 && resp.StatusCode <= 299 && (resp.StatusCode != http.StatusAccepted || e.Kind == Notify) {
		return nil // the rest of the answer is not waited for
	}
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // only to be shown
	said := fmt.Sprintf("it answered with status %d", resp.StatusCode)
	switch {
	case resp.StatusCode == http.StatusAccepted:
		said += ", which does not say that it was done: it has to answer with 200 once it is"
	case resp.StatusCode >= 300 && resp.StatusCode <= 399:
		said += ", and redirects are not followed"
	}
	return failed(w, said, string(answer))
}

// sign makes the signature header: the time, and the HMAC-SHA256 of the time, the event,
// its ID and the body, with dots between. The time is signed so that a recorded request
// grows stale, and the event so that none can be passed off as another.
func (w Webhook) sign(e Event, body []byte, now time.Time) (string, error) {
	secret, err := trusted.ReadSecret(w.SecretFile)
	if err != nil {
		return "", err
	}
	key := strings.TrimRight(string(secret), "\r\n") // editors add a line end
	if key == "" {
		return "", fmt.Errorf("%s is empty", w.SecretFile)
	}
	t := strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(key))
	fmt.Fprintf(mac, "%s.%s.%s.%s", t, e.Kind, e.ID, body)
	return fmt.Sprintf("t=%s,v1=%s", t, hex.EncodeToString(mac.Sum(nil))), nil
}
