package page

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"keepkey/status"
)

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

// date writes a day, by UTC as everywhere.
func date(t time.Time) string { return t.UTC().Format(time.DateOnly) }

func since(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " since " + date(t)
}

func between(s Span) string {
	text := ""
	if !s.From.IsZero() {
		text = " from " + date(s.From)
	}
	if !s.To.IsZero() {
		text += " until " + date(s.To)
	}
	return text
}

// shortPin is enough of a pin to tell it from a lineage's others.
func shortPin(pin string) string { return pin[:8] + "…" }

// cut shortens a text to so many letters.
func cut(text string, n int) string {
	r := []rune(clean(text))
	if len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return string(r)
}

// lines breaks a text between words.
func lines(text string, n int) []string {
	var all []string
	for _, word := range strings.Fields(text) {
		if last := len(all) - 1; last >= 0 && utf8.RuneCountInString(all[last])+1+utf8.RuneCountInString(word) <= n {
			all[last] += " " + word
		} else {
			all = append(all, word)
		}
	}
	return all
}

// clean escapes what is not to be seen: it could hide or turn around what stands beside it,
// and XML forbids some of it.
func clean(text string) string {
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(text, "\uFFFD") {
		if r == '\n' || unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
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

// wordsOf writes a token for people.
func wordsOf(token string) string { return strings.ReplaceAll(token, "-", " ") }

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
