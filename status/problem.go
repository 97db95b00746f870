package status

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"keepkey/plan"
)

// Severity says how much a problem matters.
type Severity string

// The severities.
const (
	// Critical: clients are refused now, or will be unless a person acts.
	Critical Severity = "critical"
	// Warning: something fails, and no client notices yet.
	Warning Severity = "warning"
	// Info is only worth knowing.
	Info Severity = "info"
)

// Worst is the severity of the worst problem; "" without one.
func Worst(problems []Problem) Severity {
	rank := map[Severity]int{Info: 1, Warning: 2, Critical: 3}
	var worst Severity
	for _, p := range problems {
		if rank[p.Severity] > rank[worst] {
			worst = p.Severity
		}
	}
	return worst
}

// Problem is something that a person should know.
type Problem struct {
	// ID is the same for as long as the problem lasts, and among those of a lineage its own.
	ID       string    `json:"id"`
	Code     plan.Code `json:"code"`
	Severity Severity  `json:"severity"`
	Subject  string    `json:"subject"` // what is wrong
	Safe     string    `json:"safe,omitempty"`
	Do       []string  `json:"do,omitempty"`
	// Blocks says that nothing is done for the lineage until it is mended.
	Blocks bool `json:"blocks"`

	// For those who are to be told of it: see [notable].
	level    level
	attempts int  // that failed so far; 0 where nothing is tried
	ofCA     bool // its other certificates have it, too
}

// Lines returns the problem as lines for people: what is wrong; what is safe; what to do.
func (p Problem) Lines() []string {
	lines := []string{p.Subject}
	if p.Safe != "" {
		lines = append(lines, "safe: "+p.Safe)
	}
	for _, do := range p.Do {
		lines = append(lines, "do: "+do)
	}
	return lines
}

// Problems puts findings into words.
func Problems(name string, findings []plan.Finding) []Problem {
	problems := []Problem{}
	for _, f := range findings {
		p := ProblemOf(name, f)
		// Two actions can fail for one reason, such as the clock.
		same := func(other Problem) bool {
			other.ID = p.ID
			return reflect.DeepEqual(other, p)
		}
		if !slices.ContainsFunc(problems, same) {
			problems = append(problems, p)
		}
	}
	return problems
}

// ProblemOf puts a finding of a lineage into words.
func ProblemOf(name string, f plan.Finding) Problem {
	p := Problem{ID: f.Key(), Code: f.Code, Severity: Warning, Blocks: f.Blocks}
	if f.Blocks || f.Urgent {
		p.Severity = Critical
	}
	for _, words := range []func(*Problem, string, plan.Finding) bool{lostState, lostKeys, publishing, outThere, reporting, serving, putOff, issuing, waiting, refused, running} {
		if words(&p, name, f) {
			p.Subject = short(p.Subject)
			return p
		}
	}
	p.Subject = string(f.Code)
	return p
}

// maxSubject bounds what a problem says, in bytes: some of it comes from elsewhere.
const maxSubject = 4 << 10

func short(text string) string {
	if len(text) > maxSubject {
		return fmt.Sprintf("%s... (%d bytes)", strings.ToValidUTF8(text[:maxSubject], ""), len(text))
	}
	return text
}

func (p *Problem) say(safe string, do ...string) bool {
	p.Safe = safe
	for _, d := range do {
		if d != "" {
			p.Do = append(p.Do, d)
		}
	}
	return true
}

// What is said in many places.
const (
	servedOn  = "the server keeps the certificate and key that it has"
	goOn      = "if there is no newer one, go on from what is out there: keepkey adopt --name "
	renewsOn  = "renewals with the same key go on"
	triesNext = "every run tries again; to try now: keepkey renew --name "
)

