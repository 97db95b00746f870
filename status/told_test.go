package status_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"keepkey/plan"
	"keepkey/status"
)

// lineage is a condition in which one thing is wrong.
func lineage(name string, findings ...plan.Finding) status.Condition {
	in := plan.Input{Goal: plan.Goal{Name: name, Domains: []string{name + ".example.com"}, CA: "https://ca.example/dir"}}
	in.State.Certificate = &plan.Certificate{NotAfter: days(60)}
	return status.ConditionOf(name, in, findings, nil)
}

// failed is a finding that something failed so often.
func failed(code plan.Code, kind plan.Kind, attempts int) plan.Finding {
	return plan.Finding{Code: code, Action: kind, Target: "t", Failure: &plan.Failure{Count: attempts, First: t0, Last: t0, Error: "no\x1b[31m way"}}
}

// said are the states and the problems of notices.
func said(owed []status.Notice) string {
	var all []string
	for _, n := range owed {
		all = append(all, fmt.Sprintf("%s %s %s %s", n.Hook, n.State, n.Problem.Severity, n.Problem.Code))
	}
	return strings.Join(all, "; ")
}

// deliver delivers all that is owed.
func deliver(t status.Told, owed []status.Notice) status.Told {
	for _, n := range owed {
		t = t.Begin(n).After(n)
	}
	return t
}

func TestWhenAHookIsTold(t *testing.T) {
	t.Parallel()
	live := plan.Finding{Code: plan.LiveForeign, Blocks: true, Err: errors.New("live is a directory")}
	obtain := failed(plan.IssuanceFailing, plan.Obtain, 3)
	late, urgent := obtain, obtain
	late.Late = true
	urgent.Late, urgent.Urgent = true, true
	waits := plan.Finding{Code: plan.RolloverWaits}
	for _, tt := range []struct {
		name  string
		steps []any // findings, a time that passes, what is said then
	}{
		{"critical", []any{live, "a appeared critical live-foreign", time.Minute, live, "", 48 * time.Hour, live, ""}},
		{"a warning that is over within the hour", []any{obtain, "", 59 * time.Minute, obtain, "", time.Minute, "", 3 * time.Hour, ""}},
		{"a warning that lasts", []any{obtain, "", time.Hour, obtain, "a appeared warning issuance-failing", time.Hour, obtain, "", time.Hour, "a over warning issuance-failing", time.Hour, ""}},
		{"it gets worse, and better, and worse again", []any{obtain, "", time.Hour, obtain, "a appeared warning issuance-failing", late, "a worse warning issuance-failing", urgent, "a worse critical issuance-failing", obtain, "", urgent, "", "a over critical issuance-failing"}},
		{"another reason is no other problem", []any{obtain, "", time.Hour, obtain, "a appeared warning issuance-failing", failed(plan.CAUnreachable, plan.Obtain, 4), "", "a over warning ca-unreachable"}},
		{"it is critical before it has lasted", []any{obtain, "", urgent, "a appeared critical issuance-failing"}},
		{"it comes back", []any{live, "a appeared critical live-foreign", "a over critical live-foreign", live, "a appeared critical live-foreign"}},
		{"nobody can tell meanwhile", []any{obtain, "", time.Hour, obtain, "a appeared warning issuance-failing", live, "a appeared critical live-foreign", obtain, "a over critical live-foreign", "a over warning issuance-failing"}},
		{"interrupted", []any{plan.Finding{Code: plan.Interrupted}, "", time.Hour, plan.Finding{Code: plan.Interrupted}, ""}},
		{"a rollover waits for a person", []any{waits, "", time.Hour, waits, "a appeared warning rollover-waits", "a over warning rollover-waits"}},
		{"a rollover of a compromised key waits for a person", []any{plan.Finding{Code: plan.RolloverWaits, Compromised: true}, "a appeared critical rollover-waits"}},
		{"what is only worth knowing", []any{plan.Finding{Code: plan.OldPinKept}, "", 2 * time.Hour, plan.Finding{Code: plan.OldPinKept}, ""}},
		{"the clock is set back", []any{-time.Hour, obtain, "", -48 * time.Hour, obtain, "", 59 * time.Minute, obtain, "", time.Minute, obtain, "a appeared warning issuance-failing"}},
	} {
		var told status.Told
		now, current, fresh := t0, []plan.Finding(nil), true
		for i, step := range tt.steps {
			switch step := step.(type) {
			case plan.Finding:
				current, fresh = []plan.Finding{step}, true
			case time.Duration:
				now, current, fresh = now.Add(step), nil, true
			case string:
				if !fresh {
					current = nil
				}
				next, owed, _ := told.Next(lineage("api", current...), []string{"a"}, status.Moment{Now: now})
				if got := said(owed); got != step {
					t.Errorf("%s: step %d: said %q, want %q", tt.name, i, got, step)
				}
				told, fresh = deliver(next, owed), false
			}
		}
	}
}

