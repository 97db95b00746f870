package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"keepkey/acme"
	"keepkey/config"
	"keepkey/pinset"
	"keepkey/plan"
	"keepkey/status"
)

// errCommit marks a failed swap of the records: either content may be on disk, so
// the run ends for this lineage and the next one looks again.
var errCommit = errors.New("the next run goes on from what it finds")

// commit writes what follows when an action came out in some way. It is the only place
// where the records change.
func (l *lineage) commit(ctx context.Context, a plan.Action, r plan.Result) error {
	r.At = l.Now()
	if skew, known := l.ca(l.cert.ACME).skew(); known && a.AsksCA() { // it told just now
		r.CA = r.At.Add(skew)
	}
	next, entry, err := plan.After(l.state, a, r)
	if err != nil {
		return err
	}
	if entry != nil {
		if l.disk.LedgerProblem != nil {
			return l.disk.LedgerProblem
		}
		if err := l.believableClock(ctx, entry); err != nil {
			return err
		}
	}
	if entry == nil && sameBesidesClock(l.state, next) {
		return nil
	}
	data, err := next.Marshal(l.UserAgent)
	if err != nil {
		return err
	}
	records, err := l.store.Records.Swap(l.records, data, entry)
	if err != nil {
		return fmt.Errorf("%w; %w", err, errCommit)
	}
	was := l.state
	l.records, l.state = records, next
	if e, worth := plan.EventOf(was, next, a, r); worth {
		if entry != nil {
			e.Entry = records.Ledger.Head().Entries
		}
		l.journal(e)
	}
	return nil
}

// journal adds to what people can read of the past. Nothing depends on it.
func (l *lineage) journal(e plan.Event) {
	e.By = l.by
	line, err := json.Marshal(e)
	if err == nil {
		err = l.store.Journal.Add(line)
	}
	if err != nil {
		l.log.Warn("the journal can't be written; it is for people alone", "problem", err)
	}
}

// Journal returns what was done for a lineage, the oldest first; with an error, what can be
// read of it.
func (r *Runner) Journal(name string) ([]plan.Event, error) {
	store, err := r.Store.Lineage(name)
	if err != nil {
		return nil, err
	}
	lines, err := store.Journal.Lines()
	var events []plan.Event
	for _, line := range lines {
		if e, ok := plan.ParseEvent(line); ok {
			events = append(events, e)
		}
	}
	if lost := len(lines) - len(events); lost > 0 {
		err = errors.Join(err, fmt.Errorf("the journal has lines that can't be read: %d of %d", lost, len(lines)))
	}
	return events, err
}

// History returns what is on record of what was done for a certificate, as far as it can be
// read.
func (r *Runner) History(cert config.Certificate) (status.History, error) {
	store, err := r.Store.Lineage(cert.Name)
	if err != nil {
		return status.History{}, err
	}
	var unread []error
	entries, err := store.Records.Past()
	if err != nil {
		unread = append(unread, err)
	}
	events, err := r.Journal(cert.Name)
	if err != nil {
		unread = append(unread, err)
	}
	hooks := make(map[string]string)
	for _, h := range cert.Deploy {
		hooks[h.ID()] = h.String()
	}
	return status.HistoryOf(cert.Name, events, entries, hooks, unread), nil
}

// sameBesidesClock reports whether a change is not worth a write.
func sameBesidesClock(old, next plan.State) bool {
	const worth = time.Hour
	if old.Clock != nil && next.Clock != nil {
		was, is := old.Clock.CA.Sub(old.Clock.Ours), next.Clock.CA.Sub(next.Clock.Ours)
		if (was - is).Abs() < worth {
			next.Clock = old.Clock
		}
	}
	return reflect.DeepEqual(old, next)
}

// believableClock keeps a clock that is wrong from writing into the ledger when
// something was published or confirmed.
func (l *lineage) believableClock(ctx context.Context, e *pinset.Entry) error {
	if e.Kind != pinset.Intent && e.Kind != pinset.Confirm {
		return nil
	}
	skew, known := l.skew(ctx)
	return plan.CheckClock(l.input(), skew, known)
}

// failed puts on record that an action failed, for the lineage and, where it is the
// CA that can't be asked, for all that use it. It returns what keeps it from that.
func (l *lineage) failed(a plan.Action, cause error) error {
	f := &plan.Failed{Text: cause.Error(), Jitter: jitter(), DropOrder: errors.As(cause, new(*rejectedError))}
	var refused *acme.Problem
	if errors.As(cause, &refused) {
		f.RetryAfter = refused.RetryAfter
	}
	var clock *plan.ClockError
	var gate *plan.GateError
	var out *lookError
	switch {
	case errors.As(cause, &clock):
		f.Code = plan.ClockWrong
	case errors.As(cause, &gate):
		f.Code = plan.GateClosed
	case errors.As(cause, &out):
		f.Code = out.code
	case a.Kind != plan.Obtain && a.Kind != plan.SwitchKey:
		// The action itself says what failed.
	case f.RetryAfter > 0, refused != nil && refused.Limited():
		f.Code = plan.CAPaused
	case acme.Unanswered(cause):
		f.Code = plan.CAUnreachable
	}
	if l.state.IsZero() {
		return cause // there is no record yet
	}
	// The record is written whatever became of the run.
	return l.commit(context.Background(), a, plan.Result{Failed: f})
}
