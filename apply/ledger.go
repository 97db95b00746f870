package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"keepkey/config"
	"keepkey/pinset"
	"keepkey/plan"
)

// RestartLedger begins a new ledger where the old one is lost for good. What clients
// hold is not known any more, but for one thing: they accept the active key, or the
// promise was broken before. So each channel counts as having an unknown pin set with
// that key alone, until a newer one is confirmed there and a lifetime has passed.
func (r *Runner) RestartLedger(ctx context.Context, cert config.Certificate) error {
	l, err := r.look(ctx, cert)
	if err != nil {
		return err
	}
	switch {
	case l.state == nil || l.state.Active() == nil:
		return fmt.Errorf("%s: nothing was published yet", cert.Name)
	case l.disk.LedgerProblem == nil:
		return fmt.Errorf("%s: the ledger is whole, and says more than a new one could; nothing was changed", cert.Name)
	}
	skew, known := l.skew(ctx)
	if err := plan.CheckClock(l.input(Options{}), skew, known); err != nil {
		return err
	}
	lifetimes := plan.Lifetimes(cert)
	var ledger pinset.Ledger
	var lines []byte
	for _, channel := range slices.Sorted(maps.Keys(l.state.Channels)) {
		lifetime, configured := lifetimes[channel]
		if !configured {
			lifetime = pinset.Lifetime{Forever: true} // a person has to say when it is over
		}
		next, line, err := ledger.Append(pinset.Entry{
			At: l.Now(), Kind: pinset.Unknown, Channel: channel, Version: l.state.Channels[channel].Version,
			Pins: []pin{l.state.Active().Pin}, Lifetime: &lifetime, By: pinset.ByPerson,
		})
		if err != nil {
			return err
		}
		ledger, lines = next, append(lines, line...)
	}
	if len(lines) == 0 {
		return errors.New("nothing was ever published on a channel")
	}
	if err := l.store.RestartLedger(lines, l.Now()); err != nil {
		return err
	}
	return l.commit(func(s *plan.State) { s.Ledger = ledger.Head() })
}
