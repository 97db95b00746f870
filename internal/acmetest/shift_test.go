package acmetest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"time"
)

func TestShiftMovesTheValidityAndNothingElse(t *testing.T) {
	t.Parallel()
	s, err := Start(Options{RSA: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := s.Mint(key.Public(), []string{"api.example.com"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	offset := 1000 * 24 * time.Hour
	front := s.Shift(func() time.Duration { return offset })(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Replay-Nonce", "n")
		w.Write(chain)
	}))
	ask := func(e Endpoint) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		front.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, string(e)+"1", nil))
		return rec
	}
	if got := ask(Order).Body.Bytes(); !bytes.Equal(got, chain) {
		t.Error("another answer than the certificate was changed")
	}
	if got := ask(RenewalInfo).Code; got != http.StatusNotFound {
		t.Errorf("renewal information: status %d", got)
	}
	moved := ask(Certificate)
	if moved.Header().Get("Replay-Nonce") != "n" {
		t.Error("the CA's nonce is gone")
	}
	was, rest := leafOf(t, chain)
	is, issuers := leafOf(t, moved.Body.Bytes())
	if !is.NotBefore.Equal(was.NotBefore.Add(offset)) || !is.NotAfter.Equal(was.NotAfter.Add(offset)) {
		t.Errorf("valid from %s to %s, was %s to %s", is.NotBefore, is.NotAfter, was.NotBefore, was.NotAfter)
	}
	if is.SerialNumber.Cmp(was.SerialNumber) != 0 || !bytes.Equal(is.RawSubjectPublicKeyInfo, was.RawSubjectPublicKeyInfo) ||
		!bytes.Equal(is.RawSubject, was.RawSubject) || !reflect.DeepEqual(is.Extensions, was.Extensions) || !bytes.Equal(issuers, rest) {
		t.Error("more than the validity was changed")
	}
	issuer, _ := leafOf(t, issuers)
	if err := is.CheckSignatureFrom(issuer); err != nil {
		t.Error(err)
	}
	offset *= 2
	if again := ask(Certificate); !bytes.Equal(again.Body.Bytes(), moved.Body.Bytes()) {
		t.Error("the second download is another certificate")
	}
}

func leafOf(t *testing.T, chain []byte) (leaf *x509.Certificate, rest []byte) {
	t.Helper()
	block, rest := pem.Decode(chain)
	if block == nil {
		t.Fatalf("no PEM block: %q", chain)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return leaf, rest
}
