package status

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"keepkey/pinset"
	"keepkey/plan"
)

// History is what was done for a lineage, as far as it is on record.
type History struct {
	Name   string  `json:"name"`
	Events []Event `json:"events"` // the oldest first
	// Unread says what can't be read of the record, and why.
	Unread []string `json:"unread"`
}

// Event is something that was done, or that failed.
type Event struct {
	At time.Time `json:"at"`
	// Action is a kind of action, or the kind of an entry that only the ledger has.
	Action   string       `json:"action"`
	Reason   plan.WhyCode `json:"reason,omitempty"`
	By       string       `json:"by,omitempty"`     // daemon, run or person
	Person   string       `json:"person,omitempty"` // where it is known
	Text     string       `json:"text"`             // what was done, for people
	Why      string       `json:"why,omitempty"`    // the reason, for people
	Error    string       `json:"error,omitempty"`  // why it failed
	Entry    int          `json:"entry,omitempty"`  // of the ledger
	Role     plan.Role    `json:"role,omitempty"`
	Pin      pinset.Pin   `json:"pin,omitzero"`
	From     pinset.Pin   `json:"from,omitzero"`
	Keys     []pinset.Pin `json:"keys,omitempty"` // declare-compromise: those that others may have
	Channel  string       `json:"channel,omitempty"`
	Version  int          `json:"version,omitempty"` // of the certificate, or with a channel of the pin set
	Target   string       `json:"target,omitempty"`
	Serial   string       `json:"serial,omitempty"`
	NotAfter time.Time    `json:"not_after,omitzero"`
	Host     string       `json:"host,omitempty"`
}

// String is the event in one line, without its time.
func (e Event) String() string {
	by := map[string]string{plan.AskedByDaemon: "by the daemon", plan.AskedByRun: "by keepkey renew", plan.AskedByPerson: "asked for by a person"}[e.By]
	if e.Person != "" {
		by = "asked for by " + e.Person
	}
	text := e.Text
	if e.Error != "" {
		text += ": " + e.Error
	}
	if more := slices.DeleteFunc([]string{e.Why, by}, func(s string) bool { return s == "" }); len(more) > 0 {
		text += " (" + strings.Join(more, "; ") + ")"
	}
	return text
}

// HistoryOf puts the journal and the ledger of a lineage together. What is in both is told
// once: the ledger proves that it was done, and the journal knows why, and for whom. hooks
// has the names of deploy hooks by their IDs.
func HistoryOf(name string, journal []plan.Event, ledger []pinset.Entry, hooks map[string]string, unread []error) History {
	h := History{Name: name, Events: []Event{}, Unread: []string{}}
	told := make(map[int]bool) // entries, by their number
	tries := make(map[string][]time.Time)
	numbered := make(map[int]int)
	for i, e := range ledger {
		numbered[e.N] = i
	}
	for _, e := range journal {
		ev := journaled(e, hooks)
		if i, there := numbered[e.Entry]; there && madeWith(ledger, i, e) {
			told[e.Entry] = true
		} else {
			ev.Entry = 0 // it was in a ledger that is lost
		}
		if e.Action == plan.Publish {
			tries[fmt.Sprint(e.Version, e.Channel)] = append(tries[fmt.Sprint(e.Version, e.Channel)], e.At)
		}
		h.Events = append(h.Events, ev)
	}
	for _, e := range ledger {
		intended := e.Kind == pinset.Intent || e.Kind == pinset.Extend
		if told[e.N] || (intended && slices.ContainsFunc(tries[fmt.Sprint(e.Version, e.Channel)], follows(e.At))) {
			continue
		}
		h.Events = append(h.Events, entered(e))
	}
	slices.SortStableFunc(h.Events, func(a, b Event) int { return a.At.Compare(b.At) })
	for _, err := range unread {
		h.Unread = append(h.Unread, short(err.Error()))
	}
	return h
}

// follows says whether something was the end of what was intended at a time: a publication
// takes no longer, and one that a crash cut short is told of by itself.
func follows(intended time.Time) func(time.Time) bool {
	return func(at time.Time) bool { return !at.Before(intended) && at.Sub(intended) <= time.Hour }
}

// made is the kind of the entry that comes with an action.
var made = map[plan.Kind]pinset.EntryKind{
	plan.Publish: pinset.Confirm, plan.ReadBack: pinset.Confirm, plan.Confirm: pinset.Confirm, plan.Retire: pinset.Retire,
	plan.Abandon: pinset.Abandon, plan.ClosePlace: pinset.Gone, plan.Undo: pinset.Readmit, plan.AdoptChannel: pinset.Unknown,
}

