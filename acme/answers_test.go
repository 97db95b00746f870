package acme_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"keepkey/acme"
	"keepkey/internal/acmetest"
	"keepkey/keystore"
	"keepkey/pinset"
)

// answered are the endpoints whose answers are changed.
var answered = []acmetest.Endpoint{
	acmetest.Directory, acmetest.NewNonce, acmetest.NewOrder, acmetest.Order, acmetest.Authorization,
	acmetest.Challenge, acmetest.Finalize, acmetest.Certificate, acmetest.RenewalInfo, acmetest.NewAccount,
}

// words are what stands in JSON.
var words = func() (all [][]byte) {
	for _, s := range []string{
		"null", "{}", "[]", `""`, "-1", "1e999", "true", "[null]", "[{}]", `"\u0000"`, `"pending"`, `"ready"`, `"processing"`, `"valid"`, `"invalid"`,
		`"https://127.0.0.1:1/"`, `{"type":"x"}`, `{"type":"urn:ietf:params:acme:error:badNonce","status":400}`,
	} {
		all = append(all, []byte(s))
	}
	return all
}()

// rewrite is a program of four bytes a step that changes an answer: what to do, where (two
// bytes, as a part of the whole), and with what. What is left over is put in at the last
// place.
func rewrite(script []byte, status int, header http.Header, body []byte) (int, []byte) {
	at := 0
	for ; len(script) >= 4; script = script[4:] {
		op, arg := script[0], script[3]
		at = (int(script[1])<<8 | int(script[2])) * len(body) >> 16
		switch op % 10 {
		case 0: // another byte
			if at < len(body) {
				body[at] = arg
			}
		case 1: // one more
			body = slices.Concat(body[:at], []byte{arg}, body[at:])
		case 2: // some less
			body = slices.Concat(body[:at], body[min(len(body), at+int(arg)):])
		case 3: // what follows, once more
			end := min(len(body), at+int(arg))
			body = slices.Concat(body[:end], body[at:])
		case 4: // the end
			body = body[:at]
		case 5: // something of JSON
			body = slices.Concat(body[:at], words[int(arg)%len(words)], body[at:])
		case 6: // in place of a member's value
			if colon := bytes.IndexByte(body[at:], ':'); colon >= 0 {
				at += colon + 1
				end := at + bytes.IndexAny(append(body[at:len(body):len(body)], ','), ",}]")
				body = slices.Concat(body[:at], words[int(arg)%len(words)], body[min(end, len(body)):])
			}
		case 7: // another status
			status = []int{200, 201, 204, 206, 301, 303, 307, 400, 401, 403, 404, 409, 418, 429, 500, 503, 599, 999}[int(arg)%18]
		case 8: // a header less
			for i, name := range []string{"Replay-Nonce", "Location", "Link", "Date", "Content-Type"} {
				if int(arg)%5 == i {
					header.Del(name)
				}
			}
		case 9: // a header more
			more := [][2]string{{"Retry-After", "0"}, {"Retry-After", "-1"}, {"Retry-After", "1e9"}, {"Location", "/"}, {"Location", "http://127.0.0.1:1/"},
				{"Replay-Nonce", "\x80"}, {"Date", "Thu, 01 Jan 1970 00:00:00 GMT"}, {"Link", "<https://127.0.0.1:1/>;rel=alternate"}, {"Content-Type", "application/problem+json"}, {"Content-Encoding", "gzip"}}
			header.Set(more[int(arg)%len(more)][0], more[int(arg)%len(more)][1])
		}
	}
	at = min(at, len(body))
	return status, slices.Concat(body[:at], script, body[at:])
}

// FuzzAnswersOfACA changes what a CA answers at one endpoint, in any way, while a client goes
// all the way from its directory to a certificate and its renewal window. What comes of it
// is an error that is fit to be shown, or a chain that the keystore judges; it ends in time,
// and nothing of lego's breaks down.
func FuzzAnswersOfACA(f *testing.F) {
	for e := range answered {
		f.Add(byte(e), []byte(nil))
		for op := range byte(10) {
			f.Add(byte(e), []byte{op, 0x40, 0, 3 * op})
		}
		f.Add(byte(e), []byte{4, 0, 0, 0, 'n', 'u', 'l'}) // nul
		f.Add(byte(e), []byte{7, 0, 0, 7, 4, 0, 0, 0, '{', '}'})
	}
	first := newWorld(f, acmetest.Options{}) // one CA for all of them
	names := 0
	f.Fuzz(func(t *testing.T, endpoint byte, script []byte) {
		e := answered[int(endpoint)%len(answered)]
		log := &logBuffer{}
		w := &world{t: t, ca: first.ca, log: log, cfg: first.cfg}
		w.cfg.SaveAccount = func(string, string) error { return nil }
		w.cfg.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		var changed atomic.Bool
		w.ca.Misbehave(change(e, func(status int, header http.Header, body []byte) (int, []byte) {
			changed.Store(true)
			return rewrite(script, status, header, body)
		}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		names++ // a name that was proven once need not be proven again
		r := w.request(fmt.Sprintf("n%d.example.com", names))
		began := time.Now()
		chain, err := wholeOrder(ctx, w, r)
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%s: it took %s, and had a second", e, took)
		}
		w.ca.Misbehave(nil)
		if len(script) == 0 && (err != nil || !changed.Load()) {
			t.Fatalf("%s: nothing was changed, and yet: %v; asked: %v", e, err, changed.Load())
		}
		if strings.Contains(w.log.String(), "panic in the ACME library") {
			t.Errorf("%s: lego broke down: %v\n%s", e, err, w.log)
		}
		if err != nil {
			if text := err.Error(); len(text) > 4000 || strings.ContainsFunc(text, unicode.IsControl) {
				t.Errorf("%s: the error is not fit to be shown: %q", e, text)
			}
			return
		}
		pin, err := pinset.Of(r.key.Public())
		if err != nil {
			t.Fatal(err)
		}
		_, err = keystore.CheckChain(chain, keystore.Want{Pin: pin, Domains: r.Domains, Now: time.Now()})
		if err != nil && (len(script) == 0 || e != acmetest.Certificate && e != acmetest.Order && e != acmetest.Finalize) {
			t.Errorf("%s: its certificate is refused: %v", e, err)
		}
	})
}

// wholeOrder goes from the directory to the certificate, and asks for its window.
func wholeOrder(ctx context.Context, w *world, r request) ([]byte, error) {
	c, err := acme.Connect(ctx, w.cfg)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	chain, err := obtain(ctx, c, r)
	if n := c.Watches(); n != 0 {
		return nil, fmt.Errorf("%d URLs are still watched", n)
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(chain)
	if block == nil {
		return chain, nil
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return chain, nil
	}
	_, err = c.RenewalWindow(ctx, leaf)
	return chain, err
}

// change rewrites whatever the CA answers at an endpoint.
func change(e acmetest.Endpoint, f func(status int, header http.Header, body []byte) (int, []byte)) acmetest.Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasPrefix(r.URL.Path, string(e)) {
				next.ServeHTTP(w, r)
				return
			}
			rec := httptest.NewRecorder()
			next.ServeHTTP(rec, r)
			status, body := f(rec.Code, rec.Header(), rec.Body.Bytes())
			rec.Header().Del("Content-Length")
			maps.Copy(w.Header(), rec.Header())
			w.WriteHeader(status)
			w.Write(body) // a request for a nonce has no room for it
		})
	}
}
