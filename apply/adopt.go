package apply

import (
	"context"
	"slices"

	"keepkey/config"
	"keepkey/pinset"
	"keepkey/plan"
)

// Adopt goes on from what is out there, where the state is from an old backup and no newer
// one is left. chosen is the key that a person named, or zero. tell is told what it concludes, before anything is changed. What clients may
// be enforcing is not known any more, so the gate stays closed for as long as lifetimes say.
func (r *Runner) Adopt(ctx context.Context, cert config.Certificate, chosen pinset.Pin, dryRun bool, tell func(plan.Adoption)) error {
	defer r.hold(cert.Name)()
	if !dryRun { // which puts nothing on record
		if err := r.lookFirst(ctx, cert, false); err != nil {
			return err
		}
	}
	l, err := r.newRun(ctx, cert, Options{}).look(ctx)
	switch {
	case err != nil:
		return err
	case l.state.Active() == nil:
		return l.nothingYet()
	case l.disk.LedgerProblem != nil:
		return &plan.Refusal{Lineage: cert.Name, Finding: plan.Finding{Code: plan.LedgerDamaged, Err: l.disk.LedgerProblem}}
	}
	in := l.input()
	limited, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	e := plan.Evidence{Sightings: make(map[string][]plan.Sighting), Chosen: chosen}
	for _, ch := range cert.Channels {
		for _, p := range readable(ch) {
			if s := l.sight(limited, ch, p); s.Err == nil && !s.Gone && !s.Junk {
				if s.Same {
					newest, _ := in.Ledger.Channel(ch.Name)
					s.Version, s.Pins = newest.Version, newest.Pins
				}
				e.Sightings[ch.Name] = append(e.Sightings[ch.Name], s)
			}
		}
	}
	for _, addr := range cert.Check {
		for _, pin := range l.served(limited, addr) {
			e.Served = append(e.Served, plan.Served{Addr: addr, Pin: pin})
		}
	}
	listed, err := l.store.Keys.List()
	if err != nil {
		return err
	}
	in.Disk.Keys = slices.DeleteFunc(listed, func(pin pinset.Pin) bool { return l.store.Keys.Check(pin) != nil })
	if l.disk.Live > l.state.NewestVersion() {
		if chain, err := l.store.Live.Chain(l.disk.Live); err == nil {
			e.Installed = pinset.OfCertificate(chain.Leaf())
		}
	}
	adoption, err := plan.Adopt(in, e)
	if err != nil {
		return err
	}
	tell(adoption)
	if dryRun {
		return nil
	}
	// The channels first: until all are on record, what was found keeps everything else.
	for _, ch := range l.goal.Channels {
		newest, _ := in.Ledger.Channel(ch.Name)
		clients := ch.Clients.Longer(newest.Clients)
		for _, s := range e.Sightings[ch.Name] {
			clients.Lifetime = clients.Lifetime.Longer(s.Lifetime)
		}
		a := plan.Action{Kind: plan.AdoptChannel, Channel: ch.Name, Version: adoption.Version, Pin: adoption.Active, Clients: clients}
		if err := l.commit(ctx, a, plan.Result{}); err != nil {
			return err
		}
	}
	key, err := l.store.Keys.Signer(adoption.Active)
	if err != nil {
		return err
	}
	digest, err := l.store.Keys.Digest(adoption.Active)
	if err != nil {
		return err
	}
	a := plan.Action{Kind: plan.AdoptKey, Pin: adoption.Active, KeyType: pinset.TypeOf(key.Public()), Version: l.disk.Live}
	return l.commit(ctx, a, plan.Result{Digest: digest})
}
