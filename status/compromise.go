package status

import (
	"fmt"
	"slices"
	"strings"

	"keepkey/pinset"
	"keepkey/plan"
)

// Compromise tells what declaring keys compromised means: which keys these are, what takes
// their place, and what clients lose.
func Compromise(in plan.Input, a plan.Action) []string {
	keys := a.Keys
	active := in.State.Active()
	if active == nil {
		return nil
	}
	if r := in.State.Rollover; len(keys) == 0 && r != nil && r.Compromised && !r.Switched.IsZero() {
		return []string{fmt.Sprintf("the replacement of the key %s goes on", r.From)}
	}
	if len(keys) == 0 {
		keys = []pinset.Pin{active.Pin}
	}
	var lines []string
	for _, k := range in.State.Keys {
		if !slices.Contains(keys, k.Pin) {
			continue
		}
		s := fmt.Sprintf("the %s key %s is compromised: it is not served or published any more", k.Role, k.Pin)
		if n := valid(in, k.Pin); n > 0 {
			s += fmt.Sprintf(", and its certificates (%d) are revoked", n)
		}
		lines = append(lines, s)
	}
	if !slices.Contains(keys, active.Pin) {
		return append(lines, "no client is locked out: no server presents these keys")
	}
	s := fmt.Sprintf("the backup key %s takes over", a.Pin)
	v := plan.EmergencyGate(in, a.Pin)
	none := "no client is locked out"
	var reported []string
	for _, r := range v.Reported {
		none = "no client that the ledger counts is locked out"
		reported = append(reported, "locked out are clients that hold "+heldSet(r)+", if the reports that there are such clients are not forged")
	}
	switch {
	case v.Open:
		return append(append(lines, s+"; "+none+": every pin set that may be enforced has its pin"), reported...)
	case len(v.Obstacles) == 0:
		return append(lines, s+"; nobody knows which clients are locked out: the gate is "+gateText(v))
	}
	var who []string
	for _, o := range v.Obstacles {
		who = append(who, fmt.Sprintf("version %d on channel %s", o.Version, o.Channel))
	}
	return append(append(lines, s+"; locked out, until they get a newer pin set, are clients with "+strings.Join(who, ", ")), reported...)
}

// valid counts the certificates of a key that can be revoked.
func valid(in plan.Input, key pinset.Pin) int {
	n := 0
	for _, c := range in.State.Issued {
		if c.Pin == key && c.Revoked.IsZero() && in.Now.Before(c.NotAfter) {
			n++
		}
	}
	return n
}