// lostState words what is wrong with the state as a whole.
func lostState(p *Problem, name string, f plan.Finding) bool {
	switch f.Code {
	case plan.StateMissing:
		p.Subject = "state.json is missing, but keys or certificates are there"
		return p.say("no new lineage is begun over them; "+servedOn, "restore state.json from a backup")
	case plan.KeysElsewhere:
		p.Subject = "this looks like a first run, but clients may know other keys already: " + strings.Join(f.Signs, "; ")
		var do []string
		for _, other := range f.Lineages {
			do = append(do, fmt.Sprintf("to go on with the keys of %s, give this certificate that name in the configuration: name: %s", other, other))
		}
		return p.say("nothing was made or published", append(do, "if those keys need not go on working, start afresh: keepkey renew --name "+name+" --new-lineage")...)
	case plan.LineageLeft:
		p.Subject = "its keys are in the state directory, and the configuration does not name it: nothing renews its certificate"
		do := []string{"if clients still use it, put it back into the configuration, with name: " + name}
		if len(f.Gate.Obstacles) == 0 {
			return p.say("nothing is lost", append(do, "if nobody needs it any more: keepkey lineage drop --name "+name)...)
		}
		do = append(do, "if nobody needs it any more, it can be dropped once clients are not enforcing its pin sets any more: "+enforced(f.Gate))
		return p.say("nothing is lost", append(do, GateOf(name, f.Gate).Do...)...)
	case plan.StateOutdated:
		signs, do := strings.Join(f.Signs, "; "), []string{"restore the newest backup of the state directory", goOn + name}
		if f.Failure != nil {
			signs = f.Failure.Error
			do = append(do, "or, if that document is not one of yours, remove it; then to look again: keepkey renew --name "+name)
		}
		p.Subject = "the state directory is from an old backup: " + signs
		return p.say("nothing is changed; the key that is served now may be one that clients do not accept", do...)
	case plan.StateUnreadable:
		p.Severity = Critical
		p.Subject = fmt.Sprintf("the state can't be used: %v", f.Err)
		var newer *plan.NewerSchemaError
		if errors.As(f.Err, &newer) {
			return p.say("nothing was done; " + servedOn)
		}
		return p.say("nothing was done; "+servedOn, "restore it from a backup")
	case plan.StateUnwritten:
		p.Subject = fmt.Sprintf("this run stopped: the state could not be written: %v", f.Err)
		return p.say(servedOn, "see that the disk has room and can be written; the next run goes on from here")
	case plan.LedgerDamaged:
		p.Subject = fmt.Sprintf("the ledger is damaged: %v", f.Err)
		return p.say(renewsOn+"; nothing is published and no key is switched until it is whole", mendLedger(name)...)
	case plan.LiveForeign:
		p.Subject = fmt.Sprint(f.Err)
		return p.say("it is left alone", "if it is not yours, remove it; the next run makes it anew")
	}
	return false
}

// lostKeys words what is wrong with keys.
func lostKeys(p *Problem, name string, f plan.Finding) bool {
	switch f.Code {
	case plan.KeyMissing:
		p.Severity = Critical
		p.Subject = fmt.Sprintf("the active key can't be used: %v", f.Err)
		do := []string{"restore the key file from a backup"}
		switch {
		case f.CanRotate && f.Gate.Open:
			do = append(do, "if there is no backup of it, let the backup key take over: keepkey rotate --name "+name)
		case f.CanRotate:
			g := GateOf(name, f.Gate)
			do = append(do, "if there is no backup of it, let the backup key take over, for which the gate is "+g.Text)
			do = append(do, g.Do...)
			do = append(do, "if that can't wait, whoever is locked out by it: keepkey rotate --compromised --key active --accept-breakage --name "+name)
		}
		return p.say("no new key takes its place; "+servedOn, do...)
	case plan.BackupMissing:
		p.Subject = fmt.Sprintf("a backup key can't be used: %v", f.Err)
		return p.say(renewsOn+"; another backup key takes its place", "restore the key file from a backup; if nobody does, it is written off")
	case plan.KeyTypeDiffers:
		p.Severity = Info
		p.Subject = fmt.Sprintf("the backup key %s is of type %s, and the configuration asks for another: that is for the backup keys made from now on", f.Pin, f.KeyType)
		return true
	}
	return false
}

