package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"keepkey/config"
	"keepkey/hooks"
	"keepkey/pinset"
	"keepkey/plan"
)

// What clients get is looked at here: the files that channels publish to, what the daemon
// serves, where channels are read back, and the keys that are served. Package plan says what
// it means.

// place is where a document can be read.
type place struct {
	id     string // of the publish hook; "" where the channel is read back
	reader hooks.Reader
}

// files returns the files that a channel publishes to, keepkey's own among them.
func files(ch config.Channel) []place {
	var out []place
	for _, h := range ch.Publish {
		if r, ok := hooks.Place(h); ok {
			out = append(out, place{h.ID(), r})
		}
	}
	return out
}

// readable returns all places of a channel that can be read.
func readable(ch config.Channel) []place {
	var out []place
	if !ch.Manual { // else no client gets what lies there
		out = files(ch)
	}
	if ch.ReadBack != nil {
		out = append(out, place{"", ch.ReadBack})
	}
	return out
}

// maxPins is how many pins the ledger takes. A document with more is not one of ours.
const maxPins = 100

// sight reads a place.
func (l *lineage) sight(ctx context.Context, ch config.Channel, p place) plan.Sighting {
	s := plan.Sighting{Place: p.id, Name: p.reader.String()}
	event := l.event(hooks.Publish)
	event.Channel, event.PinSetVersion = ch.Name, l.state.Channels[ch.Name].Version
	data, err := p.reader.Read(ctx, event)
	switch {
	case gone(err):
		s.Gone = true
		return s
	case err != nil:
		s.Err = err
		return s
	}
	doc := l.state.Channels[ch.Name].Document
	if doc != "" && string(data) == doc {
		s.Same = true
		return s
	}
	found, err := ch.Format.Decode(data)
	if newest, known := l.records.Ledger.Channel(ch.Name); doc == "" && err == nil && known && found.Version == newest.Version && found.Is(pinset.Set{Version: newest.Version, Pins: newest.Pins}, newest.Expires) {
		s.Same = true // it was published before the state kept documents
		return s
	}
	slices.SortFunc(found.Pins, func(a, b pinset.Pin) int { return strings.Compare(a.Hex(), b.Hex()) })
	found.Pins = slices.Compact(found.Pins)
	if err != nil || len(found.Pins) == 0 || len(found.Pins) > maxPins || found.Version < 0 || found.Expires.Year() < 0 || found.Expires.Year() > 9999 {
		s.Junk = true
		return s
	}
	s.Lineage, s.Version, s.Pins, s.Expires, s.Lifetime = found.Name, found.Version, found.Pins, found.Expires, found.Lifetime
	return s
}

// gone reports whether an error says that nothing is there, which is not the same as that
// it could not be read.
func gone(err error) bool {
	var e *hooks.Error
	return errors.As(err, &e) && e.Gone
}

// glance reads the files that channels publish to, which costs next to nothing, for
// anything that asks for a look.
func (l *lineage) glance(ctx context.Context) {
	if l.disk.LedgerProblem != nil {
		return
	}
	for _, ch := range l.cert.Channels {
		if ch.Manual {
			continue
		}
		goal, _ := l.goal.Channel(ch.Name)
		for _, p := range files(ch) {
			s := l.sight(ctx, ch, p)
			if s.Same {
				continue
			}
			if m := plan.Judge(l.input(), goal, s); m.Code != "" && m.Code != plan.PlaceUnreadable {
				if l.disk.Differs == nil {
					l.disk.Differs = make(map[string]bool)
				}
				l.disk.Differs[ch.Name] = true
			}
		}
	}
}

// hurriedTime bounds a look in an emergency: a compromised key does not wait for long.
const hurriedTime = 5 * time.Second

// lookError says what a look found.
type lookError struct {
	code plan.Code
	text string
}

func (e *lookError) Error() string { return e.text }

