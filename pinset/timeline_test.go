package pinset

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The little language of testdata/gate, which its README.md explains.

var t0 = time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// key returns the pin of the key that goes by a letter.
func key(letter rune) Pin { return Pin{byte(letter)} }

func keys(letters string) []Pin {
	var pins []Pin
	for _, r := range letters {
		pins = append(pins, key(r))
	}
	return pins
}

func TestGateTimelines(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../testdata/gate/*.txt")
	if err != nil || len(files) < 19 {
		t.Fatalf("%d scenarios (%v): the test looks in the wrong place", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(string(data), "# ") {
				t.Errorf("%s does not begin with a comment that tells the story", file)
			}
			if _, asked := play(t, file, string(data)); asked == 0 {
				t.Errorf("%s asks nothing", file)
			}
		})
	}
}

// TestWordsThatATimelineDoesNotKnow: a mistake in a scenario must not be a scenario
// that passes.
func TestWordsThatATimelineDoesNotKnow(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"0d", "0d app", "0d app intends", "today app confirms 1", "-1d app confirms 1", "0d app confrims 1", "0d app confirms", "0d app confirms one",
		"0d app confirms 1 again", "0d app confirms 7", "0d app intends 2 BC", "0d app intends 2 BC for ever", "0d app intends 2 BC for 30d until", "0d app intends 2 BC forever until soon",
		"0d app intends 2 BC for 30", "0d app intends 2 bc for 30d", "0d app intends 1 BC for 30d", "0d may B be served?", "0d may B be served? maybe", "0d may BC be served? yes",
		"0d may B serve? yes", "0d readmit after", "0d readmit after what", "0d readmit after 0", "0d app closes x", "0d app closes", "0d app extends 1", "0d app extends 2 at x", "0d app sees 1", "0d app sees 2 at x", "0d app intends 2 BC for 30d at", "0d app intends 2 BC for 30d cached soon", "after 0d may B be served? yes", "just after 0d app confirms 1",
	} {
		var l Ledger
		for _, good := range []string{"0d app intends 1 AB for 30d", "0d app confirms 1"} {
			if _, err := l.tell(good); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := l.tell(line); err == nil {
			t.Errorf("%q is understood", line)
		}
	}
}

// timeline returns the ledger of a timeline that asks nothing.
func timeline(t testing.TB, text string) Ledger {
	t.Helper()
	l, _ := play(t, "timeline", text)
	return l
}

// play goes through a timeline, and holds the gate to the answers that are in it. It
// returns the ledger at the end, and how many questions were asked.
func play(t testing.TB, file, text string) (l Ledger, asked int) {
	t.Helper()
	n := 0
	for line := range strings.Lines(text) {
		n++
		line, _, _ = strings.Cut(line, "#")
		if strings.TrimSpace(line) == "" {
			continue
		}
		question, err := l.tell(line)
		if err != nil {
			t.Fatalf("%s:%d: %v", file, n, err)
		}
		if question {
			asked++
		}
	}
	return l, asked
}

// tell lets one line of a timeline happen, or checks the answer if it is a question.
func (l *Ledger) tell(line string) (question bool, err error) {
	f := strings.Fields(line)
	var exactly time.Duration
	if len(f) > 2 && f[0] == "just" && f[1] == "after" {
		f, exactly = f[2:], 1
	}
	if len(f) < 4 {
		return false, fmt.Errorf("what is %q?", line)
	}
	at, err := moment(f[0])
	if err != nil {
		return false, err
	}
	if last, ok := l.Last(); ok && at.Before(last.At) {
		return false, fmt.Errorf("%s is before the line above it", f[0])
	}
	if f[1] == "may" && len(f) > 4 {
		return true, l.ask(f[2:], at.Add(exactly))
	}
	if exactly != 0 {
		return false, fmt.Errorf("only questions are asked just after a day: %q", line)
	}
	e, err := entry(f, at)
	if err != nil {
		return false, err
	}
	next, _, err := l.Append(e)
	if err != nil {
		return false, err
	}
	*l = next
	return false, nil
}

// entry reads what happens, such as "0d app intends 1 AB for 30d".
func entry(f []string, at time.Time) (Entry, error) {
	e := Entry{At: at, Channel: f[1]}
	var err error
	switch {
	case f[1] == "readmit" && f[2] == "after" && len(f) == 4:
		e.Kind, e.Channel, e.By = Readmit, "", ByPerson
		e.After, err = strconv.Atoi(f[3])
		return e, err
	case f[2] == "closes" && len(f) == 4:
		e.Kind, e.Place, e.By = Gone, f[3], ByPerson
		return e, nil
	}
	if e.Version, err = strconv.Atoi(f[3]); err != nil {
		return e, fmt.Errorf("%q is not a version", f[3])
	}
	rest := f[4:]
	switch f[2] {
	case "extends":
		e.Kind = Extend
		e.Places, rest = readPlaces(rest)
	case "sees":
		e.Kind, e.By = Seen, ByKeepkey
		var places []Place
		if places, rest = readPlaces(rest); len(places) == 1 {
			e.Place = places[0].ID
		} else if len(rest) > 0 {
			rest, err = readSet(&e, rest)
		}
	case "intends":
		e.Kind = Intent
		if rest, err = readSet(&e, rest); err == nil {
			e.Places, rest = readPlaces(rest)
		}
	case "restarts":
		e.Kind, e.By = Unknown, ByPerson
		rest, err = readSet(&e, rest)
	case "confirms":
		e.Kind, e.By = Confirm, ByKeepkey
	case "retires":
		e.Kind, e.By = Retire, ByPerson
	case "abandons":
		e.Kind, e.By = Abandon, ByPerson
	default:
		return e, fmt.Errorf("what does %q mean?", f[2])
	}
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("what does %q mean?", rest[0])
	}
	return e, err
}

// readSet reads what an entry with a pin set adds, such as "AB for 30d until 20d", and
// returns the words that are left.
func readSet(e *Entry, f []string) ([]string, error) {
	if len(f) < 2 || strings.Trim(f[0], "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return nil, fmt.Errorf("want keys and a lifetime, such as AB for 30d, found %q", f)
	}
	e.Pins = keys(f[0])
	switch {
	case f[1] == "forever":
		e.Lifetime = &Lifetime{Forever: true}
		f = f[2:]
	case f[1] == "for" && len(f) > 2:
		end, err := moment(f[2])
		if err != nil {
			return nil, err
		}
		e.Lifetime = &Lifetime{Duration: end.Sub(t0)}
		f = f[3:]
	default:
		return nil, fmt.Errorf("want a lifetime, such as for 30d, or forever, found %q", f[1:])
	}
	if len(f) > 1 && f[0] == "cached" {
		end, err := moment(f[1])
		if err != nil {
			return nil, err
		}
		e.Cache.Duration = end.Sub(t0)
		f = f[2:]
	}
	if len(f) < 2 || f[0] != "until" {
		return f, nil
	}
	var err error
	e.Expires, err = moment(f[1])
	return f[2:], err
}

// readPlaces reads where something goes or is, such as "at x,y", and returns the words
// that are left.
func readPlaces(f []string) (places []Place, rest []string) {
	if len(f) < 2 || f[0] != "at" {
		return nil, f
	}
	for id := range strings.SplitSeq(f[1], ",") {
		places = append(places, Place{ID: id, Name: "the place " + id})
	}
	return places, f[2:]
}

// ask reads a question with its answer, such as "B be served? yes", and asks the gate.
func (l *Ledger) ask(f []string, at time.Time) error {
	if len(f) < 4 || f[1] != "be" || f[2] != "served?" || len(f[0]) != 1 {
		return fmt.Errorf("want a question, such as: may B be served? yes, found %q", f)
	}
	want := strings.Join(f[3:], " ")
	if got := tell(l.Gate(key(rune(f[0][0])), nil, at)); got != want {
		return fmt.Errorf("the gate says\n  %s\nwant\n  %s", got, want)
	}
	return nil
}

// moment reads the start of a day.
func moment(s string) (time.Time, error) {
	number, ok := strings.CutSuffix(s, "d")
	days, err := strconv.ParseUint(number, 10, 16)
	if !ok || err != nil {
		return time.Time{}, fmt.Errorf("%q is not a day: want one such as 30d", s)
	}
	return t0.Add(time.Duration(days) * day), nil
}

// tell words a verdict as timelines do.
func tell(v Verdict) string {
	if v.Open {
		return "yes"
	}
	inDays := func(t time.Time) string {
		if d := t.Sub(t0); d%day != 0 {
			return d.String() // not what any timeline says
		}
		return fmt.Sprintf("%dd", t.Sub(t0)/day)
	}
	var obstacles []string
	for _, o := range v.Obstacles {
		until := "superseded"
		switch {
		case len(o.Places) > 0:
			until = "closed:"
			for _, p := range o.Places {
				until += p.ID
			}
		case o.Retire:
			until = "retired"
		case !o.Until.IsZero():
			until = inDays(o.Until)
		}
		obstacles = append(obstacles, fmt.Sprintf("%s %d until %s", o.Channel, o.Version, until))
	}
	s := "no: " + strings.Join(obstacles, ", ")
	if !v.OpensAt.IsZero() {
		s += "; opens after " + inDays(v.OpensAt.Add(-1))
	}
	return s
}