// madeWith reports whether the i-th entry is the one that was made with an event. The number
// does not prove it, since the ledger may have been restarted. An entry is dated as the one
// before it, when the clock went back.
func madeWith(ledger []pinset.Entry, i int, e plan.Event) bool {
	entry := ledger[i]
	moved := i > 0 && entry.At.Equal(ledger[i-1].At) && entry.At.After(e.At)
	return entry.Kind == made[e.Action] && entry.Channel == e.Channel && (entry.At.Equal(e.At) || moved)
}

// journaled is an event of the journal.
func journaled(e plan.Event, hooks map[string]string) Event {
	by, person, _ := strings.Cut(e.By, " ")
	ev := Event{
		At: e.At.UTC(), Action: string(e.Action), Reason: e.Reason, By: by, Person: person, Why: pastReasons[e.Reason], Error: short(e.Error), Entry: e.Entry,
		Role: e.Role, Pin: e.Pin, From: e.From, Keys: e.Keys, Channel: e.Channel, Version: e.Version, Target: e.Target, Serial: e.Serial, NotAfter: e.Expires,
		Host: e.Host,
	}
	if hook, known := hooks[e.Target]; known && e.Action == plan.Deploy {
		e.Target = hook
	}
	ev.Text = did(e)
	if e.Error != "" {
		a := plan.Action{Kind: e.Action, Role: e.Role, Pin: e.Pin, Channel: e.Channel, Version: e.Version, Target: e.Target}
		a.PinSet.Version = e.Version
		ev.Text = "failed to " + Describe(a)
	}
	return ev
}

// did says what was done.
func did(e plan.Event) string {
	switch e.Action {
	case plan.BeginLineage:
		return "began the lineage"
	case plan.GenerateKey:
		return fmt.Sprintf("generated the %s key %s", e.Role, e.Pin)
	case plan.Publish:
		text := fmt.Sprintf("published version %d of the pin set on channel %s", e.Version, e.Channel)
		if e.Entry > 0 {
			text += ", and confirmed it"
		}
		return text
	case plan.ReadBack:
		return fmt.Sprintf("read version %d of the pin set back from channel %s, and confirmed it", e.Version, e.Channel)
	case plan.Obtain:
		return "obtained a certificate for the active key, " + certificate(e)
	case plan.SwitchKey:
		return fmt.Sprintf("switched from the key %s to %s with a certificate for it, %s", e.From, e.Pin, certificate(e))
	case plan.Install:
		return fmt.Sprintf("installed certificate version %d", e.Version)
	case plan.Deploy:
		return fmt.Sprintf("deployed certificate version %d with the hook %s", e.Version, e.Target)
	case plan.Check:
		return fmt.Sprintf("saw the key of certificate version %d served by %s", e.Version, e.Target)
	case plan.BeginRollover:
		return fmt.Sprintf("began a rollover to the key %s", e.Pin)
	case plan.RetirePin:
		return "took the old key's pin out of the pin set"
	case plan.Abandon:
		return fmt.Sprintf("gave up the clients of channel %s with version %d of the pin set", e.Channel, e.Version)
	case plan.Revoke:
		return fmt.Sprintf("revoked certificate version %d (serial %s)", e.Version, e.Target)
	case plan.Collect:
		return "fetched the certificate of an order for a compromised key, to revoke it"
	case plan.WriteOff:
		return fmt.Sprintf("wrote the lost backup key %s off", e.Pin)
	}
	return said(e)
}

// said says what a person put on record.
func said(e plan.Event) string {
	switch e.Action {
	case plan.Undo:
		return "asked for the rollover to be undone"
	case plan.DeclareCompromise:
		var keys []string
		for _, pin := range e.Keys {
			keys = append(keys, pin.String())
		}
		return "declared compromised: " + strings.Join(keys, ", ")
	case plan.Confirm:
		return fmt.Sprintf("said that version %d of the pin set is out on channel %s", e.Version, e.Channel)
	case plan.Retire:
		return fmt.Sprintf("said that no supported client of channel %s carries version %d of the pin set any more", e.Channel, e.Version)
	case plan.ClosePlace:
		return fmt.Sprintf("said that clients of channel %s get nothing from the place %s any more", e.Channel, e.Target)
	case plan.ForgetHost:
		return fmt.Sprintf("said that the host %s is gone for good", e.Host)
	case plan.AdoptChannel:
		return fmt.Sprintf("went on from what clients of channel %s get: version %d of the pin set", e.Channel, e.Version)
	case plan.AdoptKey:
		return fmt.Sprintf("went on with the key %s, which is the one in use out there", e.Pin)
	case plan.RestartLedger:
		return "began a new ledger in place of the damaged one"
	}
	return strings.ReplaceAll(string(e.Action), "-", " ")
}

