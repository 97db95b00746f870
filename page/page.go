// Package page draws what package status says, for people who look at a screen: one page of
// HTML for all certificates, and for each a timeline, a picture that answers at one look
// whether keys can be switched now, and if not, when.
//
// It writes to the writer that it is given and does nothing else. What it shows comes in as
// values ([View]), so that the daemon and `keepkey status --html` show the same. Whatever
// comes from outside is bounded, escaped, and rid of characters that can't be seen.
//
// The page is one document of text, a style, and pictures drawn in it: it asks nobody for
// anything else, and runs no script. [CSP] holds browsers to that.
package page

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"io"
	"time"

	"keepkey/plan"
	"keepkey/status"
)

// MaxInFull is how many certificates are shown in full on one page. Of the others a row is
// shown.
const MaxInFull = 50

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

//go:embed page.css
var pageStyle string

//go:embed page.html
var pageTemplate string

// style is all of the page's. A browser hashes it as it stands between the tags.
var style = timelineStyle + pageStyle

var document = template.Must(template.Must(picture.Clone()).Parse(pageTemplate))

// HTML writes the page: one document without a script, whose style is in one element that the
// [CSP] knows by its hash.
func HTML(w io.Writer, v View) error { return document.ExecuteTemplate(w, "page", sheetOf(v)) }

// CSP is the Content-Security-Policy under which the page works, and a timeline of its own.
func CSP() string {
	return "default-src 'none'; style-src " + hashOf(style) + " " + hashOf(timelineStyle) +
		"; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// hashOf names a style in a policy.
func hashOf(style string) string {
	hash := sha256.Sum256([]byte(style))
	return "'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'"
}
