package apply_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
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

// cdn is where clients download pin sets: what is uploaded shows when it is told to.
type cdn struct {
	mu      sync.Mutex
	shown   string
	upload  string // path of the file to which keepkey publishes
	lookups int
	after   int // lookups until an upload shows; -1 for never
	change  func(doc map[string]any)
}

func (c *cdn) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lookups++
	if c.after >= 0 && c.lookups > c.after {
		data, err := os.ReadFile(c.upload)
		if err == nil {
			c.shown = string(data)
		}
	}
	if c.shown == "" {
		http.NotFound(w, nil)
		return
	}
	var doc map[string]any
	if json.Unmarshal([]byte(c.shown), &doc) != nil {
		w.Write([]byte(c.shown))
		return
	}
	if c.change != nil {
		c.change(doc)
	}
	json.NewEncoder(w).Encode(doc) // other bytes, in any case
}

func (w *world) withCDN(c *cdn) config.Certificate {
	w.t.Helper()
	server := httptest.NewServer(c)
	w.t.Cleanup(server.Close)
	c.upload = filepath.Join(w.dir, "upload.json")
	cert := w.cert("api", "api.example.com")
	cert.Channels = []config.Channel{{
		Name: "ota", Format: format.JSON, Lifetime: pinset.Lifetime{Duration: 30 * 24 * time.Hour},
		Publish:  []hooks.Hook{hooks.File{Path: c.upload}},
		ReadBack: hooks.URL{URL: server.URL + "/pins.json", Timeout: 10 * time.Second},
	}}
	return cert
}

func (w *world) confirmed(cert config.Certificate) bool {
	w.t.Helper()
	in, _, err := w.runner().Plan(w.t.Context(), cert, apply.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	newest, _ := in.Ledger.Channel("ota")
	return !newest.Confirmed.IsZero()
}

func TestPublicationIsConfirmedOnceItIsSeen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.withCDN(&cdn{after: 2}) // it takes a moment
	rep := w.renew(cert, apply.Options{})
	if len(rep.Problems) > 0 || !rep.Did(plan.ReadBack) || !w.confirmed(cert) {
		t.Errorf("done %v, problems %q: want it read back and confirmed", rep.Done, problems(rep))
	}
}

func TestPublicationThatIsNotSeenIsNotConfirmed(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		cdn  *cdn
		want string
	}{
		"the hook says that all is well, and nothing is there": {&cdn{after: -1}, "status 404"},
		"the old one is there": {&cdn{after: -1, shown: `{"schema":1,"version":7,"pins":[{"algorithm":"sha256","value":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}]}`},
			"has version 7 of the pin set with 1 pins, and not version 8"},
		"it lacks a pin":          {&cdn{change: func(doc map[string]any) { doc["pins"] = doc["pins"].([]any)[:1] }}, "with 1 pins"},
		"it is another version":   {&cdn{change: func(doc map[string]any) { doc["version"] = 0 }}, "not a pin set document"},
		"something else is there": {&cdn{after: -1, shown: "<html>\x1b[31m"}, "not a pin set document"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, acmetest.Options{})
			cert := w.withCDN(tt.cdn)
			run := func(o apply.Options) apply.Report {
				r := w.runner()
				r.LookTime = time.Millisecond
				return r.Renew(t.Context(), cert, o)
			}
			rep := run(apply.Options{NewLineage: true}) // whatever is there already
			unseen := func(f plan.Finding) bool { return f.Code == plan.PublicationUnseen }
			if told := strings.Join(problems(rep), "\n"); !slices.ContainsFunc(rep.Problems, unseen) || !strings.Contains(told, tt.want) || strings.Contains(told, "\x1b") {
				t.Errorf("problem %q, want one that says %q", told, tt.want)
			}
			if w.confirmed(cert) {
				t.Error("it was confirmed all the same")
			}
			if !rep.Did(plan.Install) {
				t.Error("the certificate was held up")
			}
			// It is not looked for at every run, unless something strange is there, and the
			// problem stays told.
			lookups, strange := tt.cdn.lookups, len(rep.Problems) > 1
			if again := run(apply.Options{}); !slices.ContainsFunc(again.Problems, unseen) {
				t.Errorf("problems %q: it is not told any more", problems(again))
			}
			if tt.cdn.lookups != lookups && !strange {
				t.Errorf("%d further looks: want none yet", tt.cdn.lookups-lookups)
			}
			tt.cdn.mu.Lock()
			tt.cdn.after, tt.cdn.change = 0, nil
			tt.cdn.mu.Unlock()
			w.offset = 2 * time.Minute
			if rep := run(apply.Options{}); len(rep.Problems) > 0 || !w.confirmed(cert) {
				t.Errorf("problems %q: want it confirmed, now that it is there", problems(rep))
			}
		})
	}
}

// Where clients get an old document whatever is published, a run publishes once more, looks
// once more, and ends.
func TestAnOldDocumentThatStaysIsNotRepublishedForEver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	c := &cdn{}
	cert := w.withCDN(c)
	publish := cert.Channels[0].Publish
	cert.Channels[0].Publish = append(slices.Clone(publish), hooks.File{Path: filepath.Join(w.dir, "more.json")})
	w.mustRenew(cert, apply.Options{})
	c.mu.Lock()
	old := c.shown
	c.mu.Unlock()
	cert.Channels[0].Publish, cert.Backups = publish, 2
	w.renew(cert, apply.Options{}) // the old one still is at the other place
	c.mu.Lock()
	c.after, c.shown = -1, old
	c.mu.Unlock()
	w.offset += 2 * day
	r := w.runner()
	r.LookTime = time.Millisecond
	rep := r.Renew(t.Context(), cert, apply.Options{})
	back := func(f plan.Finding) bool { return f.Code == plan.PublicationBack }
	if !slices.ContainsFunc(rep.Problems, back) || len(rep.Done) > 5 {
		t.Errorf("done %v, problems %q", brief(rep.Done), problems(rep))
	}
}

// A state from before documents were kept says which pins were published, and not how.
func TestWhatWasPublishedBeforeDocumentsWereKeptIsNotRepublished(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.pinned("api")
	w.mustRenew(cert, apply.Options{})
	path := filepath.Join(w.dir, "state/lineages/api/state.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	document := regexp.MustCompile(`\n *"document": "(\\.|[^"\\])*",`)
	if !document.Match(data) {
		t.Fatalf("no document is kept: %s", data)
	}
	if err := os.WriteFile(path, document.ReplaceAll(data, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	w.offset = 2 * day
	rep := w.renew(cert, apply.Options{})
	if rep.Did(plan.Publish) || len(rep.Problems) > 0 {
		t.Errorf("done %q, problems %q", brief(rep.Done), problems(rep))
	}
}