// publishing words what keeps a pin set from its clients.
func publishing(p *Problem, name string, f plan.Finding) bool {
	switch f.Code {
	case plan.PublicationFailing:
		p.Subject = fmt.Sprintf("version %d of the pin set is not out on channel %s: %s", f.Version, f.Channel, failure(f))
		return p.say(renewsOn+"; no key is switched until it is out", triesNext+name)
	case plan.PublicationUnseen:
		p.Subject = fmt.Sprintf("version %d of the pin set was published on channel %s, but clients do not get it there: %s", f.Version, f.Channel, failure(f))
		return p.say(renewsOn+"; it is not confirmed, and no key is switched until it is",
			"see what is there and what the publish hooks did; the next look is at "+Time(f.Failure.Next))
	case plan.ChannelRemoved:
		p.Subject = fmt.Sprintf("channel %s is not configured any more, but clients may still be enforcing version %d of its pin set", f.Channel, f.Version)
		return p.say(renewsOn+", and the gate still counts it", "put the channel back into the configuration",
			fmt.Sprintf("or, if no client enforces it: keepkey channel retire --name %s --channel %s --version %d", name, f.Channel, f.Version))
	case plan.PlaceRemoved:
		p.Subject = fmt.Sprintf("channel %s is not published to %s any more, but clients may get version %d of its pin set there", f.Channel, names(f.Places), f.Version)
		return p.say(renewsOn+", and the gate counts it", "put the hook back into the configuration",
			fmt.Sprintf("or, if clients get nothing there any more: keepkey channel retire --name %s --channel %s --place %s", name, f.Channel, f.Places[0].ID))
	case plan.ClockWrong:
		text := fmt.Sprint(f.Err)
		if f.Failure != nil {
			text = f.Failure.Error
		}
		p.Subject = text
		return p.say(renewsOn+"; nothing is published or confirmed, and no key is switched, by a wrong clock", "set this machine's clock right",
			"if it is a private CA's clock that is wrong, set that right, or give its acme section ignore_clock: true")
	}
	return false
}

// outThere words what a look found.
func outThere(p *Problem, name string, f plan.Finding) bool {
	text := "a file to which channel " + f.Channel + " publishes does not hold what was published there"
	if f.Failure != nil {
		text = fmt.Sprintf("channel %s: %s", f.Channel, f.Failure.Error)
	}
	again := "to look again: keepkey renew --name " + name
	switch f.Code {
	case plan.PublicationNewer:
		p.Severity = Critical
		p.Subject = text
		return p.say(renewsOn+"; nothing is published and no key is switched until this is settled",
			"if the state directory was restored from an old backup, restore the newest one", goOn+name,
			"if that document is not one of yours, remove it; then "+again)
	case plan.PublicationForeign:
		p.Severity = Critical
		p.Subject = text
		return p.say(renewsOn+"; nothing is published there and no key is switched until this is settled",
			"see that two certificates do not publish to one place; then "+again)
	case plan.PublicationBack:
		p.Subject = text + "; clients may have it, so it counts from now on"
		return p.say(renewsOn+"; the newest is published again", "see what put the old one there", again)
	case plan.PublicationChanged:
		p.Subject = text
		if f.Failure != nil {
			p.Subject += "; clients may have it, so it counts from now on"
		}
		return p.say(renewsOn+"; the newest is published again", "see what changed it", again)
	case plan.PublicationGone:
		p.Subject = text
		return p.say(renewsOn+"; it is published again", "see what removed it", again)
	case plan.PlaceUnreadable:
		p.Subject = text
		return p.say(renewsOn+"; no key is switched until it can be read", again)
	}
	return false
}

// serving words what stands between a certificate and its clients.
func serving(p *Problem, name string, f plan.Finding) bool {
	switch f.Code {
	case plan.CertificateExpired:
		p.Severity = Critical
		p.Subject = fmt.Sprintf("the certificate that is installed (version %d) expired at %s", f.Version, Time(f.Time))
		return p.say("the keys and pins are unharmed", "to renew it now: keepkey renew --name "+name+" --force")
	case plan.LiveUnreadable:
		p.Severity = Critical
		p.Subject = fmt.Sprintf("what is live can't be read by those who should, or by others, too: %v", f.Err)
		return p.say("servers keep what they have loaded", "every run mends what it may; to try now: keepkey renew --name "+name)
	case plan.RenewalOverdue:
		p.Subject = fmt.Sprintf("the certificate was due for renewal at %s, and nothing tried: does the timer run?", Time(f.Time))
		return p.say(servedOn+"; it expires at "+Time(f.Expires), "renew it now: keepkey renew --name "+name)
	case plan.InstallFailing:
		p.Severity = Critical
		p.Subject = fmt.Sprintf("certificate version %d can't be installed: %s", f.Version, failure(f))
		return p.say(servedOn, triesNext+name)
	case plan.DeployFailing:
		p.Severity = Critical
		p.Subject = fmt.Sprintf("certificate version %d is installed, but a deploy hook failed: %s", f.Version, failure(f))
		return p.say("the server keeps the certificate that it has loaded", triesNext+name)
	case plan.ServedKeyWrong:
		p.Severity = Critical
		p.Subject = "the key served at " + f.Target + " is not the active one: " + failure(f)
		return p.say("no pin leaves the pin set before the active key is served", "see that the server was reloaded and reads the live directory", triesNext+name)
	case plan.ServedKeyUnknown:
		p.Severity = Critical
		p.Subject = f.Target + " served the active key before, and now another: " + failure(f)
		return p.say("nothing is changed, since clients may know that key and not the active one", "if the state directory was restored from an old backup, restore the newest one", goOn+name,
			"if that is another server, take "+f.Target+" out of check in the configuration", "to look again: keepkey renew --name "+name)
	case plan.ServedCertificateOld:
		p.Subject = f.Target + " does not serve the newest certificate: " + failure(f)
		return p.say("the key is the right one; clients go on until that certificate expires", "see that the server was reloaded and reads the live directory", triesNext+name)
	case plan.ServerUnreachable:
		p.Subject = "nobody can tell which key is served at " + f.Target + ": " + failure(f)
		return p.say("no pin leaves the pin set before the active key is served", "see that the server runs and can be reached from here", triesNext+name)
	case plan.RevocationFailing:
		p.Subject = fmt.Sprintf("certificate version %d (serial %s), whose key is compromised, is not revoked: %s", f.Version, f.Target, failure(f))
		return p.say("the compromised key is no longer served or published", triesNext+name)
	}
	return false
}

