package status

import (
	"fmt"
	"strings"
	"time"

	"keepkey/plan"
)

// Time writes a time for people, always in UTC.
func Time(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// Left says how long is left until a time, in the unit that people count in.
func Left(d time.Duration) string {
	switch {
	case d < 0:
		return "expired"
	case d < 48*time.Hour:
		return fmt.Sprintf("%d hours left", int(d.Hours()))
	}
	return fmt.Sprintf("%d days left", int(d.Hours()/24))
}

// span writes a duration in whole days, hours or minutes.
func span(d time.Duration) string {
	switch d = d.Round(time.Minute); {
	case d >= 24*time.Hour && d%(24*time.Hour) == 0:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d >= time.Hour && d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dm", d/time.Minute)
}

// Describe names an action with what it acts on.
func Describe(a plan.Action) string {
	switch a.Kind {
	case plan.BeginLineage:
		return "begin the lineage"
	case plan.GenerateKey:
		return fmt.Sprintf("generate the %s key", a.Role)
	case plan.Publish:
		return fmt.Sprintf("publish version %d of the pin set on channel %s", a.PinSet.Version, a.Channel)
	case plan.ReadBack:
		return fmt.Sprintf("read version %d of the pin set back from channel %s", a.PinSet.Version, a.Channel)
	case plan.Install:
		return fmt.Sprintf("install certificate version %d", a.Version)
	case plan.Deploy:
		return "run a deploy hook"
	case plan.Check:
		return "look at the key that " + a.Target + " serves"
	case plan.AskWindow:
		return "ask the CA for its renewal window"
	case plan.Obtain:
		return "obtain a certificate for the active key"
	case plan.SwitchKey:
		if a.Version > 0 {
			return fmt.Sprintf("make the key before the active one again, with its certificate (version %d)", a.Version)
		}
		return "obtain a certificate for the backup key, and make it the active one"
	case plan.RetirePin:
		return "take the old key's pin out of the pin set"
	case plan.BeginRollover:
		return "begin a rollover to the first backup key"
	case plan.Abandon:
		return fmt.Sprintf("give up the clients of channel %s with version %d of the pin set", a.Channel, a.Version)
	case plan.Revoke:
		return fmt.Sprintf("revoke certificate version %d (serial %s)", a.Version, a.Target)
	case plan.Look:
		if a.Channel != "" {
			return "look at what clients of channel " + a.Channel + " get"
		}
		return "look at the key that " + a.Target + " serves"
	case plan.Collect:
		return "fetch the certificate of an order for a compromised key, to revoke it"
	case plan.WriteOff:
		return fmt.Sprintf("write the lost backup key %s off", a.Pin)
	case plan.Prune:
		return fmt.Sprintf("remove the files of certificate version %d", a.Version)
	}
	return string(a.Kind)
}

// reason puts into words why an action is planned.
func reason(a plan.Action) string {
	w := a.Why
	switch w.Code {
	case plan.WhyNewLineage:
		return "the lineage is new"
	case plan.WhyNoActiveKey:
		return "the lineage has no key yet"
	case plan.WhyTooFewBackups:
		return fmt.Sprintf("there are %d of %d backup keys", w.Have, w.Want)
	case plan.WhyNeverPublished:
		return "the channel never had a pin set"
	case plan.WhyOutdatedPinSet:
		return fmt.Sprintf("the channel has version %d of the pin set", w.Have)
	case plan.WhyHookAdded:
		return "a publish hook was added"
	case plan.WhyOtherConfirmation:
		return "what makes it count as out was changed in the configuration"
	case plan.WhyUnfinished:
		return fmt.Sprintf("publishing version %d has not succeeded yet", w.Have)
	case plan.WhyNotReadBack:
		return "it was published, but not seen there yet"
	case plan.WhyNothingInstalled:
		return "nothing is installed"
	case plan.WhyNewerCertificate:
		return "it is newer than what is installed"
	case plan.WhyNotDeployed:
		return "the hook has not succeeded for this certificate yet"
	case plan.WhyNotChecked:
		return "the certificate was deployed, and nobody looked yet"
	case plan.WhyWindowUnknown:
		return "the CA may want the certificate renewed earlier or later"
	case plan.WhyForced:
		return "it was asked for (--force)"
	case plan.WhyFirstCertificate:
		return "there is no certificate yet"
	case plan.WhyOrderPending:
		return "an order is under way"
	case plan.WhyStoredUnusable:
		return fmt.Sprintf("the stored certificate can't be used: %v", w.Err)
	case plan.WhyOtherNames:
		return "the configuration asks for other names"
	case plan.WhyOtherCA:
		return "the configuration names another CA"
	case plan.WhyThirdLeft:
		return "about a third of its lifetime is left then, it expires at " + Time(w.Expires)
	case plan.WhyHalfLeft:
		return "about half of its lifetime is left then, it expires at " + Time(w.Expires)
	case plan.WhyWindow:
		return fmt.Sprintf("the CA's renewal window is %s to %s", Time(w.Start), Time(w.End))
	case plan.WhyWindowAgain:
		return "the CA's renewal window begins again right after an early renewal"
	case plan.WhyRetry:
		return fmt.Sprintf("attempt %d, after a failure", w.Have+1)
	case plan.WhySchedule:
		return "the configuration asks for one every " + span(w.Every)
	case plan.WhyKeyCompromised:
		return "the key is compromised"
	case plan.WhyUndoPossible:
		return "until then the rollover can be undone (keepkey rotate --undo)"
	case plan.WhyBreakageAccepted:
		return "they would keep the compromised key in use, and a person accepted the breakage"
	case plan.WhyKeyLost:
		return "its file was not restored, and another key has its place"
	case plan.WhyOutThere:
		return "what is out there may have changed"
	case plan.WhyOldCertificate:
		return "it is old, and nothing needs it any more"
	case plan.WhyRolloverAsked, plan.WhyCompromiseDeclared:
		why := "a rollover was asked for at "
		if w.Code == plan.WhyCompromiseDeclared {
			why = "the active key was declared compromised at "
		}
		why += Time(w.Asked)
		if !w.Gate.Open {
			why += ", and the gate is closed until then: " + obstacles(w.Gate)
		}
		return why
	}
	return string(w.Code)
}

// RolloverText says how far a rollover is.
func RolloverText(r Rollover) string {
	kind := "rollover"
	if r.Compromised {
		kind = "replacement of a compromised key"
	}
	if r.Switched.IsZero() {
		return fmt.Sprintf("a %s was asked for at %s, and waits for its switch to %s", kind, Time(r.Asked), r.To)
	}
	return fmt.Sprintf("the keys were switched at %s; the pin of %s has not left the pin set yet", Time(r.Switched), r.From)
}

// HostsText says how far each host is, where there are several.
func HostsText(hosts []Host) string {
	if len(hosts) < 2 {
		return ""
	}
	var each []string
	for _, h := range hosts {
		name := h.Hostname
		if name == "" {
			name = h.ID
		}
		s := fmt.Sprintf("%s (%s) has version %d", name, h.ID, h.Installed)
		if !h.Deployed {
			s += ", not deployed"
		}
		each = append(each, s)
	}
	return strings.Join(each, "; ")
}
