package apply

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
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
	begin := func(s *plan.State) {
		if s.Channels == nil {
			s.Channels = make(map[string]plan.Publication)
		}
		if s.Channels[ch.Name].Version != a.PinSet.Version {
			s.Channels[ch.Name] = plan.Publication{Version: a.PinSet.Version}
		}
	}
	newest, _ := l.ledger.Channel(ch.Name)
	if newest.Version != a.PinSet.Version {
		err = l.record(ctx, pinset.Entry{
			Kind: pinset.Intent, Channel: ch.Name, Version: a.PinSet.Version, Pins: a.PinSet.Pins, Lifetime: &ch.Lifetime,
		}, begin)
	} else if l.state.Channels[ch.Name].Version != a.PinSet.Version {
		err = l.commit(begin)
	}
	if err != nil {
		return err
	}
	newest, _ = l.ledger.Channel(ch.Name)
	event := l.event(hooks.Publish)
	event.Channel, event.PinSetVersion = ch.Name, a.PinSet.Version
	for _, p := range a.PinSet.Pins {
		event.Pins = append(event.Pins, p.String())
	}
	doc, err := Document(l.config, ch, *a.PinSet, newest.Intended)
	if err != nil {
		return err
	}
	event.Document = string(doc)
	var failed []error
	for _, h := range plan.Outstanding(ch.Publish, l.state.Channels[ch.Name].Done) {
		e := event
		e.ID = eventID(l.config.Name, hooks.Publish, ch.Name, strconv.Itoa(a.PinSet.Version), plan.HookID(h))
		if err := hook(h).Run(ctx, e); err != nil {
			failed = append(failed, err)
			continue
		}
		err := l.commit(func(s *plan.State) {
			pub := s.Channels[ch.Name]
			pub.Done = append(pub.Done, plan.HookID(h))
			s.Channels[ch.Name] = pub
		})
		if err != nil {
			return errors.Join(append(failed, err)...)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("version %d of the pin set is not out on channel %s; renewals go on, and the next run tries again: %w",
			a.PinSet.Version, ch.Name, errors.Join(failed...))
	}
	if ch.Manual || ch.ReadBack != nil || !newest.Confirmed.IsZero() {
		return nil
	}
	return l.confirm(ctx, a)
}

// confirm puts on record that a pin set is out on a channel.
func (l *lineage) confirm(ctx context.Context, a plan.Action) error {
	return l.record(ctx, pinset.Entry{
		Kind: pinset.Confirm, Channel: a.Channel, Version: a.PinSet.Version, By: pinset.ByKeepkey,
	}, func(*plan.State) {})
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
		err := l.lookOnce(ctx, ch, *a.PinSet)
		if err == nil {
			return l.confirm(ctx, a)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("reading back from channel %s was interrupted: %w", ch.Name, context.Cause(ctx))
		}
		if time.Now().Add(pause).After(deadline) {
			looks := l.state.Channels[ch.Name].Looks + 1
			again := l.Now().Add(plan.LookAgain(looks))
			record := l.commit(func(s *plan.State) {
				pub := s.Channels[ch.Name]
				pub.Looks, pub.LookAgain = looks, again
				s.Channels[ch.Name] = pub
			})
			return errors.Join(fmt.Errorf("version %d of the pin set was published on channel %s, but clients do not get it there; renewals go on, and it is looked for again from %s: %w",
				a.PinSet.Version, ch.Name, again.UTC().Format(time.RFC3339), err), record)
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
	source := hooks.Source{URL: ch.ReadBack.URL, Command: ch.ReadBack.Command, File: ch.ReadBack.File, Timeout: ch.ReadBack.Timeout}
	data, err := source.Read(ctx, event)
	if err != nil {
		return err
	}
	got, err := format.Decode(ch.Format, data)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", source, err)
	case got.Version > want.Version:
		return fmt.Errorf("%s has version %d of the pin set, which is newer than any in the ledger: the state directory must be from an old backup, or another keepkey publishes there", source, got.Version)
	case !got.Equal(want):
		return fmt.Errorf("%s has version %d of the pin set with %d pins, and not version %d as it was published", source, got.Version, len(got.Pins), want.Version)
	}
	return nil
}

// Document writes a pin set for a channel, in the channel's format.
func Document(cert config.Certificate, ch config.Channel, set pinset.Set, published time.Time) ([]byte, error) {
	return format.Encode(ch.Format, format.Document{
		Name: cert.Name, Domains: cert.Domains, Set: set, Published: published, Lifetime: ch.Lifetime.Duration,
	})
}

// deploy runs one deploy hook for the live certificate.
func (l *lineage) deploy(ctx context.Context, a plan.Action) error {
	for _, h := range l.config.Deploy {
		if plan.HookID(h) != a.Target {
			continue
		}
		c := l.state.Certificate
		event := l.event(hooks.Deploy)
		event.ID = eventID(l.config.Name, hooks.Deploy, strconv.Itoa(c.Version), c.Serial, a.Target)
		event.Serial, event.NotBefore, event.NotAfter = c.Serial, c.NotBefore, c.NotAfter
		if err := hook(h).Run(ctx, event); err != nil {
			return fmt.Errorf("the new certificate is in place, but a deploy hook did not take it up; the next run calls it again: %w", err)
		}
		return l.commit(func(s *plan.State) { s.Certificate.Deployed = append(s.Certificate.Deployed, a.Target) })
	}
	return fmt.Errorf("the configuration has no deploy hook %s", a.Target)
}

func (l *lineage) channel(name string) (config.Channel, error) {
	ch, ok := l.config.Channel(name)
	if !ok {
		return config.Channel{}, fmt.Errorf("the configuration has no channel %q", name)
	}
	return ch, nil
}

func (l *lineage) event(kind string) hooks.Event {
	return hooks.Event{Kind: kind, Name: l.config.Name, Domains: l.config.Domains, LiveDir: l.store.LiveDir()}
}

// eventID is the same whenever the same thing is told to the same hook.
func eventID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:16])
}

func hook(h config.Hook) hooks.Hook {
	switch {
	case h.File != "":
		return hooks.File{Path: h.File}
	case h.Webhook != nil:
		return hooks.Webhook{URL: h.Webhook.URL, SecretFile: h.Webhook.SecretFile, Timeout: h.Timeout}
	}
	return hooks.Command{Args: h.Command, Timeout: h.Timeout}
}
