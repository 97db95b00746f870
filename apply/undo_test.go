package apply_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"keepkey/apply"
	"keepkey/internal/acmetest"
	"keepkey/plan"
)

// A rollover is undone with the certificate from before, where that is valid still. So
// there is a way back while the CA is down.
func TestARolloverIsUndoneWithoutTheCA(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(w *world)
		orders bool // it takes a new certificate
	}{
		{"the old certificate is there", func(*world) {}, false},
		{"the old certificate is damaged", func(w *world) {
			if err := os.WriteFile(filepath.Join(w.dir, "state/lineages/api/certs/1/chain.pem"), []byte("damaged"), 0o600); err != nil {
				w.t.Fatal(err)
			}
		}, true},
		{"the old certificate is gone", func(w *world) {
			if err := os.RemoveAll(filepath.Join(w.dir, "state/lineages/api/certs/1")); err != nil {
				w.t.Fatal(err)
			}
		}, true},
		{"the old certificate will expire soon", func(w *world) { w.offset = 76 * day }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, acmetest.Options{})
			cert := w.pinned("api")
			cert.KeepOldPin = 80 * day
			w.mustRenew(cert, apply.Options{})
			before := w.found(cert)
			if err := w.runner().Rotate(t.Context(), cert, apply.RotateOptions{}); err != nil {
				t.Fatal(err)
			}
			w.mustRenew(cert, apply.Options{})
			switched := w.found(cert)
			if switched.LivePin == before.LivePin {
				t.Fatal("it did not switch")
			}
			tt.change(w)
			if err := w.runner().Rotate(t.Context(), cert, apply.RotateOptions{Undo: true}); err != nil {
				t.Fatal(err)
			}
			w.ca.Misbehave(func(http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
			})
			rep := w.renew(cert, apply.Options{})
			after := w.found(cert)
			if back := after.LivePin == before.LivePin; back == tt.orders || back != rep.Did(plan.SwitchKey) {
				t.Errorf("back: %v; done %v, problems %q", back, rep.Done, problems(rep))
			}
			if tt.orders {
				w.ca.Misbehave(nil)
				w.offset += time.Hour
				w.mustRenew(cert, apply.Options{})
				if after = w.found(cert); after.LivePin != before.LivePin {
					t.Error("it did not go back once the CA was there again")
				}
			}
			if after.Live <= switched.Live || after.State.Rollover != nil {
				t.Errorf("version %d is live after %d, rollover %+v", after.Live, switched.Live, after.State.Rollover)
			}
			// It is renewed like any other.
			w.ca.Misbehave(nil)
			w.offset += day
			if rep := w.renew(cert, apply.Options{Force: true}); len(rep.Problems) > 0 || w.found(cert).LivePin != before.LivePin {
				t.Errorf("the renewal after it: %q", problems(rep))
			}
		})
	}
}
