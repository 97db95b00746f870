package acmetest

import (
	"bytes"
	"compress/gzip"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Endpoint is a kind of request, by the beginning of its path at Pebble.
type Endpoint string

// The endpoints of an ACME server (RFC 8555 section 7.1, RFC 9773).
const (
	Everything    Endpoint = "/"
	Directory     Endpoint = "/dir"
	NewNonce      Endpoint = "/nonce-plz"
	NewAccount    Endpoint = "/sign-me-up"
	NewOrder      Endpoint = "/order-plz"
	Order         Endpoint = "/my-order/"
	Authorization Endpoint = "/authZ/"
	Challenge     Endpoint = "/chalZ/"
	Finalize      Endpoint = "/finalize-order/"
	Certificate   Endpoint = "/certZ/"
	RevokeCert    Endpoint = "/revoke-cert"
	RenewalInfo   Endpoint = "/draft-ietf-acme-ari-03/"
)

// Fault stands between a CA and its clients.
type Fault = func(http.Handler) http.Handler

// at applies a handler to one endpoint and leaves the others alone.
func at(e Endpoint, h func(next http.Handler, w http.ResponseWriter, r *http.Request)) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasPrefix(r.URL.Path, string(e)) {
				next.ServeHTTP(w, r)
				return
			}
			h(next, w, r)
		})
	}
}

// Respond answers in the CA's place. The nonce that the CA would have given
// comes along, so that it is this answer that the client has to deal with.
func Respond(e Endpoint, status int, header http.Header, body []byte) Fault {
	return at(e, func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Replay-Nonce", nonce(next))
		maps.Copy(w.Header(), header)
		w.WriteHeader(status)
		w.Write(body)
	})
}

// Problem answers with a problem document (RFC 7807).
func Problem(e Endpoint, status int, kind, detail, retryAfter string) Fault {
	body, _ := json.Marshal(map[string]any{"type": "urn:ietf:params:acme:error:" + kind, "detail": detail, "status": status})
	header := http.Header{"Content-Type": {"application/problem+json"}}
	if retryAfter != "" {
		header.Set("Retry-After", retryAfter)
	}
	return Respond(e, status, header, body)
}

func nonce(next http.Handler) string {
	rec := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodHead, string(NewNonce), nil)
	req.Header.Set("User-Agent", "acmetest") // Pebble gives no nonce without one
	next.ServeHTTP(rec, req)
	return rec.Header().Get("Replay-Nonce")
}

// Flood answers with a JSON document of that many bytes that never gets anywhere.
func Flood(e Endpoint, status int, size int64) Fault {
	return at(e, func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Replay-Nonce", nonce(next))
		w.WriteHeader(status)
		io.WriteString(w, `{"detail":"`)
		block := bytes.Repeat([]byte("A"), 1<<20)
		for sent := int64(0); sent < size; sent += int64(len(block)) {
			if _, err := w.Write(block); err != nil {
				return // the client had enough
			}
		}
	})
}

// Stall sends the head of an answer and then nothing more.
func Stall(e Endpoint) Fault {
	return at(e, func(_ http.Handler, w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusOK)
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
}

// Trickle answers a byte at a time, and never ends.
func Trickle(e Endpoint) Fault {
	return at(e, func(_ http.Handler, w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusOK)
		next := time.NewTicker(5 * time.Millisecond)
		defer next.Stop()
		for {
			select {
			case <-r.Context().Done():
				return
			case <-next.C:
				if _, err := w.Write([]byte(" ")); err != nil {
					return
				}
				http.NewResponseController(w).Flush()
			}
		}
	})
}

// EarlyHints announces an answer for ever (RFC 8297), and never gives it.
func EarlyHints(e Endpoint) Fault {
	return at(e, func(_ http.Handler, w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		for r.Context().Err() == nil {
			w.WriteHeader(http.StatusEarlyHints)
		}
	})
}

// Bomb answers with that many MiB of spaces, packed so that they are a thousandth of that
// on their way.
func Bomb(e Endpoint, status, size int) Fault {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write(bytes.Repeat([]byte(" "), 1<<20))
	z.Close()
	header := http.Header{"Content-Encoding": {"gzip"}, "Content-Type": {"application/json"}}
	return Respond(e, status, header, bytes.Repeat(packed.Bytes(), size)) // gzip's members may follow each other
}

// Headers adds headers to the CA's answers, that many bytes in all.
func Headers(e Endpoint, size int) Fault {
	const each = 8 << 10
	return at(e, func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		for i := range size / each {
			w.Header().Set("X-"+strconv.Itoa(i), strings.Repeat("h", each))
		}
		next.ServeHTTP(w, r)
	})
}

