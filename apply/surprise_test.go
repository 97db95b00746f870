package apply_test

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/hooks"
	"keepkey/internal/acmetest"
	"keepkey/invariant"
	"keepkey/pinset"
	"keepkey/pinset/format"
	"keepkey/plan"
	"keepkey/status"
)

// Nothing switches keys by surprise: whatever is changed, lost or brought back behind
// keepkey's back, the key that is served stays the same, and what was done is told.
func TestNothingButARolloverSwitchesKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	other := newWorld(t, acmetest.Options{})
	for _, tt := range []struct {
		name   string
		change func(w *world, cert *config.Certificate)
		// What a forced renewal then says, and what a rollover says; "" when nothing is
		// wrong with it.
		problem, note, rotate string
		renewed               bool
	}{
		{name: "nothing", change: func(*world, *config.Certificate) {}, renewed: true},
		{
			name:   "another key type",
			change: func(_ *world, c *config.Certificate) { c.KeyType = pinset.EC384 },
			note:   "is of type ec256, and the configuration asks for another", renewed: true,
		},
		{name: "another name", change: func(_ *world, c *config.Certificate) { c.Domains = append(c.Domains, c.Name+".new.example.com") }, renewed: true},
		{name: "one name less", change: func(_ *world, c *config.Certificate) { c.Domains = c.Domains[:1] }, renewed: true},
		{name: "another CA", change: func(_ *world, c *config.Certificate) {
			elsewhere := other.cert("other", "other.example.com")
			c.ACME, c.Challenge = elsewhere.ACME, elsewhere.Challenge
		}, renewed: true},
		{name: "fewer backup keys", change: func(_ *world, c *config.Certificate) { c.Backups = 1 }, renewed: true},
		{name: "more backup keys", change: func(_ *world, c *config.Certificate) { c.Backups = 3 }, renewed: true},
		{name: "a channel more", change: func(w *world, c *config.Certificate) {
			c.Channels = append(c.Channels, config.Channel{
				Name: "web", Format: format.JSON, Lifetime: pinset.Lifetime{Duration: time.Hour},
				Publish: []hooks.Hook{hooks.File{Path: filepath.Join(w.dir, c.Name+"-web.json")}},
			})
		}, renewed: true},
		{name: "a channel more that does not work", change: func(w *world, c *config.Certificate) {
			c.Channels = append(c.Channels, config.Channel{
				Name: "web", Format: format.JSON, Lifetime: pinset.Lifetime{Duration: time.Hour},
				Publish: []hooks.Hook{hooks.File{Path: filepath.Join(w.dir, "nowhere", "web.json")}},
			})
		}, problem: "is not out on channel web", renewed: true},
		{
			name:   "a channel less",
			change: func(_ *world, c *config.Certificate) { c.Channels = nil },
			// The gate counts it still; both keys are in what it published.
			problem: "channel app is not configured any more, but clients may still be enforcing version 1", renewed: true,
		},
		{
			name:    "a channel by another name",
			change:  func(_ *world, c *config.Certificate) { c.Channels[0].Name = "mobile" },
			problem: "channel app is not configured any more, but clients may still be enforcing version 1", renewed: true,
		},
		{name: "a shorter lifetime", change: func(_ *world, c *config.Certificate) { c.Channels[0].Lifetime.Duration = time.Second }, renewed: true},
		{name: "live is deleted", change: func(w *world, c *config.Certificate) { w.remove(c, "live") }, renewed: true},
		{name: "the stored certificate is deleted", change: func(w *world, c *config.Certificate) { w.remove(c, "certs") }, renewed: true},
		{
			name:    "the state is lost",
			change:  func(w *world, c *config.Certificate) { w.remove(c, "state.json") },
			problem: "state.json is missing, but keys or certificates are there", rotate: "restore state.json from a backup",
		},
		{
			name:    "the ledger is lost",
			change:  func(w *world, c *config.Certificate) { w.remove(c, "ledger.jsonl") },
			problem: "nothing is published and no key is switched until it is whole", rotate: "closed, since the ledger is not whole",
			renewed: true,
		},
		{
			name:    "the keys are lost",
			change:  func(w *world, c *config.Certificate) { w.remove(c, "keys") },
			problem: "is missing\nsafe: no new key takes its place; the server keeps the certificate and key that it has\ndo: restore the key file from a backup", rotate: "is missing",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := w.in(t)
			cert := w.pinned(strings.ToLower(strings.ReplaceAll(tt.name, " ", "-")))
			cert.Domains = append(cert.Domains, cert.Name+".second.example.com")
			cert.Backups = 2
			old := w.mustRenew(cert, apply.Options{})
			before := w.found(cert)
			tt.change(w, &cert)
			rep := w.renew(cert, apply.Options{Force: true})
			after := w.found(cert)
			if after.Live != 0 && after.LivePin != before.LivePin {
				t.Fatal("another key is live")
			}
			for pin, hash := range after.Keys {
				if before.Keys[pin] != "" && before.Keys[pin] != hash {
					t.Errorf("the key %s was changed", pin)
				}
			}
			if tt.problem == "" && len(rep.Problems) > 0 {
				t.Errorf("problems %q", problems(rep))
			}
			if tt.problem != "" && !slices.ContainsFunc(problems(rep), func(p string) bool { return strings.Contains(p, tt.problem) }) {
				t.Errorf("problems %q, want one with %q", problems(rep), tt.problem)
			}
			if notes := texts(cert.Name, rep.Notes); tt.note != "" && !slices.ContainsFunc(notes, func(n string) bool { return strings.Contains(n, tt.note) }) {
				t.Errorf("notes %q, want one with %q", notes, tt.note)
			}
			if got := rep.Did(plan.Obtain); got != tt.renewed {
				t.Errorf("renewed: %v", got)
			}
			if tt.renewed && w.live(cert).SerialNumber.Cmp(old.SerialNumber) == 0 {
				t.Error("the old certificate is live")
			}
			if tt.problem == "" {
				w.mustHold(cert, after, before)
			}

			// And a rollover that is asked for then keeps the promise, or is refused.
			err := w.runner().Rotate(t.Context(), cert, apply.RotateOptions{WhenOpen: tt.rotate == ""})
			if tt.rotate != "" {
				var refused *plan.Refusal
				if !errors.As(err, &refused) {
					t.Fatalf("rotate says %v, want a refusal", err)
				}
				if told := texts(cert.Name, []plan.Finding{refused.Finding})[0]; !strings.Contains(told, tt.rotate) {
					t.Errorf("rotate says %q, want %q", told, tt.rotate)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			rep = w.renew(cert, apply.Options{})
			if v := plan.Gate(w.input(cert), pinset.OfCertificate(w.live(cert))); !v.Open {
				t.Errorf("the gate for what is live now is %s", status.GateOf(cert.Name, v).Text)
			}
			if working := tt.problem == "" || strings.Contains(tt.problem, "not configured any more"); rep.Did(plan.SwitchKey) != working {
				t.Errorf("switched: %v (%q, %q)", rep.Did(plan.SwitchKey), problems(rep), texts(cert.Name, rep.Notes))
			}
		})
	}
}

