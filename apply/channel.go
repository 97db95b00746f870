package apply

import (
	"context"
	"fmt"
	"strings"

	"keepkey/config"
	"keepkey/pinset"
	"keepkey/plan"
)

// Confirm puts on record that a person says that a pin set is out on a channel.
func (r *Runner) Confirm(ctx context.Context, cert config.Certificate, channel string, version int) error {
	return r.say(ctx, cert, pinset.Confirm, channel, version)
}

// Retire puts on record that a person says that no supported client of a channel
// carries a pin set any more.
func (r *Runner) Retire(ctx context.Context, cert config.Certificate, channel string, version int) error {
	return r.say(ctx, cert, pinset.Retire, channel, version)
}

func (r *Runner) say(ctx context.Context, cert config.Certificate, kind pinset.EntryKind, channel string, version int) error {
	l, err := r.look(ctx, cert)
	if err != nil {
		return err
	}
	if l.state == nil {
		return fmt.Errorf("%s: nothing was published yet", cert.Name)
	}
	if l.disk.LedgerProblem != nil {
		return l.disk.LedgerProblem
	}
	var versions []string
	var found *pinset.Published
	for _, p := range l.ledger.Published() {
		if p.Channel == channel {
			versions = append(versions, fmt.Sprint(p.Version))
			if p.Version == version {
				found = &p
			}
		}
	}
	newest, _ := l.ledger.Channel(channel)
	_, configured := cert.Channel(channel)
	switch {
	case len(versions) == 0:
		return fmt.Errorf("%s: no pin set was ever published on a channel %q", cert.Name, channel)
	case found == nil:
		return fmt.Errorf("%s: channel %s never had version %d of the pin set; it had %s", cert.Name, channel, version, strings.Join(versions, ", "))
	case kind == pinset.Confirm && !found.Confirmed.IsZero(), kind == pinset.Retire && found.Retired:
		return nil // it is on record already
	case kind == pinset.Retire && configured && version == newest.Version:
		return fmt.Errorf("%s: version %d is the newest pin set of channel %s, so its clients carry it; only older ones can be retired", cert.Name, version, channel)
	}
	return l.record(ctx, pinset.Entry{Kind: kind, Channel: channel, Version: version, By: pinset.ByPerson}, func(*plan.State) {})
}