// Count lets the CA answer as it will, and closes a channel at the n-th request.
func Count(e Endpoint, n int) (asked <-chan struct{}, count Fault) {
	reached := make(chan struct{})
	var requests atomic.Int64
	return reached, at(e, func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == int64(n) {
			close(reached)
		}
		next.ServeHTTP(w, r)
	})
}

// Both puts one fault in front of another.
func Both(first, second Fault) Fault {
	return func(next http.Handler) http.Handler { return first(second(next)) }
}

// Issue hands out chains in PEM of its own in place of the CA's: made by f, for the key and
// the names that were asked for last.
func Issue(f func(pub crypto.PublicKey, domains []string) ([]byte, error)) Fault {
	var asked atomic.Pointer[x509.CertificateRequest]
	note := at(Finalize, func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		if csr := requested(r); csr != nil {
			asked.Store(csr)
		}
		next.ServeHTTP(w, r)
	})
	return Both(note, Change(Certificate, func(_ http.Header, body []byte) []byte {
		csr := asked.Load()
		if csr == nil {
			return body
		}
		chain, err := f(csr.PublicKey, csr.DNSNames)
		if err != nil {
			return []byte(err.Error())
		}
		return chain
	}))
}

// Redirect sends the client elsewhere.
func Redirect(e Endpoint, status int, to string) Fault {
	return Respond(e, status, http.Header{"Location": {to}}, nil)
}

// Change rewrites the CA's answer. Both are handed to f, which may change them.
func Change(e Endpoint, f func(header http.Header, body []byte) []byte) Fault {
	return at(e, func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		body := rec.Body.Bytes()
		if rec.Code < 300 {
			body = f(rec.Header(), body)
		}
		maps.Copy(w.Header(), rec.Header())
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(rec.Code)
		w.Write(body)
	})
}

// ChangeJSON rewrites the JSON object in the CA's answer.
func ChangeJSON(e Endpoint, f func(doc map[string]any)) Fault {
	return Change(e, func(_ http.Header, body []byte) []byte {
		var doc map[string]any
		if json.Unmarshal(body, &doc) != nil {
			return body
		}
		f(doc)
		body, _ = json.Marshal(doc)
		return body
	})
}

// Cut breaks the connection after that many bytes of the answer.
func Cut(e Endpoint, after int) Fault {
	return at(e, func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		maps.Copy(w.Header(), rec.Header())
		w.Header().Set("Content-Length", strconv.Itoa(rec.Body.Len()))
		w.WriteHeader(rec.Code)
		w.Write(rec.Body.Bytes()[:min(after, rec.Body.Len())])
		if after > 0 {
			http.NewResponseController(w).Flush() // or it would be lost with us
		}
		panic(http.ErrAbortHandler)
	})
}

// Lose lets the CA do what it was asked, and loses the answer.
func Lose(e Endpoint) Fault { return Cut(e, 0) }

// RefuseKey refuses to issue certificates for some keys.
func RefuseKey(refused func(crypto.PublicKey) bool) Fault {
	refuse := Problem(Finalize, http.StatusForbidden, "badPublicKey", "not this key", "")
	return at(Finalize, func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		if csr := requested(r); csr != nil && refused(csr.PublicKey) {
			next = refuse(next)
		}
		next.ServeHTTP(w, r)
	})
}

// requested returns the certificate request that finalizes an order, or nil.
func requested(r *http.Request) *x509.CertificateRequest {
	var finalize struct{ CSR string }
	_ = json.Unmarshal(Signed(r), &finalize)
	der, _ := base64.RawURLEncoding.DecodeString(finalize.CSR)
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil
	}
	return csr
}

// Signed returns what a signed request says, and leaves it to be read again (RFC 8555
// section 6.2).
func Signed(r *http.Request) []byte {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var jws struct{ Payload string }
	if json.Unmarshal(body, &jws) != nil {
		return nil
	}
	payload, _ := base64.RawURLEncoding.DecodeString(jws.Payload)
	return payload
}

// Hesitate has the CA tell what went wrong with an authorization's challenges, and leave
// all of them pending, as step-ca does. After so many answers it gives them up, which
// RFC 8555 section 8.2 wants at once.
func Hesitate(answers int32, detail string) Fault {
	var seen atomic.Int32
	return ChangeJSON(Authorization, func(doc map[string]any) {
		n := seen.Add(1) - 1
		if n == 0 {
			return // the one that says which challenges there are
		}
		doc["status"] = "pending"
		if n > answers {
			doc["status"] = "invalid"
		}
		challenges, _ := doc["challenges"].([]any)
		for _, c := range challenges {
			if ch, ok := c.(map[string]any); ok {
				ch["status"] = doc["status"]
				ch["error"] = map[string]any{"type": "urn:ietf:params:acme:error:connection", "detail": detail, "status": 400}
			}
		}
	})
}
