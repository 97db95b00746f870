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

// finalizations makes up for a race of Pebble's (v2.10.1). After it has issued a
// certificate it goes on, in the background, to note which order the certificate
// is from and which it replaces; an order that comes before it is done is refused
// with a server error, and the race detector rightly complains. So the next order
// waits until Pebble has settled the ones before.
//
// It also makes a reuse of 0 percent mean none: Pebble would take one valid
// authorization in a hundred again.
type finalizations struct {
	store *db.MemoryStore
	reuse bool
	mu    sync.Mutex
	open  []string // IDs of orders that were finalized
	taken []string // IDs of certificates that were downloaded
}

// settleTime bounds the wait: an order that fails is never settled.
const settleTime = time.Second

// watch stands in front of Pebble.
func (f *finalizations) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == string(NewOrder) {
			f.settle()
		}
		next.ServeHTTP(w, r)
		f.mu.Lock()
		defer f.mu.Unlock()
		if id, ok := strings.CutPrefix(r.URL.Path, string(Finalize)); ok {
			f.open = append(f.open, id)
		}
		if id, ok := strings.CutPrefix(r.URL.Path, string(Certificate)); ok {
			f.taken = append(f.taken, id)
		}
	})
}

func (f *finalizations) settle() {
	f.mu.Lock()
	open, taken := f.open, f.taken
	f.open, f.taken = nil, nil
	f.mu.Unlock()
	for _, id := range open {
		for deadline := time.Now().Add(settleTime); !f.settled(id) && time.Now().Before(deadline); {
			time.Sleep(100 * time.Microsecond)
		}
	}
	if !f.reuse {
		for _, id := range taken {
			f.expire(id)
		}
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
