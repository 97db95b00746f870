package page

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func svg(t *testing.T, tl Timeline) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := SVG(&b, tl); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// pictures are of all that there is to draw.
func pictures() map[string]Timeline {
	g := goal(web, app)
	g.RolloverEvery, g.Backups = 60*day, 2
	s := begin(g)
	all := map[string]Timeline{"nothing": s.timeline(), "zero": {}, "closed": begin(goal(web)).on(10).rotate().on(20).timeline()}
	for d := 1; d < 400; d += 7 {
		if s.on(d); d%3 == 0 {
			s.confirm(s.In.State.Channels["app"].Version)
		}
		all["day "+strconv.Itoa(d)] = s.timeline()
	}
	outside := all["day 50"]
	outside.Name, outside.Channels = hostile, slices.Clone(outside.Channels)
	outside.Channels[0].Name = hostile
	all["hostile"] = outside
	full := all["day 50"]
	full.LeftOut = 7
	all["full"] = full
	return all
}

// A picture is XML, says in words what it shows, and everything in it is within it.
func TestPicturesAreWholeAndKeepWithinTheirFrame(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for name, tl := range pictures() {
		var height float64
		root, inStyle := true, false
		d := xml.NewDecoder(bytes.NewReader(svg(t, tl)))
		for {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if text, ok := token.(xml.CharData); ok && inStyle {
				checkPolicy(t, string(text))
			}
			e, ok := token.(xml.StartElement)
			inStyle = ok && e.Name.Local == "style"
			if !ok {
				continue
			}
			at := make(map[string]string)
			for _, a := range e.Attr {
				at[a.Name.Local] = a.Value
			}
			if root {
				root = false
				if at["viewBox"] != "0 0 440 "+at["height"] || at["role"] != "img" {
					t.Errorf("%s: %v", name, at)
				}
				height = number(t, at["height"])
			}
			seen[e.Name.Local+" "+at["class"]] = true
			for _, key := range []string{"x", "x1", "x2"} {
				if share, is := strings.CutSuffix(at[key], "%"); is && (number(t, share) < 0 || number(t, share)+number(t, strings.TrimSuffix(at["width"], "%")) > 100.01) {
					t.Errorf("%s: a %s of class %q from %s, %s wide", name, e.Name.Local, at["class"], at[key], at["width"])
				}
			}
			for _, key := range []string{"y", "y1", "y2"} {
				if y := number(t, at[key]); y < 0 || y > height {
					t.Errorf("%s: a %s of class %q at %s of %g", name, e.Name.Local, at["class"], at[key], height)
				}
			}
		}
	}
	for _, want := range []string{
		"title ", "desc ", "style ", "g served", "g ahead", "g open", "g closed", "g pins", "g pins unconfirmed", "g valid", "g window", "svg renewal", "svg rollover", "line now", "line opens", "text date",
	} {
		if !seen[want] {
			t.Errorf("no picture has a %s", want)
		}
	}
}

func number(t *testing.T, text string) float64 {
	t.Helper()
	if text == "" || strings.HasSuffix(text, "%") {
		return 0
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// What stands in one line must not run into each other on a phone, where there is room for
// some fifty letters.
func TestWordsFitAPhone(t *testing.T) {
	t.Parallel()
	for name, tl := range pictures() {
		rows := make(map[int]int)
		for _, w := range draw(tl).Texts {
			rows[w.Y] += len([]rune(w.Text)) + 1
		}
		for y, letters := range rows {
			if letters > 52 {
				t.Errorf("%s: %d letters at %d", name, letters, y)
			}
		}
	}
}

func TestDatesAreApart(t *testing.T) {
	t.Parallel()
	for _, span := range []time.Duration{30 * day, 45 * day, 99 * day, 100 * day, 120 * day, 250 * day, 400 * day, 730 * day} {
		for offset := range 40 {
			now := after(offset)
			d := drawing{from: now.Add(-span / 3), to: now.Add(span - span/3)}
			d.axis(now)
			if len(d.Ticks) < 2 {
				t.Errorf("%s: %v", span, d.Ticks)
			}
			last := -100.0
			for _, tick := range d.Ticks[1:] {
				x := number(t, strings.TrimSuffix(tick.X, "%"))
				if x-last < 15 {
					t.Errorf("%s: %v are too close", span, d.Ticks)
				}
				last = x
			}
		}
	}
}

// docs/timeline.svg shows a gate that is closed. KEEPKEY_TEST_UPDATE=1 writes it.
func TestTheExampleInTheDocumentationIsWhatIsDrawn(t *testing.T) {
	t.Parallel()
	const example = "../docs/timeline.svg"
	g := goal(web)
	g.Name, g.RolloverEvery = "api.example.com", 120*day
	g.Channels[0].Name = "over-the-air"
	s := begin(g).on(20).rotate().on(34)
	got := svg(t, s.timeline())
	if os.Getenv("KEEPKEY_TEST_UPDATE") != "" {
		if err := os.WriteFile(example, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(example); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what is drawn (%v); KEEPKEY_TEST_UPDATE=1 writes it", example, err)
	}
}

// Who can't see the picture is told the same.
func TestThePictureIsThereInWords(t *testing.T) {
	t.Parallel()
	s := begin(goal(web, app)).on(10).confirm(1).rotate().on(12)
	got := strings.Join(Words(s.timeline()), "\n")
	for _, want := range []string{
		"Keys can't be switched before a person acts.", "The retired key " + s.pin(0).String() + ": served from 2026-11-21 until 2026-12-01.",
		"The active key " + s.pin(1).String() + ": served from 2026-12-01 until 2026-12-03, will be served from 2026-12-03.",
		"The gate for the backup key " + s.pin(2).String() + " is closed until a person acts.",
		"Channel app, version 1: may be enforced from 2026-11-21; it lacks the next backup key's pin.", "Channel app, version 2: may be enforced from 2026-12-01; not confirmed.",
		"Channel web, version 1: may be enforced from 2026-11-21 until 2026-12-31; it lacks the next backup key's pin.",
		"Certificate version 2 is valid from 2026-12-01 until 2027-03-01, and is renewed at 2027-01-31.",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if got := Words(begin(goal(web)).timeline()); !slices.Equal(got, []string{"There is no certificate yet."}) {
		t.Errorf("%q", got)
	}
}
