package apply

import (
	"context"
	"errors"
	"fmt"

	"keepkey/config"
	"keepkey/plan"
)

// RotateOptions say what is asked of a rollover.
type RotateOptions struct {
	Undo     bool // go back to the key before
	WhenOpen bool // put it on record although the gate is closed, and wait
	// Compromised says that others may have the active key: it is replaced without
	// waiting for publications, and its certificates are revoked.
	Compromised bool
	// AcceptBreakage, with Compromised, gives up the clients whose pin sets keep the
	// gate closed.
	AcceptBreakage bool
}

// GateClosedError says that a key may not be served now, and why. Nothing was
// changed.
type GateClosedError struct {
	Name        string
	Reason      string
	Compromised bool // it was asked for because of that
}

func (e *GateClosedError) Error() string {
	if e.Compromised {
		return fmt.Sprintf("%s: the key is not switched, since clients would be locked out: the gate is %s; nothing was changed, and the compromised key is still served; to switch all the same, add --accept-breakage", e.Name, e.Reason)
	}
	return fmt.Sprintf("%s: the key is not switched, since the gate is %s; nothing was changed, and what is live stays; to have it happen by itself when the gate opens, add --when-open", e.Name, e.Reason)
}

// Rotate puts on record that the active key shall be replaced by the first backup
// key, or that this shall be undone. The renewals that follow do it. When the gate
// is closed and nobody wants to wait, the error is a [*GateClosedError].
func (r *Runner) Rotate(ctx context.Context, cert config.Certificate, o RotateOptions) error {
	if o.AcceptBreakage {
		if err := r.ensureSuccessor(ctx, cert); err != nil {
			return err
		}
	}
	l, next, err := r.asked(ctx, cert, o)
	if err != nil {
		return err
	}
	in := l.input(Options{})
	if ro := next.Rollover; ro != nil && ro.Switched.IsZero() && !o.WhenOpen && !o.AcceptBreakage {
		if err := in.Disk.KeyProblems[ro.To]; err != nil {
			return fmt.Errorf("%w; nothing was changed", err)
		}
		if v := plan.Gate(in, ro.To); !v.Open {
			return &GateClosedError{Name: cert.Name, Reason: plan.TellGate(cert.Name, v), Compromised: ro.Compromised}
		}
	}
	return l.commit(func(s *plan.State) { s.Rollover, s.Since = next.Rollover, next.Since })
}

// ensureSuccessor makes a key to take over when no backup key can: no client knows
// it, but a server with it is better than one with a key that others have.
func (r *Runner) ensureSuccessor(ctx context.Context, cert config.Certificate) error {
	l, err := r.look(ctx, cert)
	if err != nil || l.state == nil || l.state.Certificate == nil {
		return err
	}
	if !plan.Successor(l.input(Options{})).IsZero() {
		return nil
	}
	return l.generateKey(plan.Action{Kind: plan.GenerateKey, Role: plan.Backup})
}

// PlanRotate says what Rotate, and the runs after it, would do.
func (r *Runner) PlanRotate(ctx context.Context, cert config.Certificate, o RotateOptions) (plan.Plan, error) {
	l, next, err := r.asked(ctx, cert, o)
	if err != nil {
		return plan.Plan{}, err
	}
	in := l.input(Options{})
	in.State = next
	return plan.Forecast(in), nil
}

// asked returns the lineage as it is, and its state as it would be once the
// rollover is on record.
func (r *Runner) asked(ctx context.Context, cert config.Certificate, o RotateOptions) (*lineage, *plan.State, error) {
	fail := func(err error) (*lineage, *plan.State, error) {
		return nil, nil, fmt.Errorf("%s: %w", cert.Name, err)
	}
	l, err := r.look(ctx, cert)
	if err != nil {
		return nil, nil, err
	}
	in := l.input(Options{})
	if in.State == nil {
		return fail(errors.New("there is nothing to roll over yet: run keepkey renew first"))
	}
	next := *in.State
	switch {
	case o.Undo:
		err = next.AskUndo(r.Now())
	case o.Compromised:
		to := plan.Successor(in)
		if to.IsZero() {
			return fail(errors.New("no backup key can take over: restore one from a backup of the state directory, or have a new one made, which no client knows yet, with --accept-breakage"))
		}
		err = next.AskCompromised(to, o.AcceptBreakage, r.Now())
	default:
		err = next.AskRollover(r.Now())
	}
	if err != nil {
		return fail(err)
	}
	in.State = &next
	for _, p := range plan.Next(in).Problems {
		if p.Blocks {
			return fail(errors.New(p.Text))
		}
	}
	return l, &next, nil
}
