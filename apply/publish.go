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
		err = l.record(pinset.Entry{
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
	if ch.Manual || !newest.Confirmed.IsZero() {
		return nil
	}
	return l.record(pinset.Entry{
		Kind: pinset.Confirm, Channel: ch.Name, Version: a.PinSet.Version, By: pinset.ByKeepkey,
	}, func(*plan.State) {})
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
	for _, ch := range l.config.Channels {
		if ch.Name == name {
			return ch, nil
		}
	}
	return config.Channel{}, fmt.Errorf("the configuration has no channel %q", name)
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