// remove takes a file of a lineage away.
func (w *world) remove(cert *config.Certificate, name string) {
	w.t.Helper()
	if err := os.RemoveAll(filepath.Join(w.dir, "state", "lineages", cert.Name, name)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) found(cert config.Certificate) invariant.Found {
	w.t.Helper()
	f, err := invariant.Look(w.store, apply.Goal(cert))
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// mustHold holds a lineage to the invariants after an undisturbed run.
func (w *world) mustHold(cert config.Certificate, after, before invariant.Found) {
	w.t.Helper()
	for _, v := range after.Check(invariant.Outside{Now: w.now(), Before: &before, Run: &invariant.Run{Undisturbed: true}}) {
		if v.Invariant != "I13" { // in some cases the certificates were taken away on purpose
			w.t.Error(v)
		}
	}
}

func (w *world) input(cert config.Certificate) plan.Input {
	w.t.Helper()
	in, _, err := w.runner().Plan(w.t.Context(), cert, apply.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	return in
}

// A new type of key comes in with the next backup key that is made.
func TestAnotherKeyTypeComesWithTheNextBackupKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{Profiles: map[string]time.Duration{"default": 4 * 365 * 24 * time.Hour}})
	cert := w.pinned("api")
	w.mustRenew(cert, apply.Options{})
	cert.KeyType = pinset.EC384
	var types []string
	for range 2 {
		if err := w.runner().Rotate(t.Context(), cert, apply.RotateOptions{WhenOpen: true}); err != nil {
			t.Fatal(err)
		}
		w.offset += 40 * 24 * time.Hour
		w.renew(cert, apply.Options{})
		w.offset += 40 * 24 * time.Hour
		w.renew(cert, apply.Options{})
		types = append(types, string(pinset.TypeOf(w.live(cert).PublicKey)))
	}
	if got := strings.Join(types, " "); got != "ec256 ec384" {
		t.Errorf("live were %s", got)
	}
}

// An old backup of the whole state directory knows nothing of what happened since:
// its live key may be one that clients no longer accept.
func TestAnOldBackupOfTheStateIsNotGoneOnWith(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(w *world, cert *config.Certificate)
		code   plan.Code
		text   string
	}{
		{"a file shows it", func(*world, *config.Certificate) {}, plan.StateOutdated, "holds version 5 of the pin set, and the ledger knows of 1"},
		{"where it is read back shows it", func(w *world, cert *config.Certificate) {
			path := filepath.Join(w.dir, "copy.json")
			cert.Channels[0].Publish = []hooks.Hook{hooks.Command{Args: []string{"sh", "-c", `cp "$KEEPKEY_PINSET_FILE" ` + path}}}
			cert.Channels[0].ReadBack = hooks.File{Path: path}
		}, plan.StateOutdated, "holds version 5 of the pin set, and the ledger knows of 1"},
		{"the served key shows it", func(w *world, cert *config.Certificate) {
			cert.Channels = nil
			var loaded atomic.Pointer[tls.Certificate]
			reload := filepath.Join(w.dir, "reload")
			cert.Deploy = []hooks.Hook{hooks.Command{Args: []string{"sh", "-c", "rm -rf " + reload + "; cp -rL " + filepath.Join(w.dir, "state/lineages/api/live") + " " + reload}}}
			cert.Check = []string{serveTLS(w.t, func() (*tls.Certificate, error) {
				c, err := tls.LoadX509KeyPair(filepath.Join(reload, "fullchain.pem"), filepath.Join(reload, "privkey.pem"))
				if err == nil {
					loaded.Store(&c)
				}
				return loaded.Load(), nil
			})}
		}, plan.ServedKeyUnknown, "none of this lineage's"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, acmetest.Options{})
			cert := w.pinned("api")
			tt.change(w, &cert)
			w.goesOnFromABackup(t, cert, tt.code, tt.text)
		})
	}
}

