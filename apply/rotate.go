package apply

import (
	"context"
	"fmt"

	"keepkey/config"
	"keepkey/plan"
)

// RotateOptions say what is asked of a rollover.
type RotateOptions struct {
	Undo     bool // go back to the key before
	WhenOpen bool // put it on record although the gate is closed, and wait
}

// GateClosedError says that a key may not be served now, and why. Nothing was
// changed.
type GateClosedError struct {
	Name   string
	Reason string
}

func (e *GateClosedError) Error() string {
	return fmt.Sprintf("%s: the key is not switched, since the gate is %s; nothing was changed, and what is live stays; to have it happen by itself when the gate opens, add --when-open", e.Name, e.Reason)
}

// Rotate puts on record that the active key shall be replaced by the first backup
// key, or that this shall be undone. The renewals that follow do it. When the gate
// is closed and nobody wants to wait, the error is a [*GateClosedError].
func (r *Runner) Rotate(ctx context.Context, cert config.Certificate, o RotateOptions) error {
	in, next, err := r.asked(ctx, cert, o)
	if err != nil {
		return err
	}
	if ro := next.Rollover; ro != nil && ro.Switched.IsZero() && !o.WhenOpen {
		if err := in.Disk.KeyProblems[ro.To]; err != nil {
			return fmt.Errorf("%w; nothing was changed", err)
		}
		if v := plan.Gate(in, ro.To); !v.Open {
			return &GateClosedError{Name: cert.Name, Reason: plan.TellGate(v)}
		}
	}
	l, err := r.look(ctx, cert)
	if err != nil {
		return err
	}
	return l.commit(func(s *plan.State) { s.Rollover = next.Rollover })
}

// PlanRotate says what Rotate, and the runs after it, would do.
func (r *Runner) PlanRotate(ctx context.Context, cert config.Certificate, o RotateOptions) (plan.Plan, error) {
	in, next, err := r.asked(ctx, cert, o)
	if err != nil {
		return plan.Plan{}, err
	}
	in.State = next
	return plan.Forecast(in), nil
}

// asked returns the lineage as it is, and its state as it would be once the
// rollover is on record.
func (r *Runner) asked(ctx context.Context, cert config.Certificate, o RotateOptions) (plan.Input, *plan.State, error) {
	l, err := r.look(ctx, cert)
	if err != nil {
		return plan.Input{}, nil, err
	}
	in := l.input(Options{})
	if in.State == nil {
		return plan.Input{}, nil, fmt.Errorf("%s: there is nothing to roll over yet: run keepkey renew first", cert.Name)
	}
	for _, p := range plan.Next(in).Problems {
		if p.Blocks {
			return plan.Input{}, nil, fmt.Errorf("%s: %s", cert.Name, p.Text)
		}
	}
	next := *in.State
	ask := next.AskRollover
	if o.Undo {
		ask = next.AskUndo
	}
	if err := ask(r.Now()); err != nil {
		return plan.Input{}, nil, fmt.Errorf("%s: %w", cert.Name, err)
	}
	return in, &next, nil
}
