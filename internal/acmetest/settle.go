package acmetest

import (
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/letsencrypt/pebble/v2/db"
)

// finalizations makes up for two faults of Pebble's (v2.10.1).
//
// After it has answered a finalization it goes on, in the background, to issue the
// certificate and to note which order it is from and which it replaces. An order that
// comes before it is done is refused with a server error, and the race detector rightly
// complains; who looks at the order meanwhile can lock Pebble up for good, since it
// takes a lock for reading twice and the background wants to write in between. So the
// answer waits until all is settled.
//
// Who looks at an authorization while another order is placed can lock Pebble up, too:
// one holds the authorization and waits for the store, the other holds the store and
// waits for the authorization. So these are kept apart.
//
// It also makes a reuse of 0 percent mean none: Pebble would take one valid
// authorization in a hundred again.
type finalizations struct {
	store *db.MemoryStore
	reuse bool
	apart sync.RWMutex // held by new orders, and shared by looks at authorizations
	mu    sync.Mutex
	taken []string // IDs of certificates that were downloaded
}

// settleTime bounds the wait: an order that fails is never settled.
const settleTime = time.Second

// watch stands in front of Pebble.
func (f *finalizations) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == string(NewOrder):
			f.apart.Lock()
			defer f.apart.Unlock()
			f.expireTaken()
		case strings.HasPrefix(r.URL.Path, string(Authorization)):
			f.apart.RLock()
			defer f.apart.RUnlock()
		}
		next.ServeHTTP(w, r)
		if id, ok := strings.CutPrefix(r.URL.Path, string(Finalize)); ok {
			f.settle(id)
		}
		if id, ok := strings.CutPrefix(r.URL.Path, string(Certificate)); ok {
			f.mu.Lock()
			f.taken = append(f.taken, id)
			f.mu.Unlock()
		}
	})
}

func (f *finalizations) settle(id string) {
	for deadline := time.Now().Add(settleTime); !f.settled(id) && time.Now().Before(deadline); {
		time.Sleep(100 * time.Microsecond)
	}
}

func (f *finalizations) expireTaken() {
	f.mu.Lock()
	taken := f.taken
	f.taken = nil
	f.mu.Unlock()
	if f.reuse {
		return
	}
	for _, id := range taken {
		f.expire(id)
	}
}

// expire ends the authorizations of the order that a certificate is from.
func (f *finalizations) expire(id string) {
	order, err := f.store.GetOrderByIssuedSerial(id)
	if err != nil {
		return
	}
	order.RLock()
	defer order.RUnlock()
	for _, authz := range order.AuthorizationObjects {
		authz.Lock()
		authz.ExpiresDate = time.Unix(0, 0)
		authz.Unlock()
	}
}

func (f *finalizations) settled(id string) bool {
	order := f.store.GetOrderByID(id)
	if order == nil {
		return true
	}
	order.RLock()
	cert, replaces, began := order.CertificateObject, order.Replaces, order.BeganProcessing
	order.RUnlock()
	if !began {
		return true // it was not accepted
	}
	if cert == nil {
		return false
	}
	if _, err := f.store.GetOrderByIssuedSerial(cert.ID); err != nil {
		return false
	}
	if replaces == "" {
		return true
	}
	original, err := f.store.GetOrderByIssuedSerial(serialOf(replaces))
	if err != nil {
		return true
	}
	original.RLock()
	defer original.RUnlock()
	return original.IsReplaced
}

// serialOf returns the serial in a certificate's ID (RFC 9773 section 4.1), as
// Pebble writes it.
func serialOf(certID string) string {
	_, serial, _ := strings.Cut(certID, ".")
	raw, err := base64.RawURLEncoding.DecodeString(serial)
	if err != nil {
		return ""
	}
	return hex.EncodeToString(new(big.Int).SetBytes(raw).Bytes())
}
