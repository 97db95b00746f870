package acme

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/go-acme/lego/v4/acme/api"
	"github.com/go-acme/lego/v4/certificate"
)

// ErrNoRenewalInfo says that the CA does not offer renewal information.
var ErrNoRenewalInfo = errors.New("the CA offers no renewal information")

// Window is when a CA would like a certificate to be renewed (RFC 9773 section
// 4.2). It is what the CA said: whether it makes sense is the caller's to judge.
type Window struct {
	Start, End  time.Time
	Explanation string        // URL of a page for people, or ""
	RetryAfter  time.Duration // when to ask again; 0 when the CA does not say
}

// RenewalWindow asks the CA when to renew a certificate. It needs no account.
func (c *Client) RenewalWindow(ctx context.Context, cert *x509.Certificate) (Window, error) {
	id, err := certID(cert)
	if err != nil {
		return Window{}, err
	}
	core, err := c.ready(ctx, unsigned)
	if err != nil {
		return Window{}, fmt.Errorf("renewal information: %w", err)
	}
	resp, err := call(ctx, c, func() (*http.Response, error) { return core.Certificates.GetRenewalInfo(id) })
	switch {
	case errors.Is(err, api.ErrNoARI):
		return Window{}, ErrNoRenewalInfo
	case err != nil:
		return Window{}, fmt.Errorf("renewal information: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return Window{}, fmt.Errorf("renewal information: the CA answers with status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(resp.Body) // bounded by the guard
	if err != nil {
		return Window{}, err
	}
	w, err := parseRenewalInfo(body)
	if err != nil {
		return Window{}, err
	}
	if d, ok := retryAfter(resp.Header, c.cfg.Now()); ok {
		w.RetryAfter = d
	}
	return w, nil
}

func parseRenewalInfo(body []byte) (Window, error) {
	var info struct {
		SuggestedWindow struct {
			Start time.Time `json:"start"`
			End   time.Time `json:"end"`
		} `json:"suggestedWindow"`
		ExplanationURL string `json:"explanationURL"`
	}
	if err := json.Unmarshal(body, &info); err != nil {
		return Window{}, fmt.Errorf("renewal information: %.*q is not what RFC 9773 describes", shownBody, body)
	}
	w := Window{Start: info.SuggestedWindow.Start, End: info.SuggestedWindow.End, Explanation: info.ExplanationURL}
	if len(w.Explanation) > 500 || checkURL(w.Explanation) != nil {
		w.Explanation = ""
	}
	return w, nil
}

// certID names a certificate to the CA (RFC 9773 section 4.1).
func certID(cert *x509.Certificate) (string, error) {
	if len(cert.AuthorityKeyId) == 0 {
		return "", errors.New("the certificate has no authority key identifier, so it has no renewal information")
	}
	return certificate.MakeARICertID(cert)
}
