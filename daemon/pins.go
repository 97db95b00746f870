package daemon

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"time"

	"keepkey/config"
)

// pins hands out the newest pin set of a channel that is to be served. That is the one whose
// publication is on record at least; the newest of all, from the moment on at which the hook
// ran.
func (w *Web) pins(rw http.ResponseWriter, r *http.Request) {
	k := w.one(r.PathValue("name"))
	if k == nil {
		http.NotFound(rw, r)
		return
	}
	ch, ok := k.cert.Channel(r.PathValue("channel"))
	if !ok || !ch.Serves() {
		http.NotFound(rw, r)
		return
	}
	document, since, err := w.Served(k.cert.Name, ch.Name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		http.NotFound(rw, r)
		return
	case err != nil:
		w.Log.Error("a pin set can't be served", "certificate", k.cert.Name, "channel", ch.Name, "problem", err)
		http.Error(rw, "this pin set can't be read; the log of the daemon says why", http.StatusInternalServerError)
		return
	}
	header := rw.Header()
	header.Set("Content-Type", ch.Format.ContentType)
	header.Set("Cache-Control", cacheControl(ch))
	sum := sha256.Sum256(document)
	header.Set("ETag", `"`+hex.EncodeToString(sum[:16])+`"`)
	// For people. That it is not newer than a client's decides nothing: clocks go back.
	header.Set("Last-Modified", since.UTC().Format(http.TimeFormat))
	http.ServeContent(rw, r, "", time.Time{}, bytes.NewReader(document))
}

// slowDownload is what a channel's cache allows for an answer that is under way.
const slowDownload = time.Minute

// cacheControl says how long clients, and caches between, may use an answer: with the time
// for a download no longer than a channel's cache, which the gate waits for, and no longer
// than clients enforce it.
func cacheControl(ch config.Channel) string {
	age := ch.Cache - slowDownload
	if !ch.Lifetime.Forever {
		age = min(age, ch.Lifetime.Duration)
	}
	if age < time.Second {
		return "no-cache"
	}
	return fmt.Sprintf("max-age=%d, must-revalidate", int(age.Seconds()))
}
