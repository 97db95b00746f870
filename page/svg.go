package page

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"time"

	"keepkey/plan"
)

//go:embed timeline.css
var timelineStyle string

//go:embed timeline.svg
var timelineTemplate string

var picture = template.Must(template.New("timeline").Parse(timelineTemplate))

// SVG writes a timeline as a document of its own.
func SVG(w io.Writer, t Timeline) error {
	d := draw(t)
	d.Alone, d.Style = true, template.CSS(timelineStyle)
	return picture.ExecuteTemplate(w, "timeline", d)
}

// Sizes of a picture, in pixels. Heights are fixed, and widths are a share of what there is,
// so that text has one size on a phone and on a wide screen.
const (
	axisHeight = 26
	headHeight = 26
	rowHeight  = 20 // of a row's words, above its bars
	barHeight  = 14
	barPitch   = 18
	rowGap     = 8

	// A document of its own is as wide as what it shows needs, so that text is still legible
	// where a phone scales it down.
	aloneMargin = 16
	aloneHead   = 30
	aloneLine   = 18
	aloneLetter = 56 // in a line
)

// drawing is a timeline as the template draws it.
type drawing struct {
	Alone  bool
	Style  template.CSS
	Name   string
	Title  string
	Answer []string // lines
	Words  []string // the same for who can't see it
	Height int
	Ticks  []words
	Texts  []words
	Bars   []bar
	Lines  []line
	Marks  []mark

	from, to time.Time
	y        int    // how far down it has got
	opens    string // where the gate does
}

// Top is where the picture begins in a document of its own, and Total how high that is.
func (d drawing) Top() int   { return aloneHead + aloneLine*len(d.Answer) + 10 }
func (d drawing) Total() int { return d.Top() + d.Height + aloneMargin }

type words struct {
	X      string
	Y      int
	Anchor string
	Class  string
	Text   string
}

type bar struct {
	X, W  string
	Y, H  int
	Class string
	Title string
	// Open says that nothing is known to end it, and Begun that it began before the picture
	// does.
	Open, Begun bool
	Label       string
	LabelX      string
	LabelAnchor string
	LabelDX     int
	LabelY      int
}

type line struct {
	X      string
	Y1, Y2 int
	Class  string
}

type mark struct {
	X     string
	Y     int
	Class string
	Title string
}

// draw lays a timeline out.
func draw(t Timeline) drawing {
	d := drawing{Name: cut(t.Name, 42), Title: clean(t.Name) + ": when keys are served, and when they can be switched", Answer: lines(t.Switch.Text, aloneLetter), Words: Words(t), from: t.From, to: t.To, y: axisHeight}
	if t.From.IsZero() {
		d.Height = d.y
		return d
	}
	d.axis(t.Now)
	d.keys(t)
	d.gates(t)
	d.pinSets(t)
	d.certificate(t)
	if t.LeftOut > 0 {
		d.text("0%", d.y+rowHeight-6, "start", "note", fmt.Sprintf("There was no room for %d more.", t.LeftOut))
		d.y += rowHeight
	}
	d.Height = d.y
	d.Lines = append(d.Lines, line{d.at(t.Now), axisHeight - 8, d.Height, "now"})
	if d.opens != "" {
		d.Lines = append(d.Lines, line{d.opens, axisHeight, d.Height, "opens"})
	}
	return d
}

// share is where a time is, from 0 to 100.
func (d *drawing) share(t time.Time) float64 {
	x := 100 * float64(t.Sub(d.from)) / float64(d.to.Sub(d.from))
	return min(max(x, 0), 100)
}

func (d *drawing) at(t time.Time) string { return percent(d.share(t)) }

func percent(x float64) string { return fmt.Sprintf("%.2f%%", x) }

// within reports whether a time is in the picture.
func (d *drawing) within(t time.Time) bool { return !t.Before(d.from) && !t.After(d.to) }

func (d *drawing) text(x string, y int, anchor, class, text string) {
	d.Texts = append(d.Texts, words{x, y, anchor, class, text})
}

