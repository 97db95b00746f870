package daemon

import (
	"errors"
	"net/http"
	"os"
	"testing"
	"time"

	"keepkey/config"
	"keepkey/hooks"
	"keepkey/pinset"
	"keepkey/pinset/format"
)

// webServing is a daemon of one certificate, whose pin sets it serves on the channel web alone.
func webServing(cache time.Duration, lifetime pinset.Lifetime) *Web {
	web := config.Channel{Name: "web", Format: format.JSON, Cache: cache, Lifetime: lifetime, Publish: []hooks.Hook{hooks.Serve{}}}
	file := config.Channel{Name: "file", Format: format.JSON, Publish: []hooks.Hook{hooks.File{Path: "/pins"}}}
	return webOf(config.Certificate{Name: "api", Channels: []config.Channel{web, file}}, config.Certificate{Name: "other"})
}

func TestClientsGetThePinSetOfAChannelThatIsServed(t *testing.T) {
	t.Parallel()
	w := webServing(time.Minute, pinset.Lifetime{Forever: true})
	document, since := "version 1", time.Unix(1_700_000_000, 0)
	w.Served = func(name, channel string) ([]byte, time.Time, error) {
		if name != "api" || channel != "web" {
			t.Errorf("%s of %s was read", channel, name)
		}
		return []byte(document), since, nil
	}
	first := ask(w, "GET", "/pins/web/api")
	tag := first.Header.Get("ETag")
	if first.StatusCode != 200 || body(t, first) != document || first.Header.Get("Content-Type") != "application/json" || len(tag) != 34 ||
		first.Header.Get("Last-Modified") != "Tue, 14 Nov 2023 22:13:20 GMT" || first.Header.Get("Cache-Control") != "no-cache" {
		t.Errorf("status %d, %v", first.StatusCode, first.Header)
	}
	if head := ask(w, "HEAD", "/pins/web/api"); head.StatusCode != 200 || body(t, head) != "" || head.Header.Get("ETag") != tag || head.Header.Get("Content-Length") != "9" {
		t.Errorf("HEAD: status %d, %v", head.StatusCode, head.Header)
	}
	if same := ask(w, "GET", "/pins/web/api", "If-None-Match", tag); same.StatusCode != http.StatusNotModified || same.Header.Get("Cache-Control") != "no-cache" || body(t, same) != "" {
		t.Errorf("of the same: status %d, %v", same.StatusCode, same.Header)
	}

	// A clock that was set back must not have an older document look like the newest.
	document, since = "version 2", since.Add(-time.Hour)
	for name, header := range map[string][]string{
		"If-None-Match": {"If-None-Match", tag}, "If-Modified-Since": {"If-Modified-Since", first.Header.Get("Last-Modified")},
		"If-Range": {"Range", "bytes=2-3", "If-Range", tag},
	} {
		if next := ask(w, "GET", "/pins/web/api", header...); next.StatusCode != 200 || body(t, next) != document || next.Header.Get("ETag") == tag {
			t.Errorf("%s, of a newer one: status %d, %v", name, next.StatusCode, next.Header)
		}
	}
	for _, path := range []string{"/pins/web/other", "/pins/file/api", "/pins/web/unknown", "/pins/unknown/api", "/pins/web", "/pins/web/api/"} {
		if r := ask(w, "GET", path); r.StatusCode != http.StatusNotFound || r.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: status %d, %v", path, r.StatusCode, r.Header)
		}
	}
	w.Configure(&config.Config{Certificates: []config.Certificate{{Name: "api"}}}, w.Now())
	if r := ask(w, "GET", "/pins/web/api"); r.StatusCode != http.StatusNotFound {
		t.Errorf("without its channel: status %d", r.StatusCode)
	}
}

func TestWhatCannotBeServedSaysSo(t *testing.T) {
	t.Parallel()
	w := webServing(time.Minute, pinset.Lifetime{Forever: true})
	for failure, want := range map[error]int{os.ErrNotExist: 404, errors.New("belongs to another"): 500} {
		w.Served = func(string, string) ([]byte, time.Time, error) { return nil, time.Time{}, failure }
		if r := ask(w, "GET", "/pins/web/api"); r.StatusCode != want || r.Header.Get("ETag") != "" || r.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%v: status %d, %v", failure, r.StatusCode, r.Header)
		}
	}
}

// Nobody is handed an older document for longer than the gate counts on.
func TestCachesKeepNoLongerThanTheChannelSays(t *testing.T) {
	t.Parallel()
	forever := pinset.Lifetime{Forever: true}
	for _, tt := range []struct {
		cache    time.Duration
		lifetime pinset.Lifetime
		want     string
	}{
		{time.Minute, forever, "no-cache"},
		{time.Minute + 500*time.Millisecond, forever, "no-cache"},
		{10 * time.Minute, forever, "max-age=540, must-revalidate"},
		{10 * time.Minute, pinset.Lifetime{Duration: 30 * 24 * time.Hour}, "max-age=540, must-revalidate"},
		{10 * time.Minute, pinset.Lifetime{Duration: time.Minute}, "max-age=60, must-revalidate"},
	} {
		w := webServing(tt.cache, tt.lifetime)
		w.Served = func(string, string) ([]byte, time.Time, error) { return []byte("x"), time.Unix(0, 0), nil }
		if got := ask(w, "GET", "/pins/web/api").Header.Get("Cache-Control"); got != tt.want {
			t.Errorf("cache %s, lifetime %+v: %q, want %q", tt.cache, tt.lifetime, got, tt.want)
		}
	}
	if answerTime >= slowDownload {
		t.Errorf("an answer may take %s, and the cache allows for %s", answerTime, slowDownload)
	}
}
