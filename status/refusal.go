package status

import (
	"fmt"
	"slices"
	"strings"

	"keepkey/pinset"
	"keepkey/plan"
)

// refused words why something that was asked for is not done.
func refused(p *Problem, name string, f plan.Finding) bool {
	const unchanged = "nothing was changed"
	switch f.Code {
	case plan.TooFewKeys:
		p.Subject = "there are not two keys that clients may accept: another is to be made"
		return p.say(unchanged, "make it: keepkey renew --name "+name)
	case plan.NothingYet:
		p.Subject = "the first run has not been completed yet"
		return p.say(unchanged, "complete it: keepkey renew --name "+name)
	case plan.RolloverNotOver:
		p.Subject = fmt.Sprintf("the rollover of %s is not over: the old key's pin is still in the pin set", Time(f.Time))
		return p.say(unchanged, "see when it ends: keepkey plan --name "+name)
	case plan.NothingToUndo:
		p.Subject = "there is no rollover to undo: the old key's pin has left the pin set, or there never was one"
		return p.say(unchanged)
	case plan.NoWayBack:
		p.Subject = "there is no way back to a compromised key"
		return p.say(unchanged)
	case plan.NoSuccessor:
		p.Subject = "no backup key can take over"
		key := ""
		if f.Target != "" {
			key = " --key " + f.Target
		}
		return p.say(unchanged, "restore one from a backup of the state directory",
			"or have a new one made, which no client knows yet: keepkey rotate --compromised"+key+" --accept-breakage --name "+name)
	case plan.NoSuchKey:
		which := f.Target
		if which == "" {
			which = f.Pin.String()
		}
		p.Subject = fmt.Sprintf("there is no key %q", which)
		return p.say(unchanged, "see the keys: keepkey pins --all --name "+name)
	case plan.NothingSeen:
		p.Subject = "nothing shows which pin sets clients have by now, or which key is served: no channel can be read, and no address to check answers"
		return p.say(unchanged, chooseKey(name, f.Pins)...)
	case plan.NoKeyAccepted:
		p.Subject = "no key of this lineage is in every pin set that clients get"
		return p.say(unchanged, chooseKey(name, f.Pins)...)
	case plan.ServedKeyNotHere:
		p.Subject = fmt.Sprintf("%s serves the key %s, which is not the one that is served elsewhere, or is not here", f.Target, f.Pin)
		return p.say(unchanged, chooseKey(name, f.Pins)...)
	case plan.NothingToAdopt:
		p.Subject = "what is out there is on record: there is nothing to adopt"
		return p.say(unchanged)
	case plan.WhichKey:
		p.Subject = fmt.Sprintf("say which key others may have: the active one (%s), or the one that was active before (%s)", f.Pins[0], f.Pins[1])
		return p.say(unchanged, "if it is the active one: keepkey rotate --compromised --key active --name "+name,
			"if it is the one before: keepkey rotate --compromised --key retired --name "+name)
	case plan.NothingPublished:
		p.Subject = "nothing was ever published on a channel"
		if f.Channel != "" {
			p.Subject = fmt.Sprintf("no pin set was ever published on a channel %q", f.Channel)
		}
		return p.say(unchanged, "see the channels: keepkey status --name "+name)
	case plan.NoSuchVersion:
		p.Subject = fmt.Sprintf("channel %s never had version %d of the pin set; it had %s", f.Channel, f.Version, strings.Trim(strings.ReplaceAll(fmt.Sprint(f.Versions), " ", ", "), "[]"))
		return p.say(unchanged)
	case plan.NewestVersion:
		p.Subject = fmt.Sprintf("version %d is the newest pin set of channel %s, so its clients carry it; only older ones can be retired", f.Version, f.Channel)
		return p.say(unchanged)
	case plan.NewestOut:
		p.Subject = fmt.Sprintf("version %d is the newest pin set of channel %s that is out (version %d is not), so its clients carry it", f.Version, f.Channel, f.Versions[0])
		return p.say(unchanged, fmt.Sprintf("once version %d is out: keepkey channel confirm --name %s --channel %s --version %d", f.Versions[0], name, f.Channel, f.Versions[0]))
	case plan.NotManual:
		p.Subject = fmt.Sprintf("channel %s is not confirmed by a person: that is for channels with confirm: manual", f.Channel)
		return p.say(unchanged, "have keepkey publish and confirm it: keepkey renew --name "+name)
	case plan.NoSuchPlace:
		p.Subject = fmt.Sprintf("channel %s was never published to a place %q; it was to: %s", f.Channel, f.Target, placesText(f.Places))
		return p.say(unchanged)
	case plan.PlaceInUse:
		p.Subject = fmt.Sprintf("the configuration still has channel %s published to %s", f.Channel, names(f.Places))
		return p.say(unchanged, "take the hook out of the configuration first")
	case plan.LedgerWhole:
		p.Subject = "the ledger is whole, and says more than a new one could"
		return p.say(unchanged)
	case plan.NoSuchReport:
		p.Subject = fmt.Sprintf("there are no reports with the ID %q", f.Target)
		return p.say(unchanged, "see those that there are: keepkey report list --name "+name)
	case plan.ReportsWhole:
		p.Subject = "what clients reported is not damaged"
		return p.say(unchanged)
	case plan.LineageConfigured:
		p.Subject = "the configuration names this certificate"
		return p.say(unchanged, "take it out of the configuration first")
	case plan.PinSetsEnforced:
		p.Subject = "clients may still be enforcing pin sets of this lineage: " + enforced(f.Gate)
		return p.say(unchanged, GateOf(name, f.Gate).Do...)
	case plan.NoSuchHost:
		p.Subject = fmt.Sprintf("no host %q is on record; these are: %s", f.Target, strings.Join(f.Hosts, ", "))
		return p.say(unchanged, "see the hosts: keepkey status --json --name "+name)
	case plan.ThisHost:
		p.Subject = fmt.Sprintf("%q is this host, which is not gone", f.Target)
		return p.say(unchanged)
	}
	return false
}

