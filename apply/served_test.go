package apply_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/hooks"
	"keepkey/internal/acmetest"
	"keepkey/pinset"
	"keepkey/pinset/format"
	"keepkey/plan"
)

// What the daemon serves is a place like a file: it holds the document that is on record, is
// looked at, and mended.
func TestWhatTheDaemonServesIsAPlaceLikeAFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.cert("api", "api.example.com")
	cert.Channels = []config.Channel{{
		Name: "web", Format: format.JSON, Lifetime: pinset.Lifetime{Duration: time.Hour}, Publish: []hooks.Hook{hooks.Serve{}},
	}}
	w.mustRenew(cert, apply.Options{})
	document := w.state(cert).Channels["web"].Document
	served := func() string {
		t.Helper()
		data, since, err := w.runner().Served("api", "web")
		if err != nil || since.IsZero() {
			t.Errorf("%v, since %s", err, since)
		}
		return string(data)
	}
	if got := served(); got != document || document == "" {
		t.Errorf("served is %q, and on record %q", got, document)
	}

	path := filepath.Join(w.dir, "state", "lineages", "api", "pins", "web")
	for _, harm := range []func() error{
		func() error { return os.Remove(path) },
		func() error { return os.WriteFile(path, []byte("junk"), 0o600) },
	} {
		if err := harm(); err != nil {
			t.Fatal(err)
		}
		in := w.input(cert)
		if !in.Disk.Differs["web"] {
			t.Error("nobody noticed that it is not what was published")
		}
		w.mustRenew(cert, apply.Options{})
		if got := served(); got != document {
			t.Errorf("served is %q", got)
		}
	}

	// A lineage that begins anew does not overrule what clients were given.
	if err := os.Rename(filepath.Join(w.dir, "state", "lineages", "api", "pins"), filepath.Join(w.dir, "pins")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(w.dir, "state", "lineages", "api")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(w.dir, "state", "lineages", "api"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(w.dir, "pins"), filepath.Join(w.dir, "state", "lineages", "api", "pins")); err != nil {
		t.Fatal(err)
	}
	w.only(w.renew(cert, apply.Options{}), "keys-elsewhere")
}

// Else an old pin set would be served again, should the hook come back.
func TestWhatIsServedGoesWithItsHook(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.cert("api", "api.example.com")
	web := config.Channel{Name: "web", Format: format.JSON, Lifetime: pinset.Lifetime{Duration: time.Hour}, Publish: []hooks.Hook{hooks.Serve{}}}
	cert.Channels = []config.Channel{web}
	w.mustRenew(cert, apply.Options{})
	web.Publish = []hooks.Hook{hooks.File{Path: filepath.Join(w.dir, "pins.json")}}
	cert.Channels = []config.Channel{web}
	w.renew(cert, apply.Options{})
	if _, _, err := w.runner().Served("api", "web"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

// asleep is a daemon that does not run.
type asleep struct{ asked int }

func (*asleep) String() string { return "the daemon" }

func (a *asleep) Read(context.Context, hooks.Event) ([]byte, error) {
	a.asked++
	return nil, &hooks.Error{What: "reading the daemon", Reason: "it does not run", NoDaemon: true}
}

// It does not wake up by being asked again and again, as a place does that is slow to change.
func TestADaemonThatDoesNotRunIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.cert("api", "api.example.com")
	daemon := &asleep{}
	cert.Channels = []config.Channel{{
		Name: "web", Format: format.JSON, Lifetime: pinset.Lifetime{Duration: time.Hour}, Publish: []hooks.Hook{hooks.Serve{}}, ReadBack: daemon,
	}}
	rep := w.renew(cert, apply.Options{})
	if !slices.Contains(codes(rep.Problems), plan.PublicationUnseen) || !rep.Did(plan.Obtain) {
		t.Errorf("problems %q", problems(rep))
	}
	// Before the first run and after the publication, and by the looks around these.
	if daemon.asked == 0 || daemon.asked > 4 {
		t.Errorf("asked %d times", daemon.asked)
	}
}