// goesOnFromABackup restores the state from before two rollovers, so that it knows neither
// the key that is served nor the newest pin set.
func (w *world) goesOnFromABackup(t *testing.T, cert config.Certificate, code plan.Code, text string) {
	t.Helper()
	cert.KeepOldPin = 0
	for i := range cert.Channels {
		cert.Channels[i].Lifetime.Duration = time.Second
	}
	w.mustRenew(cert, apply.Options{})
	dir := filepath.Join(w.dir, "state", "lineages", "api")
	if err := os.CopyFS(filepath.Join(w.dir, "backup"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.runner().Rotate(t.Context(), cert, apply.RotateOptions{WhenOpen: true}); err != nil {
			t.Fatal(err)
		}
		w.mustRenew(cert, apply.Options{})
		w.offset += time.Minute // so that it is not time for the daily look
		w.mustRenew(cert, apply.Options{})
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(w.dir, "backup"), dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, key := range w.keyFiles(dir) {
		if err := os.Chmod(key, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	certs := w.tree("state/lineages/api/certs")
	rep := w.renew(cert, apply.Options{Force: true})
	if told := w.only(rep, code); !strings.Contains(told, text) || !strings.Contains(told, "old backup") {
		t.Errorf("problem %q", told)
	}
	if len(rep.Done) > 0 || !maps.Equal(w.tree("state/lineages/api/certs"), certs) {
		t.Errorf("it did %v", rep.Done)
	}
	if err := w.runner().Rotate(t.Context(), cert, apply.RotateOptions{}); err == nil {
		t.Error("a rollover was begun")
	}
}

// tree returns the contents of all files below a directory.
func (w *world) tree(dir string) map[string]string {
	w.t.Helper()
	files := make(map[string]string)
	root := os.DirFS(filepath.Join(w.dir, dir))
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(root, path)
		files[path] = string(data)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return files
}

func (w *world) keyFiles(dir string) []string {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "keys", "*.pem"))
	if err != nil {
		w.t.Fatal(err)
	}
	return files
}
