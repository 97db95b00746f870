package hooks

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWebhookIsSigned(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("topsecret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var problem string
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		stamp, signature, _ := strings.Cut(r.Header.Get("Keepkey-Signature"), ",v1=")
		mac := hmac.New(sha256.New, []byte("topsecret"))
		fmt.Fprintf(mac, "%s.%s.%s.%s", strings.TrimPrefix(stamp, "t="), r.Header.Get("Keepkey-Event"), r.Header.Get("Keepkey-Event-Id"), body)
		if string(body) != publication(t).Document || signature != hex.EncodeToString(mac.Sum(nil)) || r.Header.Get("Keepkey-Event-Id") != "e1" {
			problem = fmt.Sprintf("body %q, headers %v", body, r.Header)
		}
	}))
	defer server.Close()
	w := Webhook{URL: server.URL, SecretFile: secret, Timeout: time.Minute, Transport: server.Client().Transport}
	if err := w.Run(context.Background(), publication(t)); err != nil {
		t.Error(err)
	}
	if problem != "" {
		t.Error(problem)
	}
}

func TestWebhookFailuresAreExplained(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"refused": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500); io.WriteString(w, "\x1b[31mno") }, "status 500"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, "status 307"},
		"endless":       {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500); w.Write(make([]byte, 10<<20)) }, "status 500"},
		"accepted":      {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusAccepted) }, "which does not say that it was done"},
		"never answers": {func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body); <-r.Context().Done() }, "no answer within"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(tt.handler)
			defer server.Close()
			w := Webhook{URL: server.URL, Timeout: time.Minute}
			if name == "never answers" {
				w.Timeout = 50 * time.Millisecond
			}
			err := w.Run(context.Background(), publication(t))
			if err == nil || !strings.Contains(err.Error(), tt.want) || len(err.Error()) > 2500 || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("error %.300v, want one that says %q", err, tt.want)
			}
		})
	}
}

func TestWebhookSaysWhatItSends(t *testing.T) {
	t.Parallel()
	types := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { types <- r.Header.Get("Content-Type") }))
	defer server.Close()
	for _, tt := range []struct {
		event Event
		want  string
	}{
		{publication(t), "application/vnd.example+json"},
		{Event{Kind: Deploy}, "application/json"}, // the event itself
	} {
		if err := (Webhook{URL: server.URL}).Run(context.Background(), tt.event); err != nil {
			t.Fatal(err)
		}
		if got := <-types; got != tt.want {
			t.Errorf("%s: content type %q, want %q", tt.event.Kind, got, tt.want)
		}
	}
}

// Who is notified may be so later: nothing depends on it.
func TestWebhookMayAcceptANotification(t *testing.T) {
	t.Parallel()
	bodies := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- string(body)
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	if err := (Webhook{URL: server.URL}).Run(t.Context(), notice()); err != nil {
		t.Error(err)
	}
	if got, want := <-bodies, `"problem":{"id":"deploy","code":"deploy-failing","severity":"critical"},"certificates":["api"]}`; !strings.HasSuffix(got, want) {
		t.Errorf("it was sent %s", got)
	}
}

func TestWebhookSuccessDoesNotWaitForTheAnswersEnd(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "well, ")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := (Webhook{URL: server.URL}).Run(ctx, publication(t)); err != nil || ctx.Err() != nil {
		t.Errorf("errors %v, %v", err, ctx.Err())
	}
}

func TestSecretLosesItsLineEndAndNothingElse(t *testing.T) {
	t.Parallel()
	sign := func(secret string) (string, error) {
		file := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
		return Webhook{SecretFile: file}.sign(publication(t), []byte("body"), time.Unix(1795000000, 0))
	}
	plain, err := sign("key")
	if err != nil {
		t.Fatal(err)
	}
	for secret, same := range map[string]bool{"key\n": true, "key\r\n": true, " key": false, "key ": false} {
		if got, err := sign(secret); err != nil || (got == plain) != same {
			t.Errorf("%q signs %s (%v), and the plain key %s", secret, got, err, plain)
		}
	}
	for _, secret := range []string{"", "\n"} {
		if _, err := sign(secret); err == nil || !strings.Contains(err.Error(), "is empty") {
			t.Errorf("%q: error %v, want one that says is empty", secret, err)
		}
	}
}

func TestErrorsDoNotTellWhatTheAddressHides(t *testing.T) {
	t.Parallel()
	const address = "http://user:hunter2@127.0.0.1:1/pins?token=hunter2"
	_, readErr := URL{URL: address}.Read(context.Background(), publication(t))
	for _, err := range []error{
		readErr,
		Webhook{URL: address}.Run(context.Background(), publication(t)),
		Webhook{URL: "http://hunter2 @/"}.Run(context.Background(), publication(t)),
	} {
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("error %v", err)
		}
	}
}
