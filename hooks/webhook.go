package hooks

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// Webhook is a server that is told over HTTP. For a publication the body is the
// pin set's document, else the event as JSON.
type Webhook struct {
	URL        string
	SecretFile string // holds the key that signs requests, or ""
	Timeout    time.Duration
	// Transport is for tests; nil stands for the usual one.
	Transport http.RoundTripper
}

func (w Webhook) String() string { return w.URL }

// maxAnswer is how much of a server's answer an error can show.
const maxAnswer = 4 << 10

// Run posts the event. Any status from 200 to 299 is success. Redirects are not
// followed: the body is signed for this address.
func (w Webhook) Run(ctx context.Context, e Event) error {
	fail := func(reason, output string) error { return &Error{Hook: w.String(), Reason: reason, Output: output} }
	ctx, cancel := context.WithTimeout(ctx, w.Timeout)
	defer cancel()
	e.Schema = 1
	body := []byte(e.Document)
	if e.Kind != Publish {
		var err error
		if body, err = json.Marshal(e); err != nil {
			return fail(err.Error(), "")
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return fail(err.Error(), "")
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
	resp, err := client.Do(req)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fail(fmt.Sprintf("no answer within %s", w.Timeout), "")
	case err != nil:
		return fail(err.Error(), "")
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // the status decides
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fail(fmt.Sprintf("it answered with status %d", resp.StatusCode), string(answer))
	}
	return nil
}

// sign makes the signature header: the time and the HMAC-SHA256 of the time, a
// dot and the body, so that a copied request grows stale.
func (w Webhook) sign(body []byte, now time.Time) (string, error) {
	secret, err := os.ReadFile(w.SecretFile)
	if err != nil {
		return "", err
	}
	key := strings.TrimSpace(string(secret))
	if key == "" {
		return "", fmt.Errorf("%s is empty", w.SecretFile)
	}
	t := strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(key))
	fmt.Fprintf(mac, "%s.%s", t, body)
	return fmt.Sprintf("t=%s,v1=%s", t, hex.EncodeToString(mac.Sum(nil))), nil
}
