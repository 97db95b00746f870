package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/pinset"
	"keepkey/plan"
)

func statusCommand(g *globals) *cli.Command {
	var s selection
	var asJSON bool
	return &cli.Command{
		Name:  "status",
		Usage: "show what is live, the keys, the channels and what is due",
		Flags: []cli.Flag{s.nameFlag(), jsonFlag(&asJSON)},
		Action: func(c *cli.Context) error {
			return runStatus(c.Context, g, &s, asJSON)
		},
	}
}

// statusJSON is one certificate of `status --json`.
type statusJSON struct {
	Name        string                 `json:"name"`
	Domains     []string               `json:"domains"`
	Certificate *plan.Certificate      `json:"certificate"`
	Keys        []plan.Key             `json:"keys"`
	Gate        *pinset.Verdict        `json:"gate"` // for the first backup key
	Channels    map[string]channelJSON `json:"channels"`
	Next        *plan.Action           `json:"next"`
	Problems    []plan.Problem         `json:"problems"`
	Notes       []string               `json:"notes"`
	Rollover    *plan.Rollover         `json:"rollover"`
}

// channelJSON is the newest pin set of a channel, and the versions that clients
// may still be enforcing.
type channelJSON struct {
	Version   int       `json:"version"`
	Intended  time.Time `json:"intended"`
	Confirmed time.Time `json:"confirmed,omitzero"`
	Live      []int     `json:"live"`
}

func runStatus(ctx context.Context, g *globals, s *selection, asJSON bool) error {
	runner, certs, err := look(g, s)
	if err != nil {
		return err
	}
	all := []statusJSON{}
	for _, cert := range certs {
		all = append(all, statusOf(ctx, runner, cert))
	}
	return show(g.env, all, asJSON, printStatus, func(st statusJSON) int { return len(st.Problems) })
}

func statusOf(ctx context.Context, runner *apply.Runner, cert config.Certificate) statusJSON {
	st := statusJSON{
		Name: cert.Name, Domains: cert.Domains,
		Keys: []plan.Key{}, Channels: map[string]channelJSON{}, Problems: []plan.Problem{}, Notes: []string{},
	}
	in, p, err := runner.Plan(ctx, cert, apply.Options{})
	if err != nil {
		st.Problems = append(st.Problems, plan.Problem{Text: err.Error(), Blocks: true})
		return st
	}
	st.Problems = append(st.Problems, p.Problems...)
	st.Notes = append(st.Notes, p.Notes...)
	if next, ok := p.First(); ok {
		st.Next = &next
	}
	if in.State == nil {
		return st
	}
	st.Certificate, st.Rollover = in.State.Certificate, in.State.Rollover
	st.Keys = append(st.Keys, in.State.Keys...)
	if backups := in.State.Backups(); len(backups) > 0 {
		v := plan.Gate(in, backups[0].Pin)
		st.Gate = &v
	}
	lifetimes := plan.Lifetimes(cert)
	for _, pub := range in.Ledger.Published() { // the newest of each channel comes last
		ch := channelJSON{Version: pub.Version, Intended: pub.Intended, Confirmed: pub.Confirmed, Live: st.Channels[pub.Channel].Live}
		if pub.Enforced(lifetimes[pub.Channel], in.Now) {
			ch.Live = append(ch.Live, pub.Version)
		}
		st.Channels[pub.Channel] = ch
	}
	return st
}

func printStatus(env Env, st statusJSON) {
	row := func(label, format string, args ...any) {
		fmt.Fprintf(env.Stdout, "  %-9s %s\n", label, printable(fmt.Sprintf(format, args...)))
	}
	fmt.Fprintln(env.Stdout, st.Name)
	row("names", "%s", strings.Join(st.Domains, ", "))
	if c := st.Certificate; c != nil {
		row("live", "version %d, serial %s, expires %s (%s)", c.Version, c.Serial, stamp(c.NotAfter), left(c.NotAfter.Sub(env.Now())))
	} else {
		row("live", "no certificate yet")
	}
	for _, k := range st.Keys {
		row(string(k.Role), "%s %s", k.Type, k.Pin)
	}
	for _, name := range slices.Sorted(maps.Keys(st.Channels)) {
		pub := st.Channels[name]
		if pub.Confirmed.IsZero() {
			row("channel", "%s: version %d of the pin set since %s, not confirmed", name, pub.Version, stamp(pub.Intended))
		} else {
			row("channel", "%s: version %d of the pin set, confirmed %s", name, pub.Version, stamp(pub.Confirmed))
		}
	}
	if st.Gate != nil {
		row("gate", "for the first backup key: %s", plan.TellGate(st.Name, *st.Gate))
	}
	if st.Next != nil {
		when := "now"
		if st.Next.At.After(env.Now()) {
			when = stamp(st.Next.At)
		}
		row("next", "%s: %s (%s)", when, describe(*st.Next), st.Next.Reason)
	}
	for _, note := range st.Notes {
		row("note", "%s", note)
	}
	for _, p := range st.Problems {
		row("problem", "%s", p.Text)
	}
}

// left says how long is left, in the unit that people count in.
func left(d time.Duration) string {
	switch {
	case d < 0:
		return "expired"
	case d < 48*time.Hour:
		return fmt.Sprintf("%d hours left", int(d.Hours()))
	}
	return fmt.Sprintf("%d days left", int(d.Hours()/24))
}