func certificate(e plan.Event) string {
	return fmt.Sprintf("version %d, serial %s, expires %s", e.Version, e.Serial, Time(e.Expires))
}

// entered is an entry of the ledger of which the journal knows nothing.
func entered(e pinset.Entry) Event {
	ev := Event{At: e.At.UTC(), Action: string(e.Kind), Entry: e.N, Channel: e.Channel, Version: e.Version, Target: e.Place}
	if e.By == pinset.ByPerson {
		ev.By = plan.AskedByPerson
	}
	set := fmt.Sprintf("version %d of the pin set", e.Version)
	switch e.Kind {
	case pinset.Intent:
		ev.Text = fmt.Sprintf("began to publish %s on channel %s: from here on some client may hold it", set, e.Channel)
	case pinset.Extend:
		ev.Text = fmt.Sprintf("began to publish %s on channel %s to %s", set, e.Channel, names(e.Places))
	case pinset.Confirm:
		ev.Text = fmt.Sprintf("%s is out on channel %s", set, e.Channel)
	case pinset.Retire:
		ev.Text = fmt.Sprintf("no supported client of channel %s carries %s any more", e.Channel, set)
	case pinset.Abandon:
		ev.Text = fmt.Sprintf("gave up the clients of channel %s with %s", e.Channel, set)
	case pinset.Readmit:
		ev.Text = fmt.Sprintf("the clients that were given up after entry %d of the ledger count again", e.After)
	case pinset.Seen:
		ev.Text = fmt.Sprintf("found that clients of channel %s get %s again", e.Channel, set)
		if len(e.Pins) > 0 {
			ev.Text = fmt.Sprintf("found that clients of channel %s get a pin set that was not published, as version %d", e.Channel, e.Version)
		}
	case pinset.Gone:
		ev.Text = fmt.Sprintf("clients of channel %s get nothing from the place %s any more", e.Channel, e.Place)
	case pinset.Unknown:
		ev.Text = fmt.Sprintf("what clients of channel %s hold is not known from here on, but for the active key's pin", e.Channel)
	}
	return ev
}

// pastReasons say why something was done, where the event does not go without saying.
var pastReasons = map[plan.WhyCode]string{
	plan.WhyNoActiveKey:        "there was none",
	plan.WhyTooFewBackups:      "there were too few",
	plan.WhyNeverPublished:     "the channel had none",
	plan.WhyOutdatedPinSet:     "the channel had an older one",
	plan.WhyHookAdded:          "a publish hook was added",
	plan.WhyUnfinished:         "it had not succeeded before",
	plan.WhyOtherConfirmation:  "what makes it count as out was changed in the configuration",
	plan.WhyNothingInstalled:   "nothing was installed",
	plan.WhyForced:             "it was asked for (--force)",
	plan.WhyFirstCertificate:   "there was none",
	plan.WhyOrderPending:       "its order was under way",
	plan.WhyStoredUnusable:     "the files of the one before were missing or damaged",
	plan.WhyOtherNames:         "the configuration asked for other names",
	plan.WhyOtherCA:            "the configuration named another CA",
	plan.WhyThirdLeft:          "a third of the lifetime of the one before was left",
	plan.WhyHalfLeft:           "half of the lifetime of the one before was left",
	plan.WhyWindow:             "the CA's renewal window had come",
	plan.WhyWindowAgain:        "the CA asked for an early renewal again",
	plan.WhyRetry:              "tried again after a failure",
	plan.WhyRolloverAsked:      "a rollover was asked for",
	plan.WhySchedule:           "the configuration asks for one from time to time",
	plan.WhyCompromiseDeclared: "the key before was declared compromised",
	plan.WhyKeyCompromised:     "the key is compromised",
	plan.WhyUndoPossible:       "the time in which the rollover could be undone was over",
	plan.WhyBreakageAccepted:   "a person accepted the breakage",
	plan.WhyKeyLost:            "its file was not restored",
}
