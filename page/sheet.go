package page

import (
	"html/template"
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
	maxLong     = 2000
	maxName     = 60 // letters of a name, in a sentence
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
	switch {
	case !b.NotAfter.IsZero():
		r.Left = status.Left(b.NotAfter.Sub(now))
	case unknown(b):
		r.Word, r.Left = "Unknown", "not looked at yet"
	}
	switch {
	case !b.HasGate:
	case b.GateOpen:
		r.Gate = "open"
	case b.GateOpens.IsZero():
		r.Gate = "closed, without a date"
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

// unknown says that nothing is known of a certificate: nobody has looked yet.
func unknown(b status.Brief) bool { return b.NotAfter.IsZero() && b.Next == "" && b.Severity == "" }

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

// brief is a certificate in short, with the next thing that is worth telling.
func brief(c Certificate) status.Brief {
	b := c.Brief()
	if r := c.Renewal; r != nil && b.Next.Upkeep() {
		b.Next, b.NextAt = r.Action, r.At
	}
	return b
}
