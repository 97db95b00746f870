package acme_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"crypto/x509"

	"keepkey/acme"
	"keepkey/internal/acmetest"
)

func TestRenewalWindow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	c := w.client()
	leaf := w.mustObtain(c, w.request("api.example.com"))[0]
	start := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	if err := w.ca.SetRenewalInfo(leaf, acmetest.Window(start, start.Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	got, err := c.RenewalWindow(t.Context(), leaf)
	if want := (acme.Window{Start: start, End: start.Add(time.Hour), RetryAfter: 6 * time.Hour}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestRenewalWindowNeedsNoAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	leaf := w.mustObtain(w.client(), w.request("api.example.com"))[0]
	w.cfg.AccountKey, w.cfg.AccountURL, w.cfg.AccountKeyFresh, w.cfg.AcceptTerms = newKey(t), "", true, false
	if _, err := w.client().RenewalWindow(t.Context(), leaf); err != nil {
		t.Error(err)
	}
}

func TestRenewalWindowOfAbsurdAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	c := w.client()
	leaf := w.mustObtain(c, w.request("api.example.com"))[0]
	for name, tt := range map[string]struct {
		answer string
		want   string // the window or the error
	}{
		"empty":     {``, `"" is not what RFC 9773 describes`},
		"not JSON":  {"<html>\x1b", `is not what RFC 9773 describes`},
		"not times": {`{"suggestedWindow":{"start":"soon","end":"later"}}`, "is not what RFC 9773 describes"},
		// Whether a window makes sense is for the caller to judge.
		"null":               {`null`, "0001-01-01 to 0001-01-01 "},
		"the year 2999":      {`{"suggestedWindow":{"start":"2999-01-01T00:00:00Z","end":"2999-01-02T00:00:00Z"}}`, "2999-01-01 to 2999-01-02 "},
		"an explanation":     {`{"explanationURL":"https://ca.example/why"}`, "0001-01-01 to 0001-01-01 https://ca.example/why"},
		"no URL to explain":  {`{"explanationURL":"javascript:alert(1)"}`, "0001-01-01 to 0001-01-01 "},
		"a novel to explain": {`{"explanationURL":"https://ca.example/` + strings.Repeat("a", 600) + `"}`, "0001-01-01 to 0001-01-01 "},
	} {
		t.Run(name, func(t *testing.T) {
			w.ca.Misbehave(acmetest.Respond(acmetest.RenewalInfo, 200, nil, []byte(tt.answer)))
			got, err := c.RenewalWindow(t.Context(), leaf)
			text := fmt.Sprintf("%s to %s %s", got.Start.Format(time.DateOnly), got.End.Format(time.DateOnly), got.Explanation)
			if err != nil {
				wantError(t, err)
				text = err.Error()
			}
			if text != tt.want && !(err != nil && strings.Contains(text, tt.want)) {
				t.Errorf("got %q, want %q", text, tt.want)
			}
		})
	}
}

func TestCAWithoutRenewalInformation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	leaf := w.mustObtain(w.client(), w.request("api.example.com"))[0]
	t.Run("in its directory", func(t *testing.T) {
		w.ca.Misbehave(acmetest.ChangeJSON(acmetest.Directory, func(doc map[string]any) { delete(doc, "renewalInfo") }))
		defer w.ca.Misbehave(nil)
		if _, err := w.client().RenewalWindow(t.Context(), leaf); !errors.Is(err, acme.ErrNoRenewalInfo) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("about this certificate", func(t *testing.T) {
		w.ca.Misbehave(acmetest.Problem(acmetest.RenewalInfo, 404, "malformed", "no such certificate", "60"))
		defer w.ca.Misbehave(nil)
		_, err := w.client().RenewalWindow(t.Context(), leaf)
		var p *acme.Problem
		if !errors.As(err, &p) || p.RetryAfter != time.Minute {
			t.Errorf("got %v", err)
		}
		wantError(t, err, "renewal information", "no such certificate")
	})
	t.Run("but with a status that means nothing", func(t *testing.T) {
		w.ca.Misbehave(acmetest.Respond(acmetest.RenewalInfo, 204, nil, nil))
		defer w.ca.Misbehave(nil)
		_, err := w.client().RenewalWindow(t.Context(), leaf)
		wantError(t, err, "status 204")
	})
	t.Run("about a certificate that names no issuer", func(t *testing.T) {
		_, err := w.client().RenewalWindow(t.Context(), &x509.Certificate{})
		wantError(t, err, "authority key identifier")
	})
}