// putOff words why the CA is not even asked.
func putOff(p *Problem, name string, f plan.Finding) bool {
	if f.Failure != nil || (f.Code != plan.CAUnreachable && f.Code != plan.CAPaused) {
		return false
	}
	safe := servedUntil(f.Expires, time.Time{})
	if f.Code == plan.CAPaused {
		p.Subject = "put off, since the CA asks to be left alone: " + f.Reason
		return p.say(safe, "nothing: it goes on by itself after "+Time(f.Time))
	}
	p.Subject = "put off, since the CA is unavailable: " + f.Reason
	return p.say(safe, "see that the CA can be reached; "+triesNext+name)
}

// servedUntil says what clients get while there is no new certificate. now is zero where
// it does not matter.
func servedUntil(expires, now time.Time) string {
	switch {
	case expires.IsZero():
		return ""
	case now.After(expires):
		return "the keys and pins are unharmed"
	}
	return servedOn + "; it expires at " + Time(expires)
}

// ForMany words a problem with a CA for all certificates that have it: p is that of one
// of them, and expires is when the first of them does.
func ForMany(p Problem, expires time.Time) Problem {
	p.Safe = ""
	if !expires.IsZero() {
		p.Safe = "their servers keep the certificates and keys that they have; the first of these expires at " + Time(expires)
	}
	p.Do = []string{"see that the CA can be reached; later runs try again by themselves"}
	if p.Code == plan.CAPaused {
		p.Do = []string{"nothing: later runs try again by themselves, once the CA may be asked"}
	}
	return p
}

// issuing words what keeps a certificate from being obtained.
func issuing(p *Problem, name string, f plan.Finding) bool {
	if f.Failure == nil {
		return false
	}
	what := "no certificate was obtained"
	safe := servedUntil(f.Expires, f.Failure.Last)
	retry := fmt.Sprintf("the next attempt is due at %s, or at once with: keepkey renew --name %s", Time(f.Failure.Next), name)
	if f.Forced {
		retry += " --force"
	}
	switch {
	case f.Action == plan.SwitchKey && f.Compromised:
		what = "the compromised key is not replaced yet"
		safe = ""
		p.Severity = Critical
		retry = fmt.Sprintf("the next attempt is due at %s, or at once with: keepkey rotate --compromised --name %s", Time(f.Failure.Next), name)
	case f.Action == plan.SwitchKey:
		what = "the key is not switched: no certificate was obtained for the backup key"
		safe = "the active key stays in use, and is renewed"
		retry = fmt.Sprintf("the next attempt is due at %s, or at once with: keepkey rotate --name %s", Time(f.Failure.Next), name)
	}
	switch f.Code {
	case plan.IssuanceFailing, plan.SwitchFailing:
		p.Subject = what + ": " + failure(f)
		return p.say(safe, retry)
	case plan.CAUnreachable:
		p.Subject = what + ": the CA is unavailable: " + failure(f)
		return p.say(safe, retry)
	case plan.CAPaused:
		p.Subject = what + ": the CA asks to be left alone: " + failure(f)
		return p.say(safe, "the next attempt is due at "+Time(f.Failure.Next)+"; asking before makes it longer")
	case plan.GateClosed:
		p.Subject = what + ": " + failure(f)
		return p.say(safe, retry)
	case plan.ActionFailing:
		p.Subject = fmt.Sprintf("%s failed: %s", f.Action, failure(f))
		return p.say(servedOn, triesNext+name)
	}
	return false
}

