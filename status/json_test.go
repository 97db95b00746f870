package status_test

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"keepkey/plan"
	"keepkey/status"
)

// The names in the JSON are promised to monitors and scripts: more may join them, none
// may change or go.
func TestJSONKeepsItsNames(t *testing.T) {
	t.Parallel()
	docs, err := os.ReadFile("../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		of    any
		names string
	}{
		{status.Lineage{}, "name domains certificate keys gate gates channels rollover hosts next renewal problems notes"},
		{status.Certificate{}, "version installed pin serial domains directory not_before not_after obtained"},
		{status.Key{}, "pin type role created accept"},
		{status.Gate{}, "pin open opens_at obstacles text do"},
		{status.Obstacle{}, "channel version until retire"},
		{status.Channel{}, "version intended confirmed enforced"},
		{status.Rollover{}, "from to asked switched compromised"},
		{status.Host{}, "id hostname this installed deployed checked addresses"},
		{status.Address{}, "address looked served"},
		{status.Problem{}, "id code severity subject safe do blocks"},
		{status.Plan{}, "name actions problems notes"},
		{status.Action{}, "action at reason text why role channel pin_set version target host"},
		{status.Pins{}, "name domains version keys"},
		{status.History{}, "name events unread"},
		{status.Event{}, "at action reason by person text why error entry role pin from keys channel version target serial not_after host"},
		{status.Check{}, "name domains status days_left servers channels problems"},
		{status.CheckedServer{}, "address ip server_name status pin serial version not_after staple tlsa problems"},
		{status.StapleCheck{}, "good until"},
		{status.TLSACheck{}, "records matching"},
		{status.CheckedChannel{}, "name status version problems"},
		{status.Reports{}, "count groups last"},
		{status.InUse{}, "id channel version over last"},
		{status.ReportList{}, "name reports"},
		{status.Reported{}, "id codes text pins channel version over closes count sources first last served hosts apps dismissed by"},
		{status.Served{}, "pin role count last allowed untrusted"},
	} {
		typ := reflect.TypeOf(tt.of)
		var names []string
		for i := range typ.NumField() {
			if name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ","); name != "" {
				names = append(names, name)
			} else if typ.Field(i).IsExported() {
				t.Errorf("%s.%s is in the JSON without a name of its own", typ, typ.Field(i).Name)
			}
		}
		for _, name := range strings.Fields(tt.names) {
			if !slices.Contains(names, name) {
				t.Errorf("%s lost its %q", typ, name)
			}
		}
		for _, name := range names {
			if !strings.Contains(string(docs), "`"+name+"`") {
				t.Errorf("docs/json.md does not explain %q of %s", name, typ)
			}
		}
	}
}

// A list that is empty is a list, so that programs need not tell it from null.
func TestJSONHasNoNullLists(t *testing.T) {
	t.Parallel()
	in := plan.Input{Goal: plan.Goal{Name: "api", Domains: []string{"api.example.com"}}, Now: time.Now()}
	served := in
	served.State.Certificate = &plan.Certificate{Version: 1}
	for _, v := range []any{
		status.Of(in, plan.Plan{}), status.Of(in, plan.Next(in)), status.PlanOf("api", plan.Plan{}), status.PinsOf(in, true), status.HistoryOf("api", nil, nil, nil, nil),
		status.CheckOf(in, plan.Checked{}), status.CheckOf(served, plan.Checked{}),
	} {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(data, &fields); err != nil {
			t.Fatal(err)
		}
		mayBeNull := []string{"certificate", "gate", "rollover", "next", "renewal", "days_left"}
		for name, value := range fields {
			if value == nil && !slices.Contains(mayBeNull, name) {
				t.Errorf("%q is null in %s", name, data)
			}
		}
	}
}
