package page

import (
	"slices"

	"keepkey/plan"
	"keepkey/status"
)

// switchOf answers the question that people come with: whether keys can be switched now, and
// if not, when. The gate is not all that it takes.
func switchOf(in plan.Input, forecast plan.Plan, r *RolloverTime) Switch {
	no := func(why string) Switch { return Switch{Text: "Keys can't be switched " + why + "."} }
	switch {
	case hasProblem(forecast, func(f plan.Finding) bool { return f.Code == plan.LineageLeft }):
		return no("while the configuration does not name the certificate")
	case hasProblem(forecast, func(f plan.Finding) bool { return f.Blocks }):
		return no("until a problem is mended")
	case in.State.IsZero() && len(forecast.Actions) == 0:
		return Switch{Text: "Nothing is known yet."}
	case in.State.Certificate == nil:
		return Switch{Text: "There is no certificate yet."}
	case r != nil && r.Asked && r.At.IsZero():
		return Switch{Asked: true, Text: "A rollover waits, and when it can go on is not known."}
	case r != nil && r.Asked && r.At.After(in.Now):
		return Switch{Asked: true, At: r.At, Text: "Keys will be switched at " + status.Time(r.At) + "."}
	case r != nil && r.Asked:
		return Switch{Asked: true, At: r.At, Text: "Keys are being switched."}
	}
	next := plan.NextActive(in)
	if next.IsZero() {
		return no("before there is a backup key")
	}
	v := plan.Gate(in, next)
	switch {
	case v.Shut == plan.ChannelsMissing:
		return no("while nobody knows which clients pin")
	case v.Shut == plan.LedgerDamaged:
		return no("before the ledger is whole")
	case v.Shut != "":
		return no("before a problem is mended")
	case personOpens(in, v):
		return no("before a person acts")
	case !v.Open && v.OpensAt.IsZero():
		return no("before a newer pin set is out")
	case hasProblem(forecast, func(f plan.Finding) bool { return f.Code == plan.ClockWrong }):
		return no("while a clock is wrong")
	case hasProblem(forecast, func(f plan.Finding) bool {
		return f.Code == plan.PublicationFailing || f.Code == plan.PublicationUnseen
	}):
		return no("before the newest pin set is out")
	}
	at := v.OpensAt
	if last := in.State.Rollover; last != nil {
		i := slices.IndexFunc(forecast.Actions, func(a plan.Action) bool { return a.Kind == plan.RetirePin })
		if i < 0 {
			return no("again before the last rollover is over")
		}
		at = later(at, forecast.Actions[i].At)
	}
	if at.After(in.Now) {
		return Switch{At: at, Text: "Keys can't be switched before " + status.Time(at) + "."}
	}
	return Switch{Ready: true, At: in.Now, Text: "Keys can be switched now."}
}

func hasProblem(p plan.Plan, is func(plan.Finding) bool) bool {
	return slices.ContainsFunc(p.Problems, is)
}
