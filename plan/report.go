package plan

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"keepkey/pinset"
	"keepkey/report"
)

// Reports are what clients told of pin validations that failed, those with the same pins in one
// group. They are a document of their own beside the state: anybody can send a report, so
// nothing may rest on them but what people are told, and that the gate stays closed until one of
// them has decided.
//
// There is room for so many groups, and whoever floods keepkey with forged ones must not be able
// to push out those that close the gate. These have the pins of a pin set in the ledger, so
// that there are no more of them than pin sets, and no other group takes their place.
type Reports struct {
	Schema int `json:"schema"`
	// Salt keeps sources from being recognised, and IDs from being chosen.
	Salt   string        `json:"salt"`
	Groups []ReportGroup `json:"groups"` // the one that was reported first comes first
}

// ReportGroup is all reports with the same pins.
type ReportGroup struct {
	ID    string       `json:"id"`
	Known []pinset.Pin `json:"known"` // that the clients accept, sorted
	Count int          `json:"count"`
	First time.Time    `json:"first"`
	Last  time.Time    `json:"last"`
	// Enforced is when a client last reported that acts by these pins; some only report.
	Enforced time.Time     `json:"enforced,omitzero"`
	Served   []ReportedKey `json:"served,omitempty"` // those of ours, and the last of others
	Hosts    []string      `json:"hosts,omitempty"`
	Apps     []string      `json:"apps,omitempty"`
	// Sources are hashes of who sent them: the first few, since the last dismissal if there
	// was one.
	Sources   []string   `json:"sources,omitempty"`
	Dismissed *Dismissal `json:"dismissed,omitempty"`
}

// ReportedKey is a key that a server presented, as clients say.
type ReportedKey struct {
	Pin   pinset.Pin `json:"pin"`
	Count int        `json:"count"`
	Last  time.Time  `json:"last"`
	// Matched says that it, or one of those that vouch for it, is among the pins that the
	// clients accept; Untrusted that they did not trust its certificate.
	Matched   bool `json:"matched,omitempty"`
	Untrusted bool `json:"untrusted,omitempty"`
}

// Dismissal is a person's decision that the reports of a group change nothing.
type Dismissal struct {
	At      time.Time `json:"at"`
	By      string    `json:"by,omitempty"`
	Sources []string  `json:"sources,omitempty"` // of the reports up to then
}

// What there is room for.
const (
	maxGroups = 100
	// maxPerSource is how many groups, of pins that are not in the ledger, may come from one
	// source alone.
	maxPerSource = 10
	maxServed    = 8
	maxHosts     = 5
	maxApps      = 5
	maxSources   = 32
	maxBy        = 100 // bytes
)

// When reports count again after a dismissal: for a week none does, and then it takes several
// sources that were not among those before. So one source can't keep the gate closed, and what
// many clients tell is heard.
const (
	quietTime  = 7 * 24 * time.Hour
	newSources = 3
)

const reportsSchema = 1

// NewReports has no reports yet. The salt is random.
func NewReports(salt string) Reports { return Reports{Schema: reportsSchema, Salt: salt} }

// ParseReports reads what [Reports.Marshal] writes.
func ParseReports(data []byte) (Reports, error) {
	var r Reports
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return Reports{}, fmt.Errorf("%.200q", err.Error())
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Reports{}, errors.New("something follows the reports")
	}
	if r.Schema != reportsSchema {
		return Reports{}, fmt.Errorf("its schema is %d, and this keepkey knows %d", r.Schema, reportsSchema)
	}
	if r.Salt == "" || len(r.Groups) > maxGroups {
		return Reports{}, errors.New("keepkey never writes such a file")
	}
	return r, nil
}

// Marshal writes the reports as they are kept.
func (r Reports) Marshal() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // which would take six bytes for one
	err := e.Encode(r)
	return b.Bytes(), err
}

// Add returns the reports with one more, which came from a source at a time. Sources are told
// apart by what they are called here, whatever that is.
func (r Reports) Add(in Input, rep report.Report, source string, at time.Time) Reports {
	from := r.hash("source", []byte(source))
	r.Groups = slices.Clone(r.Groups)
	i := slices.IndexFunc(r.Groups, func(g ReportGroup) bool { return slices.Equal(g.Known, rep.Known) })
	if i >= 0 {
		r.Groups[i] = r.Groups[i].with(in, rep, from, at)
		return r
	}
	g := ReportGroup{ID: r.hash("pins", pinBytes(rep.Known)), Known: rep.Known, First: at}
	r.Groups = in.fit(append(r.Groups, g.with(in, rep, from, at)), from)
	return r
}

// hash names a thing in a way that nobody without the salt can find, or find another thing for.
func (r Reports) hash(kind string, of []byte) string {
	sum := sha256.Sum256(slices.Concat([]byte(r.Salt+" "+kind+" "), of))
	return hex.EncodeToString(sum[:6])
}

func pinBytes(pins []pinset.Pin) []byte {
	var b []byte
	for _, p := range pins {
		b = append(b, p[:]...)
	}
	return b
}

