package acme_test

import (
	"crypto"
	"testing"

	"keepkey/internal/acmetest"
)

func TestRevokeCompromised(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"by the key itself", "by the account"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, acmetest.Options{})
			r := w.request("api.example.com")
			leaf := w.mustObtain(w.client(), r)[0]
			var key crypto.Signer
			if by == "by the key itself" {
				key = r.key
				// Whoever has the key may do this, whichever account it was.
				w.cfg.AccountKey, w.cfg.AccountURL, w.cfg.AcceptTerms = newKey(t), "", false
			}
			c := w.client()
			for range 2 { // that it is revoked already is not an error
				if err := c.RevokeCompromised(t.Context(), leaf.Raw, key); err != nil {
					t.Fatal(err)
				}
			}
			revoked, reason, err := w.ca.Revoked(leaf)
			if !revoked || reason != 1 || err != nil {
				t.Errorf("revoked %v, reason %d (%v), want keyCompromise", revoked, reason, err)
			}
		})
	}
}

func TestRevocationThatFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	c := w.client()
	leaf := w.mustObtain(c, w.request("api.example.com"))[0]
	err := c.RevokeCompromised(t.Context(), leaf.Raw, newKey(t)) // another key
	wantError(t, err, "revocation")
	w.ca.Misbehave(acmetest.Lose(acmetest.RevokeCert))
	wantError(t, c.RevokeCompromised(t.Context(), leaf.Raw, nil), "revocation")
	w.ca.Misbehave(acmetest.Problem(acmetest.Directory, 503, "serverInternal", "down", ""))
	wantError(t, c.RevokeCompromised(t.Context(), leaf.Raw, newKey(t)), "down")
}
