package cli

import (
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/status"
)

func logCommand(g *globals) *cli.Command {
	var s selection
	var asJSON bool
	return &cli.Command{
		Name:        "log",
		Usage:       "show what was done and when, why, and who asked for it; the newest comes last",
		Description: "Of several certificates it shows the newest events, of one all that are on record.",
		Flags:       s.flags(jsonFlag(&asJSON)),
		Action:      func(*cli.Context) error { return runLog(g, &s, asJSON) },
	}
}

func runLog(g *globals, s *selection, asJSON bool) error {
	runner, certs, err := lookBack(g, s)
	if err != nil {
		return err
	}
	all := []status.History{}
	var merged chronicle
	for _, cert := range certs {
		h, err := runner.History(cert)
		if err != nil {
			return err
		}
		if asJSON {
			all = append(all, h)
		} else {
			merged.add(h, len(certs) > 1)
		}
	}
	if asJSON {
		return show(g.env, all, true, nil, func(h status.History) int { return len(h.Unread) })
	}
	return merged.print(g.env, len(certs) > 1)
}

// lookBack opens the store for reading, and returns the selected certificates: also those
// whose lineages are on record alone, since they are not configured any more.
func lookBack(g *globals, s *selection) (*apply.Runner, []config.Certificate, error) {
	cfg, err := g.load()
	if err != nil {
		return nil, nil, err
	}
	runner, err := g.reader(cfg)
	if err != nil {
		return nil, nil, err
	}
	onRecord, err := runner.Store.Names()
	if err != nil {
		return nil, nil, err
	}
	known := config.Config{File: cfg.File, Certificates: slices.Clone(cfg.Certificates)}
	configured := namesOf(cfg)
	for _, name := range onRecord {
		if !slices.Contains(configured, name) {
			known.Certificates = append(known.Certificates, config.Certificate{Name: name})
		}
	}
	certs, err := s.choose(&known)
	return runner, certs, err
}

// chronicle is what was done for several certificates, one after the other.
type chronicle struct {
	events []eventOf
	left   bool // older ones were left out
	unread []string
}

type eventOf struct {
	name string
	status.Event
}

// maxEvents bounds what is shown of all certificates together.
const maxEvents = 1000

// add takes the history of one more certificate. Of several only the newest events are kept.
func (c *chronicle) add(h status.History, several bool) {
	for _, e := range h.Events {
		c.events = append(c.events, eventOf{h.Name, e})
	}
	for _, u := range h.Unread {
		c.unread = append(c.unread, fmt.Sprintf("%s: a part of what is on record can't be read: %s\nsafe: the rest is shown\ndo: see whether it matters: keepkey status --name %[1]s", h.Name, u))
	}
	if several && len(c.events) > 2*maxEvents {
		c.trim()
	}
}

// trim puts the events in the order of time, and drops the oldest.
func (c *chronicle) trim() {
	slices.SortStableFunc(c.events, func(a, b eventOf) int { return a.At.Compare(b.At) })
	if older := len(c.events) - maxEvents; older > 0 {
		c.events, c.left = slices.Delete(c.events, 0, older), true
	}
}

// print prints a line for each event.
func (c *chronicle) print(env Env, several bool) error {
	if several {
		c.trim()
	}
	if c.left {
		complain(env, fmt.Sprintf("these are the newest %d; to see all of one certificate: keepkey log --name NAME", maxEvents))
	}
	for _, e := range c.events {
		text := e.String()
		if several {
			text = e.name + ": " + text
		}
		fmt.Fprintf(env.Stdout, "%s  %s\n", status.Time(e.At), printable(text))
	}
	for _, u := range c.unread {
		complain(env, u)
	}
	if len(c.unread) > 0 {
		return reportedError{}
	}
	return nil
}
