package apply_test

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/hooks"
	"keepkey/internal/acmetest"
	"keepkey/plan"
)

// What is wrong is wrong for whoever looks: status, which plans and does nothing, shows
// the same problems as the run before it, until another run did better.
func TestWhatIsWrongIsShownUntilARunDidBetter(t *testing.T) {
	t.Parallel()
	refuse := func(w *world) {
		w.ca.Misbehave(acmetest.Problem(acmetest.NewOrder, 403, "rejectedIdentifier", "not these names", ""))
	}
	for _, tt := range []struct {
		name  string
		wrong func(w *world, cert *config.Certificate) // after a first run in which all was well
		want  []plan.Code
		clock bool // the CA's clock stays right
		right func(w *world, cert *config.Certificate)
	}{
		{
			name:  "a deploy hook fails",
			wrong: func(_ *world, c *config.Certificate) { c.Deploy = []hooks.Hook{hooks.Command{Args: []string{"false"}}} },
			want:  []plan.Code{plan.DeployFailing},
			right: func(_ *world, c *config.Certificate) { c.Deploy = nil },
		},
		{
			name: "a publish hook fails",
			wrong: func(w *world, c *config.Certificate) {
				c.Channels[0].Publish = append(c.Channels[0].Publish, hooks.File{Path: filepath.Join(w.dir, "nowhere", "pins.json")})
			},
			want: []plan.Code{plan.PublicationFailing},
			right: func(w *world, _ *config.Certificate) {
				if err := os.Mkdir(filepath.Join(w.dir, "nowhere"), 0o700); err != nil {
					w.t.Fatal(err)
				}
			},
		},
		{
			name: "a publish hook is not configured any more",
			wrong: func(w *world, c *config.Certificate) {
				c.Channels[0].Publish = append(c.Channels[0].Publish, hooks.File{Path: filepath.Join(w.dir, "more.json")})
				w.renew(*c, apply.Options{})
				c.Channels[0].Publish = c.Channels[0].Publish[:1]
			},
			want: []plan.Code{plan.PlaceRemoved},
			right: func(w *world, c *config.Certificate) {
				if err := w.runner().ClosePlace(w.t.Context(), *c, "app", filepath.Join(w.dir, "more.json")); err != nil {
					w.t.Fatal(err)
				}
			},
		},
		{
			name: "what was published is not seen",
			wrong: func(w *world, c *config.Certificate) {
				c.Channels[0].ReadBack, c.Backups = hooks.File{Path: filepath.Join(w.dir, "nowhere.json")}, 2
			},
			want:  []plan.Code{plan.PublicationUnseen},
			right: func(_ *world, c *config.Certificate) { c.Channels[0].ReadBack = nil },
		},
		{
			name: "another key is served",
			wrong: func(w *world, c *config.Certificate) {
				other := stranger(w.t)
				c.Check = []string{serveTLS(w.t, func() (*tls.Certificate, error) { return other, nil })}
			},
			want:  []plan.Code{plan.ServedKeyWrong},
			right: func(_ *world, c *config.Certificate) { c.Check = nil },
		},
		{
			name: "a certificate is refused",
			wrong: func(w *world, _ *config.Certificate) {
				w.offset = 63 * day
				refuse(w)
			},
			want:  []plan.Code{plan.IssuanceFailing},
			right: func(w *world, _ *config.Certificate) { w.ca.Misbehave(nil) },
		},
		{
			name: "the CA fails",
			wrong: func(w *world, _ *config.Certificate) {
				w.offset = 63 * day
				w.ca.Misbehave(acmetest.Problem(acmetest.NewOrder, 503, "serverInternal", "down", ""))
			},
			want:  []plan.Code{plan.CAUnreachable},
			right: func(w *world, _ *config.Certificate) { w.ca.Misbehave(nil) },
		},
		{
			name: "the CA asks to be left alone",
			wrong: func(w *world, _ *config.Certificate) {
				w.offset = 63 * day
				w.ca.Misbehave(acmetest.Problem(acmetest.NewOrder, 429, "rateLimited", "too many", "3600"))
			},
			want:  []plan.Code{plan.CAPaused},
			right: func(w *world, _ *config.Certificate) { w.ca.Misbehave(nil) },
		},
		{
			name: "what is served has expired",
			wrong: func(w *world, _ *config.Certificate) {
				w.offset = 95 * day
				refuse(w)
			},
			want: []plan.Code{plan.CertificateExpired, plan.IssuanceFailing},
			right: func(w *world, _ *config.Certificate) {
				w.ca.Misbehave(nil)
				w.offset = 63 * day // this CA's certificates end then, too
			},
		},
		{
			name: "the clock is wrong",
			wrong: func(w *world, c *config.Certificate) {
				w.offset, c.Backups = 10*day, 2 // so that there is something to publish
			},
			want: []plan.Code{plan.ClockWrong, plan.ClockWrong}, clock: true, // the clock itself, and what it keeps from being published
			right: func(w *world, _ *config.Certificate) { w.offset = 0 },
		},
		{
			name: "a switch is refused",
			wrong: func(w *world, c *config.Certificate) {
				w.ca.Misbehave(refuseKey(w.state(*c).Backups()[0].Pin))
				if err := w.runner().Rotate(w.t.Context(), *c, apply.RotateOptions{}); err != nil {
					w.t.Fatal(err)
				}
			},
			want:  []plan.Code{plan.SwitchFailing},
			right: func(w *world, _ *config.Certificate) { w.ca.Misbehave(nil) },
		},
		{
			name: "a certificate of a compromised key is not revoked",
			wrong: func(w *world, c *config.Certificate) {
				w.ca.Misbehave(acmetest.Problem(acmetest.RevokeCert, 403, "unauthorized", "no", ""))
				if err := w.runner().Rotate(w.t.Context(), *c, apply.RotateOptions{Compromised: true}); err != nil {
					w.t.Fatal(err)
				}
			},
			want:  []plan.Code{plan.RevocationFailing},
			right: func(w *world, _ *config.Certificate) { w.ca.Misbehave(nil) },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, acmetest.Options{})
			cert := w.pinned("api")
			w.mustRenew(cert, apply.Options{})
			process := func() *apply.Runner {
				r := w.runner()
				r.LookTime, r.CheckTime = time.Nanosecond, 2*time.Second
				if tt.clock {
					w.ca.SetClock(0)
				}
				return r
			}
			tt.wrong(w, &cert)
			rep := process().Renew(t.Context(), cert, apply.Options{})
			if got := codes(rep.Problems); !slices.Equal(got, tt.want) {
				t.Fatalf("the run tells of %q, want %q:\n%q", got, tt.want, problems(rep))
			}
			began := w.offset
			for _, later := range []time.Duration{0, 3 * time.Hour, 3 * day} { // every back-off is over then
				w.offset = began + later
				_, p, err := process().Plan(t.Context(), cert, apply.Options{})
				if err != nil {
					t.Fatal(err)
				}
				if got := codes(p.Problems); !slices.Equal(got, tt.want) {
					t.Errorf("%s later %q is shown, want %q:\n%q", later, got, tt.want, texts("api", p.Problems))
				}
			}
			tt.right(w, &cert)
			if rep := process().Renew(t.Context(), cert, apply.Options{}); len(rep.Problems) > 0 {
				t.Errorf("problems %q after it was mended", problems(rep))
			}
			if _, p, err := process().Plan(t.Context(), cert, apply.Options{}); err != nil || len(p.Problems) > 0 {
				t.Errorf("problems %q after it was mended (%v)", texts("api", p.Problems), err)
			}
		})
	}
}
