package acme_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"keepkey/acme"
	"keepkey/internal/acmetest"
)

func TestConcurrentOrdersShareOneAccountAndOneListener(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	c := w.client()
	solvers := []*acme.Solver{w.http01(), acme.NewTLSALPN01(w.ca.TLSAddr)}
	var wg sync.WaitGroup
	for i := range 8 {
		r := w.request(fmt.Sprintf("n%d.example.com", i))
		r.solver = solvers[i%2]
		wg.Go(func() {
			if _, err := obtain(t.Context(), c, r); err != nil {
				t.Errorf("%s: %v", r.Domains, err)
			}
		})
	}
	wg.Wait()
	if n := w.count(acmetest.NewAccount); n != 1 {
		t.Errorf("%d registrations for one account", n)
	}
}

func TestAccountIsFoundByItsKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	w.mustObtain(w.client(), w.request("api.example.com"))
	registered := w.cfg.AccountURL
	w.cfg.AccountURL = ""     // the file was lost, the key is there
	w.cfg.AcceptTerms = false // which is for those who register
	w.ca.Misbehave(hear(acmetest.NewAccount, func(payload map[string]any) {
		if payload["onlyReturnExisting"] != true {
			t.Errorf("the CA was asked %v, want only for what exists", payload)
		}
	}))
	w.mustObtain(w.client(), w.request("api.example.com"))
	if w.cfg.AccountURL != registered {
		t.Errorf("another account: %s, was %s", w.cfg.AccountURL, registered)
	}
}

func TestAccountThatTheCADoesNotKnowIsRegistered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	w.cfg.AccountKeyFresh = false // as when the first registration's answer was lost before it arrived
	w.mustObtain(w.client(), w.request("api.example.com"))
	if n := w.count(acmetest.NewAccount); n != 2 {
		t.Errorf("%d requests about the account, want a question and a registration", n)
	}
}

func TestCAThatIsBusyIsNotAskedToRegister(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]acmetest.Fault{
		"down":    acmetest.Problem(acmetest.NewAccount, 503, "serverInternal", "down", "60"),
		"limited": acmetest.Problem(acmetest.NewAccount, 429, "rateLimited", "slow down", "60"),
		"silent":  acmetest.Lose(acmetest.NewAccount),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, acmetest.Options{})
			w.cfg.AccountKeyFresh = false
			w.ca.Misbehave(fault)
			_, err := obtain(t.Context(), w.client(), w.request("api.example.com"))
			wantError(t, err, "account at "+w.ca.Directory)
			if n := w.count(acmetest.NewAccount); n != 1 {
				t.Errorf("%d requests, want only the question whether the account is there", n)
			}
		})
	}
}

