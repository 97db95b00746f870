package page

import (
	"fmt"
	"html/template"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"keepkey/plan"
	"keepkey/status"
)

// Bounds of what is listed. What is beyond them is counted.
const (
	maxAlarms   = 5 // in the summary
	maxNames    = 5 // of certificates with the same problem
	maxProblems = 20
	maxSteps    = 12
	maxDomains  = 12
	maxRows     = 20 // of a table in a certificate's section
	maxEvents   = 15
	maxOthers   = 1000
	maxText     = 320 // letters of what is wrong, in the summary
	maxName     = 60  // letters of a name, in a sentence
)

// sheet is the page in plain text, as the template prints it.
type sheet struct {
	Style    template.CSS
	Title    string
	Hostname string
	Version  string
	Now      moment
	Since    moment
	Summary  summary
	Sections []section
	Others   []row
	MoreRows int
}

// moment is a time for people and for programs.
type moment struct{ ISO, Text, Rel string }

// step is one thing to do, with the command that does it.
type step struct{ Text, Command string }

// alarm is a problem or a note.
type alarm struct {
	Severity status.Severity
	Word     string
	Of       string // what has it, unless that is certificates
	Subject  string
	Safe     string
	Do       []step

	Certificates []link // that have it; in the summary
	More         int    // that have it, too
}

// link leads to a certificate on the page, and the path to the daemon's page of it alone.
type link struct{ Name, ID, Path string }

// row is a certificate in a list.
type row struct {
	link
	Severity status.Severity
	Word     string
	Left     string
	Gate     string
	What     string // is wrong, or comes next
}

// section is a certificate in full.
type section struct {
	row
	Domains  string
	Problems []alarm
	Notes    []alarm
	Answer   string
	State    string // ready, asked or closed
	Gates    []gate
	Picture  drawing
	Served   *served
	Next     []next
	Rollover string
	Channels []channel
	Keys     []key
	Hosts    []host
	Events   []event
	LeftOut  string
}

type gate struct {
	Pin  string
	Text string
	Do   []step
}

type served struct {
	Version   int
	Serial    string
	Pin       string
	Directory string
	Installed bool
	From, To  moment
	Left      string
}

type next struct {
	What, Why string
	At        moment
}

type channel struct {
	Name      string
	Version   int
	Intended  moment
	Confirmed moment
	Enforced  string
}

type key struct {
	Pin, Type, Role string
	Created         moment
	Accept          bool
}

type host struct {
	Name      string
	This      bool
	Text      string
	Addresses []address
}

type address struct {
	Address string
	Served  bool
	Looked  moment
}

type event struct {
	At              moment
	What, By, Error string
}

func sheetOf(v View) sheet {
	s := sheet{
		Style: template.CSS(style), Hostname: clean(v.Hostname), Version: clean(v.Version),
		Now: momentOf(v.Now, v.Now), Since: momentOf(v.Since, v.Now), Summary: summaryOf(v),
	}
	s.Title = s.Summary.Title + ": keepkey on " + s.Hostname
	for _, c := range v.Certificates {
		s.Sections = append(s.Sections, sectionOf(c, v.Now))
	}
	others := slices.Clone(v.Others)
	slices.SortStableFunc(others, func(a, b status.Brief) int { return rank(b.Severity) - rank(a.Severity) })
	s.MoreRows = max(len(others)-maxOthers, 0)
	for _, b := range others[:len(others)-s.MoreRows] {
		s.Others = append(s.Others, rowOf(b, v.Now))
	}
	return s
}

// momentOf writes a time, and how far it is from now.
func momentOf(t, now time.Time) moment {
	if t.IsZero() {
		return moment{}
	}
	return moment{ISO: t.UTC().Format(time.RFC3339), Text: status.Time(t), Rel: relative(t.Sub(now))}
}

// relative says how far away a time is, in the unit that people count in.
func relative(d time.Duration) string {
	n, unit := 0, ""
	switch abs := d.Abs(); {
	case abs < time.Minute:
		return "now"
	case abs < 2*time.Hour:
		n, unit = int(abs.Minutes()), "minute"
	case abs < 2*day:
		n, unit = int(abs.Hours()), "hour"
	default:
		n, unit = int(abs/day), "day"
	}
	if n != 1 {
		unit += "s"
	}
	if d < 0 {
		return fmt.Sprintf("%d %s ago", n, unit)
	}
	return fmt.Sprintf("in %d %s", n, unit)
}

