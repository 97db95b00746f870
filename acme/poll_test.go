package acme_test

import (
	"encoding/json"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

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