// and adds what was found at another place: the code is that of the gravest.
func (e *lookError) and(m plan.Meaning) *lookError {
	switch {
	case e == nil:
		return &lookError{m.Code, m.Text}
	case plan.Graver(m.Code, e.code):
		return &lookError{m.Code, m.Text + "; " + e.text}
	case strings.Contains(e.text, m.Text): // by the file that is read back, too
		return e
	}
	return &lookError{e.code, e.text + "; " + m.Text}
}

// lookOut looks at what clients get: of a channel, or at an address.
func (l *lineage) lookOut(ctx context.Context, a plan.Action) error {
	limit := lookTime
	if r := l.state.Pending(); l.hurry || (r != nil && r.Compromised) {
		limit = hurriedTime
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if a.Channel == "" {
		return l.lookAtServer(limited, a)
	}
	ch, err := l.channel(a.Channel)
	if err != nil {
		return err
	}
	goal, _ := l.goal.Channel(a.Channel)
	var wrong *lookError
	for _, p := range readable(ch) {
		m := plan.Judge(l.input(), goal, l.sight(limited, ch, p))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if m.Code == "" {
			continue
		}
		if !l.told[m.Text] {
			l.told[m.Text] = true
			l.log.Warn("what clients get is not what was published", "channel", a.Channel, "problem", m.Text)
		}
		if m.Sight != nil {
			if err := l.commit(ctx, a, plan.Result{Sight: m.Sight}); err != nil {
				return err
			}
		}
		wrong = wrong.and(m)
	}
	if wrong != nil {
		return wrong
	}
	return l.commit(ctx, a, plan.Result{})
}

// lookAll looks everywhere. What is found is on record then; what keeps the run from
// going on is returned.
func (l *lineage) lookAll(ctx context.Context) *plan.Finding {
	for _, a := range plan.Looks(l.input()) {
		if stopped := l.step(ctx, a, new(Report)); stopped != nil {
			return stopped
		}
	}
	return nil
}

func (l *lineage) lookAtServer(ctx context.Context, a plan.Action) error {
	wrong := l.wrongAt(ctx, a.Target)
	if wrong != nil {
		return wrong
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return l.commit(ctx, a, plan.Result{})
}

// elsewhere looks for signs that clients know keys of this name already, which a first
// run must not overrule: at the files that channels publish to, where they are read back,
// and at the servers to check.
func (l *lineage) elsewhere(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	signs := make(map[int]string)
	n := 0
	look := func(see func() string) {
		at := n
		n++
		wg.Go(func() {
			if s := see(); s != "" {
				mu.Lock()
				defer mu.Unlock()
				signs[at] = s
			}
		})
	}
	for _, ch := range l.cert.Channels {
		for _, p := range files(ch) {
			look(func() string {
				event := l.event(hooks.Publish)
				event.Channel = ch.Name
				if _, err := p.reader.Read(ctx, event); gone(err) {
					return ""
				}
				return fmt.Sprintf("%s, to which channel %s publishes, is there already", p.reader, ch.Name)
			})
		}
		file, isFile := ch.ReadBack.(hooks.File)
		again := isFile && slices.ContainsFunc(files(ch), func(p place) bool { return p.reader == hooks.Reader(file) })
		if ch.ReadBack != nil && !again {
			look(func() string {
				s := l.sight(ctx, ch, place{"", ch.ReadBack})
				if s.Err != nil || s.Gone || s.Junk {
					return ""
				}
				return fmt.Sprintf("%s, where channel %s is read back, has a pin set with %d pins", s.Name, ch.Name, len(s.Pins))
			})
		}
	}
	for _, addr := range l.cert.Check {
		look(func() string {
			var pins []string
			for _, pin := range l.served(ctx, addr) {
				pins = append(pins, fmt.Sprintf("%s serves a key with pin %s", addr, pin))
			}
			return strings.Join(pins, "; ")
		})
	}
	wg.Wait()
	var all []string
	for i := range n {
		if signs[i] != "" {
			all = append(all, signs[i])
		}
	}
	return all
}