// forgetHint says what to do about a host that will never be ready.
func forgetHint(name string, f plan.Finding) []string {
	if f.Target == "" {
		return nil
	}
	return []string{"if that host is gone for good: keepkey host forget --name " + name + " --host " + f.Target}
}

// waiting words what a rollover waits for.
func waiting(p *Problem, name string, f plan.Finding) bool {
	p.Severity = Info
	hosts := strings.Join(f.Hosts, ", ")
	switch f.Code {
	case plan.SuccessorMissing:
		p.Subject = fmt.Sprintf("the rollover waits: the key that should take over (%s) can't be used", f.Pin)
		if f.Err != nil {
			p.Severity = Warning
			p.Subject = fmt.Sprintf("the key that should take over can't be used: %v", f.Err)
			p.Safe = "nothing was changed"
		}
		p.Do = []string{"restore its file from a backup"}
		switch {
		case f.Compromised:
			p.Do = append(p.Do, "or have another key take over: keepkey rotate --compromised --name "+name)
		case f.CanRotate:
			p.Do = append(p.Do, "or call this rollover off: keepkey rotate --undo --name "+name, "and have another key take over: keepkey rotate --name "+name)
		}
	case plan.BackupsAwaited:
		p.Subject = "the rollover waits until the next backup key is there"
	case plan.LedgerAwaited:
		p.Subject = "the rollover waits until the ledger is whole"
	case plan.PublicationAwaited:
		p.Subject = fmt.Sprintf("the rollover waits until version %d of the pin set is out on channel %s", f.Version, f.Channel)
	case plan.RolloverWaits:
		g := GateOf(name, f.Gate)
		p.Subject = "the rollover waits for the gate, which is " + g.Text
		p.Do = g.Do
		if f.Compromised {
			p.Do = append(p.Do, "to lock these clients out all the same: keepkey rotate --compromised --accept-breakage --name "+name)
		}
	case plan.OldPinKept:
		p.Subject = "the old key's pin stays in the pin set until the new key is deployed and seen to be served by: " + hosts
		p.Do = forgetHint(name, f)
	case plan.CompromisedPinKept:
		p.Subject = "the compromised key's pin leaves the pin set once the new key is deployed by: " + hosts
		p.Do = forgetHint(name, f)
		if !f.Time.IsZero() {
			p.Subject += ", at " + Time(f.Time) + " at the latest"
		}
		p.Do = append(p.Do, "to wait no longer: keepkey rotate --compromised --now --name "+name)
	case plan.GateClosed:
		p.Severity = Warning
		g := GateOf(name, f.Gate)
		p.Subject = "the key is not switched, since the gate is " + g.Text
		if f.Gate.Shut == plan.LedgerDamaged {
			return p.say("nothing was changed; the active key stays in use", g.Do...)
		}
		p.Safe = "nothing was changed; the active key stays in use"
		p.Do = g.Do
		if f.Compromised {
			p.Severity = Critical
			p.Subject = "the key is not switched, since clients would be locked out: the gate is " + g.Text
			p.Safe = "nothing was changed; the compromised key is still served"
			p.Do = append(p.Do, "to switch all the same, add --accept-breakage")
			return true
		}
		if f.Gate.Shut == "" {
			p.Do = append(p.Do, "to have it happen by itself when the gate opens, add --when-open")
		}
	default:
		p.Severity = Warning
		return false
	}
	return true
}

// failure tells how often something failed, and how at last.
func failure(f plan.Finding) string {
	if f.Failure == nil {
		return "unknown"
	}
	switch {
	case f.Failure.Count < 2 && f.Earlier:
		return fmt.Sprintf("%s (tried at %s)", f.Failure.Error, Time(f.Failure.Last))
	case f.Failure.Count < 2:
		return f.Failure.Error
	}
	return fmt.Sprintf("%s (attempt %d since %s, the last at %s)", f.Failure.Error, f.Failure.Count, Time(f.Failure.First), Time(f.Failure.Last))
}