// axis writes dates, and where now is.
func (d *drawing) axis(now time.Time) {
	// On a phone a date takes up almost as much: closer ones would touch, and those nearer to
	// an edge leave the picture.
	const apart, edge = 16, 9
	d.Ticks = append(d.Ticks, words{d.at(now), axisHeight - 12, anchorAt(d.share(now)), "now", "now"})
	last := -1e9
	for _, t := range ticks(d.from, d.to) {
		x := d.share(t.at)
		d.Lines = append(d.Lines, line{percent(x), axisHeight - 4, axisHeight, "tick"})
		if x-last < apart || max(x-d.share(now), d.share(now)-x) < apart || x < edge || x > 100-edge {
			continue
		}
		d.Ticks, last = append(d.Ticks, words{percent(x), axisHeight - 12, "middle", "date", t.text}), x
	}
}

type tickAt struct {
	at   time.Time
	text string
}

// ticks returns dates that divide a stretch of time evenly: weeks, months or some of these.
func ticks(from, to time.Time) []tickAt {
	from, to = from.UTC(), to.UTC()
	const most = 8
	var all []tickAt
	if span := to.Sub(from); span < 100*day {
		for t := time.Date(from.Year(), from.Month(), from.Day()+1, 0, 0, 0, 0, time.UTC); !t.After(to); t = t.Add(day) {
			if t.Weekday() == time.Monday {
				all = append(all, tickAt{t, t.Format("2 Jan")})
			}
		}
		return all
	}
	for _, months := range []int{1, 2, 3, 6} {
		all = nil
		t := time.Date(from.Year(), from.Month(), 1, 0, 0, 0, 0, time.UTC).AddDate(0, 1, 0)
		for ; !t.After(to); t = t.AddDate(0, 1, 0) {
			if (int(t.Month())-1)%months == 0 {
				all = append(all, tickAt{t, t.Format("Jan 2006")})
			}
		}
		if len(all) <= most {
			break
		}
	}
	return all
}

// anchorAt keeps a text at a place within the picture.
func anchorAt(x float64) string {
	switch {
	case x < 6:
		return "start"
	case x > 94:
		return "end"
	}
	return "middle"
}

func (d *drawing) head(text string) {
	d.text("0%", d.y+headHeight-8, "start", "head", text)
	d.y += headHeight
}

// row writes what a row is and what there is to know of it, and makes room for its bars.
func (d *drawing) row(label, note string, bars int) (y int) {
	d.text("0%", d.y+rowHeight-6, "start", "label", label)
	d.text("100%", d.y+rowHeight-6, "end", "note", note)
	y = d.y + rowHeight
	d.y = y + bars*barPitch + rowGap
	return y
}

// bar draws a stretch of time with a short text in it or, where it is too narrow, beside it.
func (d *drawing) bar(y int, s Span, class, label, title string) {
	from, to := 0.0, 100.0
	if !s.From.IsZero() {
		from = d.share(s.From)
	}
	if !s.To.IsZero() {
		to = d.share(s.To)
	}
	const least, room = 0.8, 3.2 // room is for one letter
	to = max(to, min(from+least, 100))
	from = min(from, to-least)
	b := bar{
		X: percent(from), W: percent(to - from), Y: y, H: barHeight, Class: class, Title: title, Label: label, LabelY: y + barHeight - 3,
		Open: s.To.IsZero() || s.To.After(d.to), Begun: s.From.IsZero() || s.From.Before(d.from),
	}
	switch needed := room * float64(len(label)+1) * 0.7; {
	case to-from >= needed:
		b.LabelX, b.LabelAnchor, b.LabelDX = percent(from), "start", 5
		if b.Begun {
			b.LabelDX = 14
		}
	case to+needed <= 100:
		b.LabelX, b.LabelAnchor, b.LabelDX = percent(to), "start", 4
		b.Class += " narrow"
	default:
		b.LabelX, b.LabelAnchor, b.LabelDX = percent(from), "end", -4
		b.Class += " narrow"
	}
	d.Bars = append(d.Bars, b)
}

