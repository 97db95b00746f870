package page

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"keepkey/pinset"
	"keepkey/plan"
	"keepkey/status"
)

// view is what is shown of stories, all at the time of the first one.
func view(stories ...story) View {
	v := View{Now: stories[0].In.Now, Hostname: "web1", Version: "v1.0.0"}
	for _, s := range stories {
		forecast := plan.Forecast(s.In)
		v.Certificates = append(v.Certificates, Certificate{status.Of(s.In, forecast), s.timeline(), s.Events})
	}
	return v
}

func named(name string, s story) story {
	s.In.Goal.Name = name
	return s
}

func render(t *testing.T, v View) string {
	t.Helper()
	var b bytes.Buffer
	if err := HTML(&b, v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// nodes are all elements of a page, in order.
func nodes(t *testing.T, page string) []*html.Node {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var all []*html.Node
	for n := range root.Descendants() {
		if n.Type == html.ElementNode {
			all = append(all, n)
		}
	}
	return all
}

func attr(n *html.Node, name string) (string, bool) {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val, true
		}
	}
	return "", false
}

// text is what can be read in a page, with single blanks.
func text(t *testing.T, page string) string {
	t.Helper()
	var b strings.Builder
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Type == html.TextNode && n.Parent.Data != "style" {
			b.WriteString(n.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func deployFails(name string) story {
	g := goal(web)
	g.Name, g.Deploy = name, []string{"reload"}
	s := begin(g)
	s.Break(plan.Failed{Text: `hook "reload": it ended with exit status 1`}, func(a plan.Action) bool { return a.Kind == plan.Deploy })
	return s.on(5)
}

// The first thing to see is what is wrong, what is safe and what to do, the worst first; or
// that all is well, and what comes next.
func TestThePageBeginsWithWhatMatters(t *testing.T) {
	t.Parallel()
	fine := func(name string) story { return named(name, begin(goal(web)).on(5)) }
	damaged := fine("tiles")
	damaged.In.Disk.LedgerProblem = errors.New("line 3 of the ledger is cut short")
	two := goal(web)
	two.Backups = 2
	twice := named("twice", begin(two).on(5))
	twice.In.Disk.KeyProblems = map[pinset.Pin]error{twice.pin(1): errors.New("it is missing"), twice.pin(2): errors.New("it is missing, too")}
	config := view(fine("api"))
	config.ConfigProblem = `unknown key "chanels"`
	config.Since = t0
	briefs := view(fine("api"))
	briefs.Others = []status.Brief{{Name: "left over", Severity: status.Critical, Problems: []status.BriefProblem{{Code: plan.LineageLeft, Severity: status.Critical}}}}
	rolled := named("rolled", begin(goal(web)).on(3).rotate().on(5))
	for _, tt := range []struct {
		name string
		view View
		want []string // in this order
	}{
		{"well", view(fine("api")), []string{"All is well: keepkey on web1", "All is well", "1 certificate.", "It expires in 84 days, at 2027-02-19 11:00 UTC.", "Keys can be switched now."}},
		{"well, and a gate is closed", view(fine("api"), rolled), []string{"All is well", "2 certificates.", "First to expire: api, in 84 days.", "The gate is closed for 1 of them; it opens first for rolled, in 28 days.", "Next: end of the rollover for rolled, in 5 days.",
			"api Well 84 days left open renewal in 5", "Keys can't be switched before 2026-12-24 12:00 UTC.", "closed until 2026-12-24 12:00 UTC"}},
		{"something fails", view(damaged), []string{"Warning: keepkey", "Something fails, and no client notices yet", "1 certificate: 1 warning.", "Warning tiles", "The ledger is damaged", "Safe: renewals with the same key go on", "Do:", "keepkey ledger verify --name tiles", "as root or as keepkey's user"}},
		{"the worst comes first", view(damaged, deployFails("shop"), fine("api")), []string{"Critical: keepkey", "Act now", "3 certificates: 1 critical, 1 warning, 1 well.", "Critical shop", "a deploy hook failed", "Warning tiles"}},
		{"one problem of many certificates", view(deployFails("a"), deployFails("b"), deployFails("c"), deployFails("d"), deployFails("e"), deployFails("f"), deployFails("g")),
			[]string{"7 certificates: 7 critical.", "Critical a , b , c , d , e and 2 more", "a deploy hook failed"}},
		{"two problems of one kind", view(twice), []string{"1 certificate: 1 warning.", "Warning twice A backup key"}},
		{"the configuration", config, []string{"Something fails", "Warning the configuration", `unknown key "chanels"`, "Safe: keepkey goes on with the configuration that it read before", "systemctl reload keepkey-daemon"}},
		{"what is only known in short", briefs, []string{"Act now", "2 certificates: 1 critical, 1 well.", "Critical left over", "Lineage left", "keepkey status --name left over", "Other certificates"}},
		{"before anybody looked", View{Now: t0, Hostname: "web1", Certificates: []Certificate{{status.Of(plan.Input{Goal: goal(web), Now: t0}, plan.Plan{}), TimelineOf(plan.Input{Goal: goal(web), Now: t0}, plan.Plan{}, nil), nil}}, Others: []status.Brief{{Name: "b"}}},
			[]string{"Beginning:", "No problem is known, and not all certificates were looked at yet", "2 certificates: 2 not looked at yet.", "Nothing is known yet.", "b Unknown not looked at yet"}},
		{"before the first run", view(begin(goal(web))), []string{"All is well", "1 certificate. Not obtained yet: 1.", "There is no certificate yet."}},
	} {
		rest := text(t, render(t, tt.view))
		for _, want := range tt.want {
			_, after, found := strings.Cut(rest, want)
			if !found {
				t.Errorf("%s: %q is not there, or not in its place: %.1500s", tt.name, want, rest)
				break
			}
			rest = after
		}
	}
}

// What somebody may want to know of a certificate is in its section.
func TestACertificateIsShownInFull(t *testing.T) {
	t.Parallel()
	g := goal(web, app)
	g.Check, g.Domains = []string{"api.example.com:443"}, []string{"api.example.com", "www.example.com"}
	s := begin(g).on(3).confirm(1).rotate().on(5)
	got := text(t, render(t, view(s)))
	for _, want := range []string{
		"api.example.com, www.example.com", "version 2, 87 days left", s.pin(1).String(), s.In.State.Certificate.Serial, "https://ca.example/dir",
		"web1 (this host): certificate version 2 is installed and deployed", "api.example.com:443 : served, looked at 2026-11-26 11:45 UTC",
		"Obtain a certificate for the active key:", "the CA's renewal window is",
		"The gate for the backup key " + s.pin(2).String()[:8] + "… is closed", "once version 2 is out", "keepkey channel confirm --name api --channel app --version 2",
		"The keys were switched at 2026-11-24 12:00 UTC",
		"app version 2 not yet ; handed out 2026-11-24 12:00 UTC (2 days ago) 1, 2", "web version 2 2026-11-24 12:00 UTC (2 days ago) 1, 2",
		"Began a rollover to the key", "Said that version 1 of the pin set is out on channel app", "by the daemon",
	} {
		if !strings.Contains(strings.ToLower(got), strings.ToLower(want)) {
			t.Errorf("%q is not in %s", want, got)
		}
	}
}

// The page asks for nothing else, runs nothing, and works under its policy.
func TestThePageStandsAlone(t *testing.T) {
	t.Parallel()
	v := view(deployFails("shop"), begin(goal(web)).on(5))
	v.Since, v.Others = t0, []status.Brief{{Name: "javascript:a/b"}}
	page, styles, daemon := render(t, v), 0, false
	for _, n := range nodes(t, page) {
		switch n.Data {
		case "script", "img", "iframe", "object", "embed", "form", "base", "audio", "video", "use", "image":
			t.Errorf("there is a %s", n.Data)
		case "style":
			styles++
			checkPolicy(t, n.FirstChild.Data)
		}
		for _, a := range n.Attr {
			link := a.Key == "href" || a.Key == "src"
			if a.Val == "certificates/javascript:a%2Fb" && n.Data == "a" { // the daemon's page of it alone
				daemon = true
				continue
			}
			if a.Key == "style" || strings.HasPrefix(a.Key, "on") || (link && !strings.HasPrefix(a.Val, "#") && !strings.HasPrefix(a.Val, "data:")) {
				t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
			}
		}
	}
	if styles != 1 || !daemon {
		t.Errorf("%d styles; the daemon's page is linked: %v", styles, daemon)
	}
	if outside := regexp.MustCompile(`(?i)url\((?:[^#)]|#[^c])[^)]*\)|@import`).FindString(style); outside != "" {
		t.Errorf("the style asks for %s", outside)
	}
}

// checkPolicy looks for a style in the policy.
func checkPolicy(t *testing.T, style string) {
	t.Helper()
	sum := sha256.Sum256([]byte(style))
	_, rest, _ := strings.Cut(CSP(), "style-src ")
	allowed, _, _ := strings.Cut(rest, ";")
	if hash := "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !slices.Contains(strings.Fields(allowed), hash) {
		t.Errorf("the policy is %s, and the style's hash %s", CSP(), hash)
	}
}

// hostile is what nobody should put into a name, and somebody will.
const hostile = "</title></style><script>alert(1)</script><img src=x onerror=alert(1)>\"'`\x00\x1b[31m\u202egnp\x7f" + "\xff"

func TestWhatComesFromOutsideIsOnlyText(t *testing.T) {
	t.Parallel()
	v := view(deployFails("shop"))
	clean := len(nodes(t, render(t, v)))
	c := &v.Certificates[0]
	v.Hostname, v.Version = hostile, hostile
	c.Name, c.Domains, c.Timeline.Name = hostile, []string{hostile}, hostile
	c.Timeline.Channels[0].Name = hostile
	c.Certificate.Serial, c.Certificate.Directory = hostile, "javascript:alert(1)"+hostile
	c.Problems[0].Subject, c.Problems[0].Safe, c.Problems[0].Do = hostile, hostile, []string{hostile + ": keepkey " + hostile}
	c.Hosts[0].Hostname, c.Hosts[0].Addresses = hostile, []status.Address{{Address: hostile}}
	c.Next.Text, c.Next.Why, c.Gates[0].Text = hostile, hostile, hostile
	c.Channels = map[string]status.Channel{hostile: c.Channels["web"]}
	c.Events[0] = plan.Event{At: v.Now, Action: hostile, By: hostile, Channel: hostile, Target: hostile, Error: hostile}
	page := render(t, v)
	for _, n := range nodes(t, page) {
		if n.Data == "script" || n.Data == "img" {
			t.Errorf("there is a %s", n.Data)
		}
	}
	// An address and a line with the names were added.
	if got := len(nodes(t, page)); got > clean+12 {
		t.Errorf("%d elements, and without what comes from outside %d", got, clean)
	}
	for _, r := range page {
		if r != '\n' && (r < ' ' || r == '\u202e' || r == '\x7f') {
			t.Errorf("the page has %U", r)
		}
	}
	if !strings.Contains(page, `\u202e`) || !strings.Contains(text(t, page), "<script>alert(1)</script>") {
		t.Error("it is not shown as what it is")
	}
}

func TestHeadingsAreInOrderAndLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	v := view(deployFails("a b/c#d%20é"), named("x", begin(goal(web)).on(3).rotate().on(5)))
	v.Others = []status.Brief{{Name: "other", Severity: status.Warning, Problems: []status.BriefProblem{{Code: plan.DeployFailing, Severity: status.Warning}}}}
	ids, level := make(map[string]bool), 0
	var links []string
	for _, n := range nodes(t, render(t, v)) {
		if id, has := attr(n, "id"); has {
			if ids[id] || strings.ContainsAny(id, " \t\n") {
				t.Errorf("the id %q is there twice, or has a blank", id)
			}
			ids[id] = true
		}
		if href, has := attr(n, "href"); has && n.Data == "a" {
			links = append(links, href)
		}
		if by, has := attr(n, "aria-labelledby"); has {
			links = append(links, "#"+by)
		}
		if len(n.Data) == 2 && n.Data[0] == 'h' && n.Data[1] >= '1' && n.Data[1] <= '6' {
			next := int(n.Data[1] - '0')
			if next > level+1 || (next == 1) != (level == 0) {
				t.Errorf("a heading of level %d follows one of level %d", next, level)
			}
			level = next
		}
	}
	if level == 0 || len(links) < 5 {
		t.Fatalf("there are no headings, or only %d links", len(links))
	}
	for _, link := range links {
		fragment := strings.TrimPrefix(link, "#")
		// A browser looks for the fragment as it stands, and then decoded.
		if decoded := strings.ReplaceAll(fragment, "%25", "%"); !ids[fragment] && !ids[decoded] {
			t.Errorf("%s leads nowhere: %v", link, ids)
		}
	}
}

// However much is wrong, the page has an end.
func TestThePageIsBounded(t *testing.T) {
	t.Parallel()
	s := deployFails("shop")
	v := view(s)
	c := &v.Certificates[0]
	long := strings.Repeat("x", 4<<10)
	for i := range 1000 {
		p := status.Problem{ID: fmt.Sprint(i), Code: plan.Code(fmt.Sprint("code-", i)), Severity: status.Warning, Subject: long}
		for range 100 {
			p.Do = append(p.Do, "do: keepkey status")
		}
		c.Problems, c.Notes = append(c.Problems, p), append(c.Notes, p)
		c.Gates = append(c.Gates, c.Gates[0])
		c.Keys = append(c.Keys, c.Keys[0])
		c.Channels[fmt.Sprint(i)] = status.Channel{Enforced: slices.Repeat([]int{i}, 1000)}
		host := c.Hosts[0]
		host.Addresses = slices.Repeat([]status.Address{{Address: "a:443"}}, 1000)
		c.Hosts = append(c.Hosts, host)
		c.Domains = append(c.Domains, fmt.Sprint(i, ".example.com"))
		c.Events = append(c.Events, plan.Event{At: v.Now, Action: plan.Deploy, Error: long})
	}
	one := len(render(t, v))
	if limit := 400 << 10; one > limit {
		t.Errorf("a certificate takes %d bytes, more than %d", one, limit)
	}
	if got := text(t, render(t, v)); !strings.Contains(got, "There was no room for 981 problems, 980 notes, 995 gates, 981 channels, 982 older keys, 981 hosts") {
		t.Errorf("it does not say what is left out: %s", got[len(got)-600:])
	}
	for i := range 20000 {
		v.Others = append(v.Others, status.Brief{Name: fmt.Sprintf("%05d.example.com", i), Severity: status.Warning, Problems: slices.Repeat([]status.BriefProblem{{Code: plan.DeployFailing, Severity: status.Warning}}, 50)})
	}
	v.Others = append(v.Others, status.Brief{Name: "the worst", Severity: status.Critical})
	page := render(t, v)
	if !strings.Contains(page, "the worst") {
		t.Error("the worst is left out")
	}
	if limit := one + 1000*800; len(page) > limit {
		t.Errorf("%d bytes, more than %d", len(page), limit)
	}
	if !strings.Contains(page, "There was no room for 19001 more.") {
		t.Error("it does not say how many are left out")
	}
}

func TestTimesAreRelativeInTheUnitThatPeopleCountIn(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "now", 59 * time.Second: "now", time.Minute: "in 1 minute", -90 * time.Minute: "90 minutes ago", 3 * time.Hour: "in 3 hours",
		47 * time.Hour: "in 47 hours", 48 * time.Hour: "in 2 days", -400 * day: "400 days ago",
	} {
		if got := relative(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}

func TestSentencesBeginWithACapitalAndNamesDoNot(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"the ledger is damaged": "The ledger is damaged", "api.example.com:443 serves another": "api.example.com:443 serves another", "keepkey goes on": "keepkey goes on",
		"if so, do": "If so, do", `"x" is wrong`: `"x" is wrong`, "": "", "web1 is gone": "web1 is gone",
	} {
		if got := sentence(in); got != want {
			t.Errorf("%q became %q", in, got)
		}
	}
}

func TestACommandIsTakenOutOfItsSentence(t *testing.T) {
	t.Parallel()
	got := steps([]string{"every run tries again; to try now: keepkey renew --name a", "set the clock right", "name it: [{name: app}]"})
	want := []step{{"Every run tries again; to try now", "keepkey renew --name a"}, {"Set the clock right", ""}, {"Name it: [{name: app}]", ""}}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