// The daemon tries most things again after a minute. A timer's run can't know.
func TestWhatFailedOnceWaitsForTheNextAttemptIfThatIsNear(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		attempts int
		again    time.Duration // 0: nobody knows
		told     bool
	}{{1, 0, true}, {1, time.Minute, false}, {1, 5 * time.Minute, false}, {1, 6 * time.Minute, true}, {2, time.Minute, true}} {
		c := lineage("api", failed(plan.DeployFailing, plan.Deploy, tt.attempts))
		if tt.again > 0 {
			c.Again = t0.Add(tt.again)
		}
		_, owed, ripe := status.Told{}.Next(c, []string{"a"}, status.Moment{Now: t0})
		if (len(owed) == 1) != tt.told || (!tt.told && ripe.IsZero()) {
			t.Errorf("%+v: %q, ripe %s", tt, said(owed), ripe)
		}
	}
}

// Where nothing can be put on record, the next run would not know how long it has lasted.
func TestWhatCannotBePutOnRecordIsToldAtOnce(t *testing.T) {
	t.Parallel()
	c := lineage("api", failed(plan.PublicationFailing, plan.Publish, 1))
	if _, owed, _ := (status.Told{}).Next(c, []string{"a"}, status.Moment{Now: t0, Forgetful: true}); len(owed) != 1 {
		t.Errorf("said %q", said(owed))
	}
}

func TestAHookThatIsNewIsToldOfWhatThereIs(t *testing.T) {
	t.Parallel()
	c := lineage("api", plan.Finding{Code: plan.LiveForeign, Blocks: true})
	next, owed, _ := status.Told{}.Next(c, []string{"a"}, status.Moment{Now: t0})
	told := deliver(next, owed)
	next, owed, _ = told.Next(c, []string{"b"}, status.Moment{Now: days(1)})
	if got := said(owed); got != "b appeared critical live-foreign" {
		t.Errorf("said %q", got)
	}
	// The other one is gone: nothing is owed to it any more.
	_, owed, _ = deliver(next, owed).Next(lineage("api"), []string{"a", "b"}, status.Moment{Now: days(2)})
	if got := said(owed); got != "b over critical live-foreign" {
		t.Errorf("said %q", got)
	}
}

func TestAnEventHasOneIDHoweverOftenItIsTold(t *testing.T) {
	t.Parallel()
	c := lineage("api", plan.Finding{Code: plan.LiveForeign, Blocks: true}, plan.Finding{Code: plan.StateMissing, Blocks: true})
	hooks := []string{"a", "b"}
	next, first, _ := status.Told{}.Next(c, hooks, status.Moment{Now: t0})
	for _, n := range first {
		next = next.Begin(n)
	}
	data, err := next.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	// Nobody knows what became of it: it is told again, by another process.
	next, second, _ := status.ParseTold(data).Next(c, hooks, status.Moment{Now: days(1)})
	ids := make(map[string]bool)
	for i, n := range first {
		if i >= len(second) || second[i].ID != n.ID {
			t.Errorf("%s has another ID when it is told again", said(first[i:i+1]))
		}
		ids[n.ID] = true
	}
	if len(ids) != 4 || len(second) != 4 {
		t.Errorf("%d IDs of %d events", len(ids), len(second))
	}
	_, over, _ := deliver(next, second).Next(lineage("api"), hooks, status.Moment{Now: days(2)})
	for _, n := range over {
		if ids[n.ID] {
			t.Errorf("%s has the ID of another event", said([]status.Notice{n}))
		}
	}
}