// severities in the words of the page.
var severities = map[status.Severity]string{
	status.Critical: "Critical", status.Warning: "Warning", status.Info: "Note", "": "Well",
}

func rank(s status.Severity) int {
	return slices.Index([]status.Severity{"", status.Info, status.Warning, status.Critical}, s)
}

func linkOf(name string) link {
	path := url.PathEscape(name)
	return link{clean(name), "cert-" + path, path}
}

func rowOf(b status.Brief, now time.Time) row {
	r := row{link: linkOf(b.Name), Severity: b.Severity, Word: severities[b.Severity], Left: "none yet", Gate: "–"}
	if !b.NotAfter.IsZero() {
		r.Left = status.Left(b.NotAfter.Sub(now))
	}
	switch {
	case !b.HasGate:
	case b.GateOpen:
		r.Gate = "open"
	case b.GateOpens.IsZero():
		r.Gate = "closed: a person is needed"
	default:
		r.Gate = "closed until " + date(b.GateOpens)
	}
	var codes []string
	for _, p := range b.Problems {
		if code := wordsOf(string(p.Code)); !slices.Contains(codes, code) {
			codes = append(codes, code)
		}
	}
	switch {
	case len(codes) > 0:
		r.What = strings.Join(codes[:min(len(codes), maxNames)], ", ")
	case b.Next == "" || b.Next.Upkeep():
	case b.NextAt.After(now):
		r.What = kindOf(b.Next) + " " + relative(b.NextAt.Sub(now))
	default:
		r.What = kindOf(b.Next) + " now"
	}
	return r
}

// kindOf names an action in a word or two.
func kindOf(k plan.Kind) string {
	switch k {
	case plan.Obtain:
		return "renewal"
	case plan.SwitchKey:
		return "switch of keys"
	case plan.BeginRollover:
		return "rollover"
	case plan.RetirePin:
		return "end of the rollover"
	}
	return wordsOf(string(k))
}

// wordsOf writes a token for people.
func wordsOf(token string) string { return strings.ReplaceAll(token, "-", " ") }

// brief is a certificate in short, with the next thing that is worth telling.
func brief(c Certificate) status.Brief {
	b := c.Brief()
	if r := c.Renewal; r != nil && b.Next.Upkeep() {
		b.Next, b.NextAt = r.Action, r.At
	}
	return b
}

func sectionOf(c Certificate, now time.Time) section {
	s := section{
		row: rowOf(brief(c), now), Answer: c.Timeline.Switch.Text, State: "closed",
		Picture: draw(c.Timeline),
	}
	if len(c.Domains) != 1 || c.Domains[0] != c.Name {
		s.Domains = listed(c.Domains, maxDomains)
	}
	switch {
	case c.Timeline.Switch.Ready:
		s.State = "ready"
	case c.Timeline.Switch.Asked:
		s.State = "asked"
	}
	left := counter{}
	for _, p := range c.Problems[:left.cut(len(c.Problems), maxProblems, "problem")] {
		s.Problems = append(s.Problems, alarmOf(p))
	}
	for _, p := range c.Notes[:left.cut(len(c.Notes), maxProblems, "note")] {
		s.Notes = append(s.Notes, alarmOf(p))
	}
	for _, g := range c.Gates[:left.cut(len(c.Gates), maxGates, "gate")] {
		s.Gates = append(s.Gates, gate{shortPin(g.Pin.String()), clean(g.Text), steps(g.Do)})
	}
	if cert := c.Certificate; cert != nil {
		s.Served = &served{
			Version: cert.Version, Serial: clean(cert.Serial), Pin: cert.Pin.String(), Directory: clean(cert.Directory), Installed: cert.Installed,
			From: momentOf(cert.NotBefore, now), To: momentOf(cert.NotAfter, now), Left: status.Left(cert.NotAfter.Sub(now)),
		}
	}
	for _, a := range []*status.Action{c.Next, c.Renewal} {
		if a != nil && !a.Action.Upkeep() && (len(s.Next) == 0 || *a != *c.Next) {
			s.Next = append(s.Next, next{sentence(a.Text), clean(a.Why), momentOf(a.At, now)})
		}
	}
	if r := c.Rollover; r != nil {
		s.Rollover = sentence(status.RolloverText(*r))
	}
	names := slices.Sorted(maps.Keys(c.Channels))
	for _, name := range names[:left.cut(len(names), maxRows, "channel")] {
		ch := c.Channels[name]
		s.Channels = append(s.Channels, channel{clean(name), ch.Version, momentOf(ch.Intended, now), momentOf(ch.Confirmed, now), versions(ch.Enforced)})
	}
	for _, k := range c.Keys[len(c.Keys)-left.cut(len(c.Keys), maxRows, "older key"):] {
		s.Keys = append(s.Keys, key{k.Pin.String(), string(k.Type), string(k.Role), momentOf(k.Created, now), k.Accept})
	}
	for _, h := range c.Hosts[:left.cut(len(c.Hosts), maxRows, "host")] {
		s.Hosts = append(s.Hosts, hostOf(h, now, &left))
	}
	for _, e := range slices.Backward(c.Events[max(len(c.Events)-maxEvents, 0):]) {
		s.Events = append(s.Events, event{momentOf(e.At, now), sentence(eventText(e)), clean(e.By), cut(e.Error, maxText)})
	}
	s.LeftOut = left.String()
	return s
}