// The client is the same throughout: it may have run for months when the CA is moved.
func TestAccountThatTheCALostIsRegisteredAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	c := w.client()
	w.mustObtain(c, w.request("api.example.com"))
	if err := w.ca.Restart(acmetest.Options{}); err != nil {
		t.Fatal(err)
	}
	w.ca.Requests()
	var wg sync.WaitGroup
	solver := w.http01()
	for i := range 4 {
		r := w.request(fmt.Sprintf("n%d.example.com", i))
		r.solver = solver
		wg.Go(func() {
			if _, err := obtain(t.Context(), c, r); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := w.count(acmetest.NewAccount); n != 2 {
		t.Errorf("%d requests about the account, want one question and one registration for all four orders", n)
	}
	if !strings.Contains(w.log.String(), "no longer knows the ACME account") {
		t.Error("that the account is gone was not logged")
	}
}

func TestTermsMustBeAccepted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	w.cfg.AcceptTerms = false
	_, err := obtain(t.Context(), w.client(), w.request("api.example.com"))
	wantError(t, err, "accept_terms: true", "data:text/plain")
	if n := w.count(acmetest.NewAccount); n != 0 {
		t.Errorf("the CA was asked %d times all the same", n)
	}
}

func TestContactIsGiven(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	w.cfg.Email = "ops@example.com"
	var contact any
	w.ca.Misbehave(hear(acmetest.NewAccount, func(payload map[string]any) { contact = payload["contact"] }))
	w.mustObtain(w.client(), w.request("api.example.com"))
	if got := fmt.Sprint(contact); got != "[mailto:ops@example.com]" {
		t.Errorf("got %s", got)
	}
}

func TestExternalAccountBinding(t *testing.T) {
	t.Parallel()
	secret := base64.RawURLEncoding.EncodeToString([]byte("an hmac key of thirty-two octets"))
	w := newWorld(t, acmetest.Options{EAB: map[string]string{"kid-1": secret}})
	for name, tt := range map[string]struct {
		eab  *acme.EAB
		want string
	}{
		"none":          {nil, "set acme.eab"},
		"another kid":   {&acme.EAB{KID: "kid-2", HMACKey: secret}, "account at"},
		"not base64url": {&acme.EAB{KID: "kid-1", HMACKey: "<secret>"}, "hmac"},
		"another's key": {&acme.EAB{KID: "kid-1", HMACKey: secret[:len(secret)-4] + "AAAA"}, "account at"},
	} {
		t.Run(name, func(t *testing.T) {
			w.cfg.EAB = tt.eab
			_, err := obtain(t.Context(), w.client(), w.request("api.example.com"))
			wantError(t, err, tt.want)
			if err != nil && tt.eab != nil && strings.Contains(err.Error(), tt.eab.HMACKey) {
				t.Error("the error shows the key")
			}
		})
	}
	w.cfg.EAB = &acme.EAB{KID: "kid-1", HMACKey: secret}
	w.mustObtain(w.client(), w.request("api.example.com"))
	w.mustObtain(w.client(), w.request("api.example.com"))
}

// An account has the e-mail address that is configured now. That the CA does not take it
// keeps nothing from being obtained.
func TestANewEmailIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	told := 0
	w.ca.Misbehave(hear("/my-account/", func(payload map[string]any) {
		told++
		if got := fmt.Sprint(payload["contact"]); got != "[mailto:"+w.cfg.Email+"]" {
			t.Errorf("the CA was told %s", got)
		}
	}))
	for _, tt := range []struct {
		email string
		told  int
	}{{"ops@example.com", 0}, {"ops@example.com", 0}, {"new@example.com", 1}, {"new@example.com", 1}, {"", 1}} {
		w.cfg.Email = tt.email
		w.mustObtain(w.client(), w.request("api.example.com"))
		if told != tt.told {
			t.Errorf("after %q the CA was told %d times, want %d", tt.email, told, tt.told)
		}
	}
	// It may be another than the account's where only the key was left.
	w.cfg.AccountURL, w.cfg.AccountEmail, w.cfg.Email = "", "", "third@example.com"
	w.mustObtain(w.client(), w.request("api.example.com"))
	if told != 2 || w.cfg.AccountEmail != w.cfg.Email {
		t.Errorf("the CA was told %d times, and on record is %q", told, w.cfg.AccountEmail)
	}
	w.cfg.Email = "other@example.com"
	w.ca.Misbehave(acmetest.Problem("/my-account/", 400, "invalidContact", "not there", ""))
	c := w.client()
	w.mustObtain(c, w.request("api.example.com"))
	w.mustObtain(c, w.request("api.example.com"))
	if w.cfg.AccountEmail == "other@example.com" || strings.Count(w.log.String(), "does not know the new e-mail address") != 1 {
		t.Errorf("on record is %q, and the log says:\n%s", w.cfg.AccountEmail, w.log)
	}
}

// An account whose URL is not on record would be registered again and again.
func TestAccountWhoseURLCannotBeSavedIsNotUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	full := errors.New("no space left on device")
	save := w.cfg.SaveAccount
	isFull := true
	w.cfg.SaveAccount = func(url, email string) error {
		if isFull {
			return full
		}
		return save(url, email)
	}
	c := w.client()
	_, err := obtain(t.Context(), c, w.request("api.example.com"))
	if !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
	if n := w.count(acmetest.NewOrder); n != 0 {
		t.Errorf("%d orders", n)
	}
	isFull = false
	w.mustObtain(c, w.request("api.example.com"))
	if w.cfg.AccountURL == "" {
		t.Error("the URL was not saved once that was possible")
	}
}

func TestAccountWithoutAURLIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	w.ca.Misbehave(acmetest.Change(acmetest.NewAccount, func(h http.Header, body []byte) []byte {
		h.Del("Location")
		return body
	}))
	_, err := obtain(t.Context(), w.client(), w.request("api.example.com"))
	wantError(t, err, "gave it no URL")
}