// with returns the group with one more report.
func (g ReportGroup) with(in Input, rep report.Report, from string, at time.Time) ReportGroup {
	g.Count++
	g.First, g.Last = earlier(g.First, at), later(g.Last, at)
	if !rep.Lax {
		g.Enforced = later(g.Enforced, at)
	}
	if !rep.Served.IsZero() {
		g.Served = in.serving(g.Served, rep, at)
	}
	g.Hosts = remember(g.Hosts, rep.Host, maxHosts)
	g.Apps = remember(g.Apps, rep.App, maxApps)
	if d := g.Dismissed; d == nil || (at.After(d.At.Add(quietTime)) && !slices.Contains(d.Sources, from)) {
		g.Sources = remember(g.Sources, from, maxSources)
	}
	return g
}

// serving notes which key was served. Those of ours stay on record, whatever else is told.
func (in Input) serving(all []ReportedKey, rep report.Report, at time.Time) []ReportedKey {
	all = slices.Clone(all)
	i := slices.IndexFunc(all, func(k ReportedKey) bool { return k.Pin == rep.Served && k.Matched == rep.Matched })
	if i < 0 {
		all, i = append(all, ReportedKey{Pin: rep.Served, Matched: rep.Matched}), len(all)
	}
	k := &all[i]
	k.Count++
	k.Last, k.Untrusted = later(k.Last, at), k.Untrusted || rep.Untrusted
	if len(all) <= maxServed {
		return all
	}
	ours := func(k ReportedKey) int {
		if in.Has(k.Pin) {
			return 1
		}
		return 0
	}
	least := slices.MinFunc(all, func(a, b ReportedKey) int {
		return cmp.Or(cmp.Compare(ours(a), ours(b)), a.Last.Compare(b.Last))
	})
	return slices.DeleteFunc(all, func(k ReportedKey) bool { return k == least })
}

// fit leaves out what there is no room for, once one more group has come from a source.
func (in Input) fit(groups []ReportGroup, from string) []ReportGroup {
	alone := slices.DeleteFunc(slices.Clone(groups), func(g ReportGroup) bool {
		return in.oldest(g.Known) > 0 || !slices.Equal(g.Sources, []string{from})
	})
	crowd := groups
	switch {
	case len(alone) > maxPerSource:
		crowd = alone
	case len(groups) <= maxGroups:
		return groups
	}
	least := slices.MinFunc(crowd, in.lessWorth)
	return slices.DeleteFunc(groups, func(g ReportGroup) bool { return g.ID == least.ID })
}

// lessWorth compares groups by what would be lost with them. Should there be more pin sets in
// the ledger than there is room for, the older are worth more: what a later one lacks, and was
// never taken out of a pin set, they lack, too.
func (in Input) lessWorth(a, b ReportGroup) int {
	switch v, w := in.oldest(a.Known), in.oldest(b.Known); {
	case v > 0 && w > 0:
		return cmp.Compare(w, v)
	case v > 0 || w > 0:
		return cmp.Compare(v, w)
	}
	return cmp.Or(cmp.Compare(len(a.Sources), len(b.Sources)), a.Last.Compare(b.Last))
}

// oldest returns the oldest version in the ledger that has exactly these pins; 0 if there is
// none.
func (in Input) oldest(pins []pinset.Pin) int {
	oldest := 0
	for _, p := range in.published(pins) {
		if oldest == 0 || p.Version < oldest {
			oldest = p.Version
		}
	}
	return oldest
}

// published returns the pin sets in the ledger that have exactly these pins.
func (in Input) published(pins []pinset.Pin) []pinset.Published {
	return slices.DeleteFunc(in.Ledger.Published(), func(p pinset.Published) bool { return !pinset.SamePins(p.Pins, pins) })
}

// Dismiss returns the reports with a person's decision that those of a group change nothing. The
// error is a [*Refusal].
func (r Reports) Dismiss(lineage, id, by string, at time.Time) (Reports, error) {
	i := slices.IndexFunc(r.Groups, func(g ReportGroup) bool { return g.ID == id })
	if i < 0 {
		return r, refuse(lineage, Finding{Code: NoSuchReport, Target: id})
	}
	r.Groups = slices.Clone(r.Groups)
	g := &r.Groups[i]
	known := g.Sources
	if g.Dismissed != nil {
		known = slices.Concat(known, g.Dismissed.Sources)
	}
	g.Dismissed = &Dismissal{At: at, By: strings.ToValidUTF8(by[:min(len(by), maxBy)], ""), Sources: known[:min(len(known), 2*maxSources)]}
	g.Sources = nil
	return r, nil
}

// raised reports whether a group counts: it was not dismissed, or enough others told the same
// since.
func (g ReportGroup) raised() bool { return g.Dismissed == nil || len(g.Sources) >= newSources }

// remember adds a text to a list, if it is not there and there is room.
func remember(list []string, text string, limit int) []string {
	if text == "" || len(list) >= limit || slices.Contains(list, text) {
		return list
	}
	return append(slices.Clip(list), text)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