func (d *drawing) keys(t Timeline) {
	if len(t.Keys) == 0 {
		return
	}
	d.head("Keys that are served")
	for _, k := range t.Keys {
		note := ""
		switch {
		case k.Role == plan.Active:
			note = "served" + since(k.Served[len(k.Served)-1].From)
		case !k.Ahead.From.IsZero():
			note = "takes over " + date(k.Ahead.From)
		case len(k.Served) > 0:
			note = "served until " + date(k.Served[len(k.Served)-1].To)
		}
		y := d.row(fmt.Sprintf("%s (%s)", shortPin(k.Pin.String()), k.Role), note, 1)
		for _, s := range k.Served {
			d.bar(y, s, "served", "", "served"+between(s))
		}
		if !k.Ahead.From.IsZero() && k.Ahead.From.Before(d.to) {
			d.bar(y, k.Ahead, "ahead", "", "will be served"+between(k.Ahead))
		}
	}
}

func (d *drawing) gates(t Timeline) {
	if len(t.Gates) == 0 {
		return
	}
	d.head("Gate: when a backup key may be served")
	for i, g := range t.Gates {
		note := "open"
		switch {
		case g.Person:
			note = "closed until a person acts"
		case !g.Open && g.Opens.IsZero():
			note = "closed until a newer pin set is out"
		case !g.Open:
			note = "closed until " + date(g.Opens)
		}
		r := t.Rollover
		planned := r != nil && r.To == g.Pin && !r.At.IsZero() && r.At.After(t.Now)
		if planned && g.Open {
			note = "open, rollover " + date(r.At)
		}
		y := d.row(shortPin(g.Pin.String()), note, 1)
		if !g.Open {
			d.bar(y, Span{t.Now, g.Opens}, "closed", "", "the gate is closed"+between(Span{To: g.Opens}))
		}
		if g.Open || !g.Opens.IsZero() && g.Opens.Before(d.to) {
			opens := later(t.Now, g.Opens)
			d.bar(y, Span{From: opens}, "open", "open", "the gate is open from "+date(opens)+" on")
			if i == 0 && !g.Open {
				d.opens = d.at(opens)
			}
		}
		if planned && d.within(r.At) {
			d.Marks = append(d.Marks, mark{d.at(r.At), y + barHeight/2, "rollover", "rollover at " + date(r.At)})
		}
	}
}

func (d *drawing) pinSets(t Timeline) {
	if len(t.Channels) == 0 {
		return
	}
	d.head("Pin sets that clients may enforce")
	for _, ch := range t.Channels {
		y := d.row(cut(ch.Name, 22), channelNote(ch), len(ch.PinSets))
		for _, s := range ch.PinSets {
			class := "pins"
			if s.Lacks {
				class = "closed"
			}
			if !s.Confirmed {
				class += " unconfirmed"
			}
			d.bar(y, s.Span, class, fmt.Sprintf("v%d", s.Version), pinSetWords(s))
			y += barPitch
		}
	}
}

// channelNote says what matters most about a channel.
func channelNote(ch ChannelTime) string {
	var last PinSetTime
	for _, s := range ch.PinSets {
		if s.Lacks && (!last.Lacks || last.Person || (!last.To.IsZero() && s.To.After(last.To))) {
			last = s
		}
	}
	switch newest := ch.PinSets[len(ch.PinSets)-1]; {
	case last.Lacks && last.Person:
		return fmt.Sprintf("v%d lacks the key until retired", last.Version)
	case last.Lacks && last.To.IsZero():
		return fmt.Sprintf("v%d lacks the key", last.Version)
	case last.Lacks:
		return fmt.Sprintf("v%d lacks the key until %s", last.Version, date(last.To))
	case !newest.Confirmed:
		return fmt.Sprintf("v%d is not confirmed", newest.Version)
	default:
		return fmt.Sprintf("v%d since %s", newest.Version, date(newest.From))
	}
}

func (d *drawing) certificate(t Timeline) {
	c := t.Certificate
	if c == nil {
		return
	}
	note := "expires " + date(c.To)
	if !c.Renewal.IsZero() {
		note = "renewal " + date(c.Renewal) + ", " + note
	}
	d.head("Certificate")
	y := d.row(fmt.Sprintf("version %d", c.Version), note, 1)
	d.bar(y, c.Span, "valid", "", "valid"+between(c.Span))
	if d.within(c.Window.From) {
		d.bar(y, c.Window, "window", "", "the CA wants the next one to be asked for"+between(c.Window))
	}
	if d.within(c.Renewal) {
		d.Marks = append(d.Marks, mark{d.at(c.Renewal), y + barHeight/2, "renewal", "renewal at " + date(c.Renewal)})
	}
}
