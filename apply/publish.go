package apply

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"keepkey/config"
	"keepkey/hooks"
	"keepkey/pinset"
	"keepkey/pinset/format"
	"keepkey/plan"
)

// publish gives a pin set to a channel. The intent is on record before the first
// hook runs; hooks that succeeded are not run again for the same version.
func (l *lineage) publish(ctx context.Context, a plan.Action) error {
	ch, err := l.channel(a.Channel)
	if err != nil {
		return err
	}
	began := plan.Result{Began: true}
	// A crash can leave an intent whose document is not in the state: no hook ran then.
	if pub := l.state.Channels[a.Channel]; !a.Intended || pub.Version != a.PinSet.Version || pub.Document == "" {
		if began.Document, began.ContentType, err = l.document(ch, a); err != nil {
			return err
		}
	}
	if err := l.commit(ctx, a, began); err != nil {
		return err
	}
	work, err := l.store.Live.HookDir()
	if err != nil {
		return err
	}
	if ch.Serves() {
		if _, err := l.store.Live.ServeDir(); err != nil {
			return err
		}
	}
	event := l.publication(a, work)
	var failed []error
	for _, h := range ch.Publish {
		if slices.Contains(l.state.Channels[ch.Name].Done, h.ID()) {
			continue
		}
		// After an old backup of the state, a version can have two documents. Receivers
		// that drop what they know by its ID must not drop the second.
		event.ID = eventID(l.cert.Name, hooks.Publish, ch.Name, strconv.Itoa(a.PinSet.Version), h.ID(), event.Document)
		err := h.Run(ctx, event)
		l.observe(ctx, Observed{Kind: a.Kind, Hook: true, Err: err})
		if err != nil {
			failed = append(failed, err)
			continue
		}
		if err := l.commit(ctx, a, plan.Result{Hook: h.ID()}); err != nil {
			return errors.Join(append(failed, err)...)
		}
	}
	if len(failed) > 0 {
		return errors.Join(failed...)
	}
	return l.commit(ctx, a, plan.Result{})
}

// maxDocument bounds a document, so that the state, which keeps it, stays readable.
const maxDocument = 64 << 10

// document makes the document of a publication, once: whoever is told again is told the
// same bytes.
func (l *lineage) document(ch config.Channel, a plan.Action) (document, contentType string, err error) {
	if ch.Format.Encode == nil {
		return "", "", nil // a person carries the pins to clients
	}
	published, lifetime, expires := l.Now(), a.Clients.Lifetime, a.Expires
	if last, ok := l.records.Ledger.Last(); ok && last.At.After(published) {
		published = last.At
	}
	if intent, known := l.records.Ledger.Channel(ch.Name); known && a.Intended {
		published, lifetime, expires = intent.Intended, intent.Clients.Lifetime, intent.Expires
	}
	doc, err := Document(l.cert, ch, a.PinSet, published, lifetime, expires)
	if err == nil && len(doc) > maxDocument {
		err = fmt.Errorf("the document has %d bytes, more than the %d that can be published", len(doc), maxDocument)
	}
	return string(doc), ch.Format.ContentType, err
}

// Document writes a pin set for a channel, in the channel's format. expires is zero
// where the pin set does not end by itself.
func Document(cert config.Certificate, ch config.Channel, set pinset.Set, published time.Time, lifetime pinset.Lifetime, expires time.Time) ([]byte, error) {
	return ch.Format.Encode(format.Document{
		Name: cert.Name, Domains: cert.Domains, Set: set, Published: published, Lifetime: lifetime.Duration, Expires: expires,
	})
}

// publication is the event that hands a pin set to a channel, as it was intended. work is
// a directory for what hooks need while they run.
func (l *lineage) publication(a plan.Action, work string) hooks.Event {
	pub := l.state.Channels[a.Channel]
	event := l.event(hooks.Publish)
	event.WorkDir = filepath.Join(work, a.Channel)
	event.Channel, event.PinSetVersion, event.Document, event.ContentType = a.Channel, a.PinSet.Version, pub.Document, pub.ContentType
	for _, p := range a.PinSet.Pins {
		event.Pins = append(event.Pins, p.String())
	}
	return event
}

// Served returns the document that clients of a channel get from the daemon, and since when.
// The channel is one that is configured to be served.
func (r *Runner) Served(name, channel string) (document []byte, since time.Time, err error) {
	store, err := r.Store.Lineage(name)
	if err != nil {
		return nil, time.Time{}, err
	}
	return store.Live.Served(channel)
}

// How long a look at a channel is repeated within one run.
const (
	lookTime  = 20 * time.Second
	lookPause = 250 * time.Millisecond // the first; each further one is twice as long
)

// readBack looks whether clients can get the pin set that was published, and
// confirms it when they can. An upload can take a moment to show, so it looks a few
// times, and then leaves it to a later run.
func (l *lineage) readBack(ctx context.Context, a plan.Action) error {
	ch, err := l.channel(a.Channel)
	if err != nil {
		return err
	}
	limit := l.LookTime
	if limit == 0 {
		limit = lookTime
	}
	deadline := time.Now().Add(limit)
	for pause := lookPause; ; pause *= 2 {
		err := l.lookOnce(ctx, ch, a.PinSet)
		if err == nil {
			return l.commit(ctx, a, plan.Result{})
		}
		var failed *hooks.Error
		vain := errors.As(err, &failed) && failed.NoDaemon
		if ctx.Err() != nil || vain || time.Now().Add(pause).After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// lookOnce looks once, and says what is there instead.
func (l *lineage) lookOnce(ctx context.Context, ch config.Channel, want pinset.Set) error {
	event := l.event(hooks.Publish)
	event.Channel, event.PinSetVersion = ch.Name, want.Version
	data, err := ch.ReadBack.Read(ctx, event)
	if err != nil {
		return err
	}
	got, err := ch.Format.Decode(data)
	intent, _ := l.records.Ledger.Channel(ch.Name)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", ch.ReadBack, err)
	case got.Version > want.Version:
		return fmt.Errorf("%s has version %d of the pin set, which is newer than any in the ledger: the state directory must be from an old backup, or another keepkey publishes there", ch.ReadBack, got.Version)
	case !got.Is(want, intent.Expires):
		return fmt.Errorf("%s has %s, and not version %d as it was published", ch.ReadBack, found(got), want.Version)
	}
	return nil
}

func found(f format.Found) string {
	if f.Version == 0 {
		return fmt.Sprintf("%d pins", len(f.Pins))
	}
	return fmt.Sprintf("version %d of the pin set with %d pins", f.Version, len(f.Pins))
}

func (l *lineage) channel(name string) (config.Channel, error) {
	ch, ok := l.cert.Channel(name)
	if !ok {
		return config.Channel{}, fmt.Errorf("the configuration has no channel %q", name)
	}
	return ch, nil
}

func (l *lineage) event(kind string) hooks.Event {
	return hooks.Event{Kind: kind, Name: l.cert.Name, Domains: l.cert.Domains, LiveDir: l.store.Live.Dir(), ServeDir: l.store.Live.ServePath()}
}

// eventID is the same whenever the same event is delivered to the same hook.
func eventID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:16])
}
