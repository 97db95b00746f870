package cli

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"keepkey/config"
	"keepkey/plan"
	"keepkey/status"
)

// outcomes is what came of a run over certificates of one or more CAs.
type outcomes struct {
	certs    []config.Certificate
	outcomes []*status.Outcome
}

func (r *outcomes) add(ca string, expires time.Time, problems ...status.Problem) {
	name := fmt.Sprintf("%c.example.com", 'a'+len(r.certs))
	r.certs = append(r.certs, config.Certificate{Name: name, ACME: config.ACME{Directory: ca}})
	r.outcomes = append(r.outcomes, &status.Outcome{Name: name, Expires: expires, Problems: problems})
}

// told are the first lines of the messages.
func (r *outcomes) told() []string {
	var told []string
	for _, g := range groupProblems(r.certs, r.outcomes) {
		told = append(told, status.Several(g.names)+": "+g.problem.Subject)
	}
	return told
}

func TestACAThatIsDownIsToldOnce(t *testing.T) {
	t.Parallel()
	down := func(how string) status.Problem {
		return status.Problem{Code: plan.CAUnreachable, Subject: how, Safe: "its own", Do: []string{"its own"}}
	}
	first := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	var r outcomes
	r.add("ca", first.Add(time.Hour), down("connection refused"))
	r.add("ca", first, down("connection refused (attempt 2)"))
	r.add("ca", first.Add(2*time.Hour), status.Problem{Code: plan.DeployFailing, Subject: "deploy"}, down("put off"))
	r.add("other CA", time.Time{}, down("connection refused"))
	r.outcomes = append(r.outcomes, nil) // there is nothing to tell
	r.certs = append(r.certs, config.Certificate{Name: "quiet", ACME: config.ACME{Directory: "ca"}})
	r.add("ca", time.Time{}, down("put off"))
	want := []string{
		"4 certificates (a.example.com, b.example.com, c.example.com, ...): connection refused",
		"c.example.com: deploy",
		"d.example.com: connection refused",
	}
	if got := r.told(); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	groups := groupProblems(r.certs, r.outcomes)
	if p := groups[0].problem; !strings.Contains(p.Safe, status.Time(first)) || strings.Contains(strings.Join(p.Do, " "), "--name") {
		t.Errorf("what is said to many: safe %q, do %q", p.Safe, p.Do)
	}
	if p := groups[2].problem; p.Safe != "its own" || p.Do[0] != "its own" {
		t.Errorf("what is said to one: safe %q, do %q", p.Safe, p.Do)
	}
}

func TestAPauseIsToldOnceForAllThatItConcerns(t *testing.T) {
	t.Parallel()
	paused := func(why string) status.Problem { return status.Problem{Code: plan.CAPaused, Subject: why} }
	var r outcomes
	r.add("ca", time.Time{}, paused("too many orders"))
	r.add("ca", time.Time{}, paused("too many certificates for example.com"))
	r.add("ca", time.Time{}, paused("too many orders"))
	want := []string{
		"2 certificates (a.example.com, c.example.com): too many orders",
		"b.example.com: too many certificates for example.com",
	}
	if got := r.told(); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestOtherProblemsAreToldForEach(t *testing.T) {
	t.Parallel()
	same := status.Problem{Code: plan.DeployFailing, Subject: "a deploy hook failed"}
	var r outcomes
	r.add("ca", time.Time{}, same)
	r.add("ca", time.Time{}, same)
	want := []string{"a.example.com: a deploy hook failed", "b.example.com: a deploy hook failed"}
	if got := r.told(); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
