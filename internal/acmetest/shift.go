package acmetest

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"time"
)

// Shift is for clients whose clock is not the CA's: offset is how far theirs is
// ahead. The CA does everything as ever, but a certificate that is downloaded is
// signed anew, and is valid that much later; its serial number, key, names and
// extensions stay. It is the same one however often it is downloaded. There is no
// renewal information, since that would be about another time.
// The CA must have been started with Options.RSA.
func (s *Server) Shift(offset func() time.Duration) Fault {
	var mu sync.Mutex
	downloaded := make(map[string][]byte)
	download := func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r) // always: it says who may download what
		body := rec.Body.Bytes()
		if rec.Code == http.StatusOK {
			mu.Lock()
			defer mu.Unlock()
			if downloaded[r.URL.Path] == nil {
				moved, err := s.move(body, offset())
				if err != nil {
					http.Error(w, err.Error(), http.StatusInternalServerError)
					return
				}
				downloaded[r.URL.Path] = moved
			}
			body = downloaded[r.URL.Path]
		}
		maps.Copy(w.Header(), rec.Header())
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(rec.Code)
		w.Write(body)
	}
	notFound := func(_ http.Handler, w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }
	return func(next http.Handler) http.Handler {
		return s.dated(offset, at(RenewalInfo, notFound)(at(Certificate, download)(next)))
	}
}

// dated lets the answers carry the client's time.
func (s *Server) dated(offset func() time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(offset()).UTC().Format(http.TimeFormat))
		next.ServeHTTP(w, r)
	})
}

// move signs the first certificate of a chain in PEM anew, for a later time.
func (s *Server) move(chain []byte, offset time.Duration) ([]byte, error) {
	issuer, key, err := s.Issuer()
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(chain)
	if block == nil {
		return nil, errors.New("the chain holds no PEM block")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	leaf.NotBefore, leaf.NotAfter = leaf.NotBefore.Add(offset), leaf.NotAfter.Add(offset)
	leaf.ExtraExtensions = leaf.Extensions // only these are taken over as they are
	der, err := x509.CreateCertificate(rand.Reader, leaf, issuer, leaf.PublicKey, key)
	if err != nil {
		return nil, err
	}
	var moved bytes.Buffer
	if err := pem.Encode(&moved, &pem.Block{Type: block.Type, Bytes: der}); err != nil {
		return nil, err
	}
	moved.Write(rest)
	return moved.Bytes(), nil
}
