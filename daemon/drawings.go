package daemon

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// drawings are the pages that visitors see. To draw one takes a while, so that it is done for
// one at a time, and who asks for the same a moment later is shown the same: however many ask,
// it costs little.
type drawings struct {
	room chan struct{} // taken by who draws

	mu   sync.Mutex
	kept map[string]*drawing
}

type drawing struct {
	contentType string
	body        []byte
}

func newDrawings() *drawings {
	return &drawings{room: make(chan struct{}, 1), kept: make(map[string]*drawing)}
}

// Bounds of drawings.
const (
	leastKept   = 2 * time.Second
	mostKept    = 15 * time.Second
	keptTimes   = 20 // what took long to draw is kept for so many times as long
	maxDrawings = 64
	drawTime    = 5 * time.Second
	waitTime    = 5 * time.Second
)

var errBusy = errors.New("too much is asked for at once; try again")

// get returns what is kept under a key, or has it drawn.
func (d *drawings) get(ctx context.Context, key string, draw func(context.Context, *bytes.Buffer) (contentType string, err error)) (*drawing, error) {
	if there := d.look(key); there != nil {
		return there, nil
	}
	waiting, cancel := context.WithTimeout(ctx, waitTime)
	defer cancel()
	select {
	case d.room <- struct{}{}:
		defer func() { <-d.room }()
	case <-waiting.Done():
		return nil, errBusy
	}
	if there := d.look(key); there != nil {
		return there, nil
	}
	// For others as well, so it is done whether or not the visitor is still there.
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), drawTime)
	defer cancel()
	began := time.Now()
	var b bytes.Buffer
	contentType, err := draw(limited, &b)
	if err != nil {
		return nil, err
	}
	drawn := &drawing{contentType, b.Bytes()}
	d.keep(key, drawn, min(max(keptTimes*time.Since(began), leastKept), mostKept))
	return drawn, nil
}

func (d *drawings) look(key string) *drawing {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.kept[key]
}

func (d *drawings) keep(key string, drawn *drawing, until time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.kept) >= maxDrawings {
		return
	}
	d.kept[key] = drawn
	time.AfterFunc(until, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.kept, key)
	})
}

// errNotThere says that there is no such page.
var errNotThere = errors.New("not found")

// page answers with a drawing.
func (w *Web) page(drawn *drawings, draw func(context.Context, *http.Request, *bytes.Buffer) (contentType string, err error)) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		// Of names that are not there, and of queries, there is no end: nothing is kept under those.
		if name := r.PathValue("name"); name != "" && w.one(name) == nil {
			http.NotFound(rw, r)
			return
		}
		got, err := drawn.get(r.Context(), r.Pattern+" "+r.PathValue("name"), func(ctx context.Context, b *bytes.Buffer) (string, error) { return draw(ctx, r, b) })
		switch {
		case errors.Is(err, errBusy):
			rw.Header().Set("Retry-After", "1")
			http.Error(rw, err.Error(), http.StatusServiceUnavailable)
		case errors.Is(err, errNotThere):
			http.NotFound(rw, r)
		case err != nil:
			w.Log.Error("a page can't be shown", "page", r.URL.Path, "problem", err)
			http.Error(rw, "this page can't be shown; the log of the daemon says why", http.StatusInternalServerError)
		default:
			rw.Header().Set("Content-Type", got.contentType)
			rw.Header().Set("Content-Length", strconv.Itoa(len(got.body)))
			rw.Write(got.body)
		}
	}
}
