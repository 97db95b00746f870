package apply

import (
	"cmp"
	"context"
	"fmt"

	"keepkey/keystore"
	"keepkey/pinset"
	"keepkey/plan"
)

// lineage is one lineage as it was found on disk, for the time of one action.
type lineage struct {
	*run
	store   *keystore.Lineage
	records keystore.Snapshot
	state   plan.State
	disk    plan.Disk
	reports plan.Reports
}

// newHost stands for this host's ID before the state directory is made.
const newHost = "new"

// input is what a plan is computed from.
func (l *lineage) input() plan.Input {
	now := l.Now()
	return plan.Input{
		Goal: l.goal, State: l.state, Ledger: l.records.Ledger, Disk: l.disk, Reports: l.reports, CA: l.caKnown(now), Host: cmp.Or(l.Store.Host(), newHost), Now: now,
		Force: l.options.Force, Asked: l.options.Asked, NewLineage: l.options.NewLineage, Tried: l.tried,
	}
}

// look reads all that a plan depends on.
func (r *run) look(ctx context.Context) (*lineage, error) {
	store, err := r.Store.Lineage(r.cert.Name)
	if err != nil {
		return nil, err
	}
	l := &lineage{run: r, store: store}
	if l.records, err = store.Records.Load(); err != nil {
		return nil, err
	}
	l.disk.LedgerProblem = l.records.LedgerProblem
	l.disk.Live, l.disk.LiveProblem = store.Live.Current()
	if l.records.State == nil {
		return l, l.lookAround(ctx)
	}
	if l.state, err = plan.ParseState(r.cert.Name, l.records.State); err != nil {
		return nil, fmt.Errorf("state.json is %w", err)
	}
	if l.cert.ACME.IgnoreClock {
		l.state.Clock = nil // what it said before that was configured
	}
	l.checkKeys()
	l.checkStored()
	l.checkAccess()
	l.loadReports()
	// Before that there is nothing to prune, not even after what a run may add.
	if c := l.state.Certificate; c != nil && c.Version >= plan.KeepVersions-1 {
		if l.disk.Versions, err = store.Live.Versions(); err != nil {
			return nil, err
		}
	}
	l.glance(ctx)
	return l, nil
}

// lookAround looks for anything that speaks against a first run.
func (l *lineage) lookAround(ctx context.Context) (err error) {
	if l.disk.Keys, err = l.store.Keys.List(); err != nil {
		return err
	}
	if l.disk.Versions, err = l.store.Live.Versions(); err != nil {
		return err
	}
	if len(l.disk.Keys)+len(l.disk.Versions) > 0 || l.disk.Live != 0 || l.options.NewLineage {
		return nil
	}
	signs, names, err := l.related()
	if err != nil {
		return err
	}
	l.disk.Elsewhere, l.disk.Related = append(signs, l.elsewhere(ctx)...), names
	return nil
}

// checkKeys proves that the keys that may be needed are there, each once a run.
func (l *lineage) checkKeys() {
	pending := l.state.Pending()
	for _, k := range l.state.Keys {
		needed := k.Role == plan.Active || k.Role == plan.Backup || (pending != nil && k.Pin == pending.To)
		if !needed {
			continue
		}
		err, known := l.checks.keys[k.Pin]
		if !known {
			err = l.store.Keys.Verify(k.Pin, k.Digest)
			l.checks.keys[k.Pin] = err
		}
		if err != nil {
			if l.disk.KeyProblems == nil {
				l.disk.KeyProblems = make(map[pinset.Pin]error)
			}
			l.disk.KeyProblems[k.Pin] = err
		}
	}
}

// checkStored proves, once a run, that the stored certificate is what was accepted.
func (l *lineage) checkStored() {
	c := l.state.Certificate
	if c == nil {
		return
	}
	if r := l.state.Pending(); r != nil && r.Before != nil {
		l.disk.BeforeProblem = l.store.Live.Verify(keystore.Version{N: r.Before.Version, Digest: r.Before.Digest})
	}
	want := keystore.Version{N: c.Version, Digest: c.Digest}
	if l.checks.stored == want {
		return
	}
	if l.disk.StoredProblem = l.store.Live.Verify(want); l.disk.StoredProblem == nil {
		l.checks.stored = want
	}
}

// checkAccess sees that those can read what is live who should, and nobody else. A run
// that could not mend it says why.
func (l *lineage) checkAccess() {
	if l.disk.Live == 0 {
		return
	}
	if err := l.store.Live.Readable(l.disk.Live); err != nil {
		l.disk.AccessProblem = cmp.Or(l.checks.ungranted, err)
	}
}

// grant mends what checkAccess found, once a run for each version.
func (l *lineage) grant() {
	wrong := l.disk.AccessProblem
	if wrong == nil || l.checks.granted == l.disk.Live {
		return
	}
	l.checks.granted = l.disk.Live
	l.checks.ungranted = l.store.Live.Grant(l.disk.Live)
	l.disk.AccessProblem = nil
	l.checkAccess()
	if l.disk.AccessProblem == nil {
		l.log.Info("mended who may read what is live", "was", wrong)
	}
}