// A CA that is away is told of once, and not for each of its certificates, but for one that
// is about to expire.
func TestACAIsToldOfOnceForAllItsCertificates(t *testing.T) {
	t.Parallel()
	away := failed(plan.CAUnreachable, plan.Obtain, 2)
	urgent := away
	urgent.Urgent = true
	all := []status.Condition{lineage("c", away), lineage("a", away), lineage("b", urgent), lineage("d")}
	for _, c := range all {
		_, owed, _ := status.Told{}.Next(c, []string{"h"}, status.Moment{Now: t0})
		if got, want := said(owed), map[string]string{"b": "h appeared critical ca-unreachable"}[c.Name]; got != want {
			t.Errorf("%s: said %q, want %q", c.Name, got, want)
		}
	}
	whole := status.Whole([]plan.Finding{{Code: plan.ConfigurationInvalid, Err: errors.New("line 7")}}, all)
	told, owed, ripe := status.Told{}.Next(whole, []string{"h"}, status.Moment{Now: t0})
	if got := said(owed); got != "" || !ripe.Equal(t0.Add(time.Hour)) {
		t.Errorf("said %q, ripe %s", got, ripe)
	}
	_, owed, _ = told.Next(whole, []string{"h"}, status.Moment{Now: ripe})
	if got, want := said(owed), "h appeared warning configuration-invalid; h appeared warning ca-unreachable"; got != want {
		t.Errorf("said %q, want %q", got, want)
	}
	if got := owed[1].Problem.Subject; !strings.HasPrefix(got, "2 certificates (a, c): no certificate was obtained: the CA is unavailable: ") {
		t.Errorf("it says %q", got)
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	one := func(name string, f plan.Finding) []status.Notice {
		_, owed, _ := status.Told{}.Next(lineage(name, f), []string{"h"}, status.Moment{Now: t0})
		return owed
	}
	deploy := failed(plan.DeployFailing, plan.Deploy, 2)
	ms := status.Messages(one("api", deploy), "web1")
	if len(ms) != 1 {
		t.Fatalf("%d messages", len(ms))
	}
	m := ms[0]
	if want := `keepkey on web1: critical: api: certificate version 0 is installed, but a deploy hook failed: no\u001b[31m way (attempt 2 since 2026-03-01 12:00 UTC, the last at 2026-03-01 12:00 UTC)`; m.Summary != want {
		t.Errorf("summary %q, want %q", m.Summary, want)
	}
	const text = `api: certificate version 0 is installed, but a deploy hook failed: no\u001b[31m way (attempt 2 since 2026-03-01 12:00 UTC, the last at 2026-03-01 12:00 UTC)
safe: the server keeps the certificate that it has loaded
do: every run tries again; to try now: keepkey renew --name api

severity critical, code deploy-failing on web1, since 2026-03-01 12:00 UTC
the certificate in use expires at 2026-04-30 12:00 UTC
`
	if m.Text != text {
		t.Errorf("it says\n%s\nwant\n%s", m.Text, text)
	}

	// Many of one kind are told in one message, and the worst come first.
	var owed []status.Notice
	for i := range 30 {
		owed = append(owed, one(fmt.Sprintf("n%02d", i), deploy)...)
	}
	owed = append(owed, one("other", plan.Finding{Code: plan.LiveForeign, Blocks: true})...)
	ms = status.Messages(owed, "")
	if len(ms) != 2 || len(ms[0].Names) != 30 || len(ms[0].Notices) != 30 || !strings.HasPrefix(ms[0].Summary, "keepkey: critical: 30 certificates (n00, n01, n02, ...): ") || !strings.Contains(ms[0].Text, "\n... and 10 more\n") {
		t.Errorf("%d messages: %+v", len(ms), ms)
	}
	slices.Reverse(owed)
	if again := status.Messages(owed, ""); again[1].ID != ms[0].ID {
		t.Error("the ID depends on the order")
	}

	// However long and strange what went wrong is.
	deploy.Failure.Error = strings.Repeat("é\r\nSubject: x\n", 1<<20)
	m = status.Messages(one("api", deploy), "")[0]
	if len(m.Summary) > 200 || strings.ContainsAny(m.Summary, "\r\n") || len(m.Text) > 16<<10 || strings.Contains(m.Text, "\r") {
		t.Errorf("%q\n%.300q", m.Summary, m.Text)
	}
}

// A record that is damaged is an empty one.
func FuzzParseTold(f *testing.F) {
	next, owed, _ := status.Told{}.Next(lineage("api", failed(plan.DeployFailing, plan.Deploy, 2), plan.Finding{Code: plan.LiveForeign, Blocks: true}), []string{"a"}, status.Moment{Now: t0})
	good, err := deliver(next, owed[:1]).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	if status.ParseTold(good).IsZero() {
		f.Fatalf("what was written can't be read: %s", good)
	}
	f.Add(good)
	for _, damage := range [][2]string{{`"schema": 1`, `"schema": 2`}, {`"worst": 3`, `"worst": 4`}, {`"a": 3`, `"a": -7`}, {`"since": "2026`, `"since": "x`}, {`"id": "`, `"id": "" , "x": "`}} {
		bad := bytes.Replace(good, []byte(damage[0]), []byte(damage[1]), 1)
		if bytes.Equal(bad, good) || !status.ParseTold(bad).IsZero() {
			f.Errorf("%s is believed", bad)
		}
		f.Add(bad)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		told := status.ParseTold(data)
		next, owed, _ := told.Next(lineage("api", failed(plan.DeployFailing, plan.Deploy, 2)), []string{"a", "b"}, status.Moment{Now: t0})
		for _, m := range status.Messages(owed, "web1") {
			if len(m.Summary) > 200 || len(m.Text) > 16<<10 || m.ID == "" {
				t.Errorf("%+v", m)
			}
		}
		again, err := deliver(next, owed).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if parsed, err := status.ParseTold(again).Marshal(); err != nil || !bytes.Equal(parsed, again) {
			t.Errorf("%s\nis read as\n%s (%v)", again, parsed, err)
		}
	})
}
