package page

import (
	"fmt"
	"strings"
)

// Words says what the picture of a timeline shows.
func Words(t Timeline) []string {
	all := []string{t.Switch.Text}
	for _, k := range t.Keys {
		var s []string
		for _, served := range k.Served {
			s = append(s, "served"+between(served))
		}
		if !k.Ahead.From.IsZero() {
			s = append(s, "will be served"+between(k.Ahead))
		}
		all = append(all, fmt.Sprintf("The %s key %s: %s.", k.Role, k.Pin, strings.Join(s, ", ")))
	}
	for _, g := range t.Gates {
		switch {
		case g.Open:
			all = append(all, fmt.Sprintf("The gate for the backup key %s is open.", g.Pin))
		case g.Person:
			all = append(all, fmt.Sprintf("The gate for the backup key %s is closed until a person acts.", g.Pin))
		case g.Opens.IsZero():
			all = append(all, fmt.Sprintf("The gate for the backup key %s is closed until a newer pin set is out.", g.Pin))
		default:
			all = append(all, fmt.Sprintf("The gate for the backup key %s is closed until %s.", g.Pin, date(g.Opens)))
		}
	}
	for _, ch := range t.Channels {
		for _, s := range ch.PinSets {
			all = append(all, fmt.Sprintf("Channel %s, %s.", clean(ch.Name), pinSetWords(s)))
		}
	}
	if c := t.Certificate; c != nil {
		s := fmt.Sprintf("Certificate version %d is valid%s", c.Version, between(c.Span))
		if !c.Renewal.IsZero() {
			s += ", and is renewed at " + date(c.Renewal)
		}
		all = append(all, s+".")
	}
	return all
}

// pinSetWords says until when a pin set may be enforced.
func pinSetWords(s PinSetTime) string {
	text := fmt.Sprintf("version %d: may be enforced%s", s.Version, between(s.Span))
	if s.Person {
		text += " until a person retires it"
	}
	if !s.Confirmed {
		text += "; not confirmed"
	}
	if s.Lacks {
		text += "; it lacks the next backup key's pin"
	}
	return text
}
