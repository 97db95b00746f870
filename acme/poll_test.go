package acme_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"keepkey/acme"
	"keepkey/internal/acmetest"
)

func TestPendingOrderIsPolledNoHarderThanTheCAAsks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{RetryAfter: 1})
	var polls atomic.Int64
	w.ca.Misbehave(acmetest.Change(acmetest.Order, func(h http.Header, body []byte) []byte {
		if polls.Add(1) == 1 {
			var doc map[string]any
			if json.Unmarshal(body, &doc) == nil {
				doc["status"] = "processing"
				body, _ = json.Marshal(doc)
			}
			h.Set("Retry-After", "1")
		}
		return body
	}))
	start := time.Now()
	w.mustObtain(w.client(), w.request("api.example.com"))
	if polls.Load() != 2 || time.Since(start) < time.Second {
		t.Errorf("%d polls in %s, want two, a second apart", polls.Load(), time.Since(start))
	}
}

// step-ca leaves a challenge pending that failed, tells why, and tries again.
func TestReasonOfAChallengeThatStaysPendingIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	enough := make(chan struct{})
	var polls atomic.Int64
	w.ca.Misbehave(acmetest.ChangeJSON(acmetest.Authorization, func(doc map[string]any) {
		doc["status"] = "pending"
		n := polls.Add(1)
		for _, ch := range doc["challenges"].([]any) {
			ch := ch.(map[string]any)
			delete(ch, "error")
			// Not before it was tried, and not while it is tried again.
			if ch["status"] = "pending"; n == 2 || n == 4 {
				ch["error"] = map[string]any{"type": "urn:ietf:params:acme:error:connection", "detail": fmt.Sprintf("attempt %d:\x1b no route to host", n)}
			}
		}
		if n == 5 {
			close(enough)
		}
	}))
	limit := errors.New("the CA did not finish in time")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-enough
		cancel(limit)
	}()
	_, err := obtain(ctx, w.client(), w.request("api.example.com"))
	wantError(t, err, "the CA did not finish in time; the CA's last word on it: the http-01 challenge for api.example.com failed",
		`"attempt 4:\x1b no route to host" ("urn:ietf:params:acme:error:connection")`)
	if !errors.Is(err, limit) || acme.Unanswered(err) {
		t.Errorf("%v should be the time limit's error", err)
	}
}

func TestReasonOfAnOrderThatStaysInProcessIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	ctx, cancel := context.WithCancelCause(t.Context())
	var polls atomic.Int64
	w.ca.Misbehave(acmetest.ChangeJSON(acmetest.Order, func(doc map[string]any) {
		doc["status"], doc["error"] = "processing", map[string]any{"type": "x", "detail": "the HSM is out to lunch"}
		if polls.Add(1) == 3 {
			time.AfterFunc(time.Millisecond, func() { cancel(errors.New("that is enough")) })
		}
	}))
	_, err := obtain(ctx, w.client(), w.request("api.example.com"))
	wantError(t, err, "that is enough; the CA's last word on it: ", "the HSM is out to lunch")
}
