package status

import (
	"reflect"
	"testing"
	"time"

	"keepkey/plan"
)

func TestABriefHasWhatIsListedAndMeasured(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	l := Lineage{
		Name: "api", Certificate: &Certificate{NotAfter: at}, Gate: &Gate{OpensAt: at},
		Channels: map[string]Channel{"web": {Version: 2, Confirmed: at}, "app": {Version: 1}},
		Next:     &Action{Action: plan.Obtain, At: at},
		Problems: []Problem{{Code: plan.DeployFailing, Severity: Warning}, {Code: plan.KeyMissing, Severity: Critical}},
		Notes:    []Problem{{Code: plan.RolloverWaits, Severity: Info}},
	}
	want := Brief{
		Name: "api", NotAfter: at, HasGate: true, GateOpens: at, Next: plan.Obtain, NextAt: at, Severity: Critical,
		Channels: []BriefChannel{{"app", 1, false}, {"web", 2, true}},
		Problems: []BriefProblem{{plan.DeployFailing, Warning}, {plan.KeyMissing, Critical}},
	}
	if got := l.Brief(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	if got := (Lineage{Name: "new"}).Brief(); !reflect.DeepEqual(got, Brief{Name: "new"}) {
		t.Errorf("%+v", got)
	}
}
