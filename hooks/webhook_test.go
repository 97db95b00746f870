package hooks

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

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
	if err := (Webhook{URL: server.URL}).Run(ctx, publication); err != nil || ctx.Err() != nil {
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
		return Webhook{SecretFile: file}.sign([]byte("body"), time.Unix(1795000000, 0))
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
	_, readErr := Source{URL: address}.Read(context.Background(), publication)
	for _, err := range []error{
		readErr,
		Webhook{URL: address}.Run(context.Background(), publication),
		Webhook{URL: "http://hunter2 @/"}.Run(context.Background(), publication),
	} {
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("error %v", err)
		}
	}
}