// counter counts what there is no room for.
type counter []string

// cut returns how many of n are shown.
func (c *counter) cut(n, most int, what string) int {
	if more := n - most; more > 0 {
		*c = append(*c, plural(more, what))
	}
	return min(n, most)
}

func (c counter) String() string { return strings.Join(c, ", ") }

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// listed joins the first of a list, and counts the others.
func listed(all []string, most int) string {
	shown := make([]string, 0, most)
	for _, s := range all[:min(len(all), most)] {
		shown = append(shown, clean(s))
	}
	text := strings.Join(shown, ", ")
	if more := len(all) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func versions(all []int) string {
	var text []string
	for _, n := range all {
		text = append(text, fmt.Sprint(n))
	}
	if more := len(text) - maxRows; more > 0 {
		text = append([]string{fmt.Sprintf("%d older", more)}, text[more:]...)
	}
	return strings.Join(text, ", ")
}

func alarmOf(p status.Problem) alarm {
	return alarm{
		Severity: p.Severity, Word: severities[p.Severity], Subject: sentence(p.Subject), Safe: clean(p.Safe), Do: steps(p.Do),
	}
}

// steps takes sentences apart into words and the command at their end.
func steps(do []string) []step {
	var all []step
	for _, s := range do[:min(len(do), maxSteps)] {
		text, command, found := strings.Cut(clean(s), ": keepkey ")
		if found {
			command = "keepkey " + command
		}
		all = append(all, step{sentence(text), command})
	}
	return all
}

// sentence begins with a capital, unless it begins with a name.
func sentence(text string) string {
	text = clean(text)
	first, _, _ := strings.Cut(text, " ")
	if first == "" || first == "keepkey" || strings.TrimFunc(strings.TrimSuffix(first, ","), func(r rune) bool { return 'a' <= r && r <= 'z' }) != "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

func hostOf(h status.Host, now time.Time, left *counter) host {
	out := host{Name: clean(h.Hostname), This: h.This, Text: fmt.Sprintf("certificate version %d is installed", h.Installed)}
	if out.Name == "" {
		out.Name = clean(h.ID)
	}
	if h.Deployed {
		out.Text += " and deployed"
	} else {
		out.Text += ", and not deployed yet"
	}
	for _, a := range h.Addresses[:left.cut(len(h.Addresses), maxRows, "address")] {
		out.Addresses = append(out.Addresses, address{clean(a.Address), a.Served, momentOf(a.Looked, now)})
	}
	return out
}

// eventText says what was done.
func eventText(e plan.Event) string {
	if !e.From.IsZero() && e.Error == "" {
		return fmt.Sprintf("switch from the key %s to %s", shortPin(e.From.String()), shortPin(e.Pin.String()))
	}
	if e.Action == plan.SwitchKey {
		e.Version = 0 // of the certificate that came of it
	}
	a := plan.Action{Kind: e.Action, Role: e.Role, Pin: e.Pin, Channel: e.Channel, Version: e.Version, Target: e.Target}
	a.PinSet.Version = e.Version
	text := status.Describe(a)
	if text == string(e.Action) {
		text = wordsOf(text)
		if e.Channel != "" {
			text = fmt.Sprintf("%s version %d of the pin set on channel %s", text, e.Version, e.Channel)
		}
	}
	return text
}