// placesText lists places with their IDs.
func placesText(places []pinset.Place) string {
	if len(places) == 0 {
		return "none"
	}
	var all []string
	for _, p := range places {
		all = append(all, fmt.Sprintf("%s (%s)", p.ID, p.Name))
	}
	return strings.Join(all, ", ")
}

// chooseKey says how to go on where nothing shows which key is the active one.
func chooseKey(name string, pins []pinset.Pin) []string {
	do := []string{"restore the newest backup of the state directory"}
	if len(pins) > 0 {
		do = append(do, fmt.Sprintf("if there is none, choose a key; clients that do not have its pin are locked out until they get the next pin set: keepkey adopt --name %s --key %s", name, pins[0]))
	}
	return do
}

// Adopted tells what is concluded from what is out there.
func Adopted(a plan.Adoption) []string {
	return append(slices.Clone(a.Reasons),
		fmt.Sprintf("so the active key is %s", a.Active),
		"what else clients accept is not known: the gate stays closed until a newer pin set is out, and their lifetime has passed")
}

// running words what happened to a run.
func running(p *Problem, name string, f plan.Finding) bool {
	switch f.Code {
	case plan.Interrupted:
		p.Subject = fmt.Sprintf("interrupted during: %s", f.Action)
		return p.say("what was done is on record", "the next run goes on from here: keepkey renew --name "+name)
	case plan.BrokeDown:
		p.Subject = fmt.Sprintf("keepkey broke down here (%s); this is a bug in keepkey", f.Reason)
		return p.say("what was done is on record, and "+servedOn, "report it, with what the log says above")
	case plan.ConfigurationInvalid:
		p.Subject = fmt.Sprintf("the configuration is not valid any more: %v", f.Err)
		return p.say("the daemon goes on with the one that it read before", "mend it; then have it read: systemctl reload keepkey-daemon")
	case plan.NotificationFailing:
		p.Subject = "a notify hook could not be told what is wrong, or over: " + failure(f)
		return p.say("certificates are renewed all the same, and the hook is told later how it is then", "see that the hook works: keepkey notify --test")
	case plan.Endless:
		p.Subject = "gave up after many steps without an end; this is a bug in keepkey"
		return p.say(servedOn)
	}
	return false
}
