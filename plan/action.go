package plan

import (
	"strconv"
	"strings"
	"time"

	"keepkey/pinset"
)

// Kind is what an action does. The tokens are stable: scripts match them.
type Kind string

// The actions that [Next] plans.
const (
	BeginLineage  Kind = "begin-lineage"
	GenerateKey   Kind = "generate-key"
	Publish       Kind = "publish"
	ReadBack      Kind = "read-back"
	Install       Kind = "install"
	Deploy        Kind = "deploy"
	Check         Kind = "check"
	AskWindow     Kind = "ask-window"
	Obtain        Kind = "obtain"
	SwitchKey     Kind = "switch-key"
	RetirePin     Kind = "retire-pin"
	Abandon       Kind = "abandon"
	Revoke        Kind = "revoke"
	BeginRollover Kind = "begin-rollover"
	Prune         Kind = "prune"
	Look          Kind = "look"
	WriteOff      Kind = "write-off"
	Collect       Kind = "collect"
)

// The actions that only a person asks for.
const (
	Undo              Kind = "undo"
	DeclareCompromise Kind = "declare-compromise"
	Confirm           Kind = "confirm"
	Retire            Kind = "retire"
	ClosePlace        Kind = "close-place"
	ForgetHost        Kind = "forget-host"
	AdoptChannel      Kind = "adopt-channel"
	AdoptKey          Kind = "adopt-key"
	DismissReport     Kind = "dismiss-report"
	RestartReports    Kind = "restart-reports"
	RestartLedger     Kind = "restart-ledger" // in the journal alone
)

// Upkeep reports whether actions of the kind are not worth telling anybody of.
func (k Kind) Upkeep() bool { return k == AskWindow || k == Prune || k == Look }

// Action is one step: towards what the configuration asks for, or one that a
// person asked for.
type Action struct {
	Kind Kind
	At   time.Time // the earliest time; not after now means now
	Why  Why

	Role    Role           // generate-key
	KeyType pinset.KeyType // generate-key, adopt-key
	// Pin is the key that takes over (begin-rollover, declare-compromise), that is lost
	// (write-off), whose order is under way (collect), or that is the active one out there
	// (adopt-channel, adopt-key).
	Pin     pinset.Pin
	Channel string     // publish, read-back, look, abandon, confirm, retire
	PinSet  pinset.Set // publish, read-back
	// Version is the certificate's with install, deploy, check, revoke, prune and adopt-key,
	// and the pin set's with abandon, confirm, retire and adopt-channel. With switch-key it is that of the
	// stored certificate that is used again, where there is one.
	Version int
	// Target is the lineage's name with begin-lineage, a hook's ID with deploy, an
	// address with check and look, a serial with revoke, a place's ID with close-place.
	Target string
	Host   string // install, deploy, check, look (with Target), prune, forget-host

	Early  bool         // obtain: see [Certificate.Early]
	Keys   []pinset.Pin // declare-compromise: those that others may have; none for the active one
	Accept bool         // declare-compromise: clients may be locked out
	// Entries is how long the ledger is: declare-compromise.
	Entries int
	Now     bool // declare-compromise: wait for no host

	// Of a publication: whether its intent is in the ledger already, whether all hooks
	// have to run again, whether keepkey itself confirms it once they succeeded, and what
	// goes on record.
	Intended, Again, Confirms bool
	By                        Confirmation
	Clients                   pinset.Clients
	Expires                   time.Time      // zero: it does not
	Places                    []pinset.Place // those that are not on record yet
}

// ID identifies the action within a run.
func (a Action) ID() string {
	version := ""
	switch a.Kind {
	case Abandon, Prune:
		version = strconv.Itoa(a.Version)
	case WriteOff, Collect:
		version = a.Pin.Hex()
	}
	return strings.Join([]string{string(a.Kind), string(a.Role), a.Channel, a.Target, version}, "\x00")
}

// AsksCA reports whether the action needs the CA.
func (a Action) AsksCA() bool {
	return a.Kind == Obtain || (a.Kind == SwitchKey && a.Version == 0) || a.Kind == Revoke || a.Kind == Collect || a.Kind == AskWindow
}

// purpose is what failures of the action are counted under. Each purpose has its own
// back-off, so that none starves another.
func (a Action) purpose() string {
	var b strings.Builder
	b.WriteString(string(a.Kind))
	for _, s := range []string{string(a.Role), a.Channel, a.Target} {
		if s != "" {
			b.WriteString(" " + s)
		}
	}
	return b.String()
}

// WhyCode is the reason for an action. The tokens are stable: scripts match them.
type WhyCode string

// The reasons there are.
const (
	WhyNewLineage         WhyCode = "new-lineage"
	WhyNoActiveKey        WhyCode = "no-active-key"
	WhyTooFewBackups      WhyCode = "too-few-backups" // Have, Want
	WhyNeverPublished     WhyCode = "never-published"
	WhyOutdatedPinSet     WhyCode = "outdated-pin-set" // Have: the version that is out
	WhyHookAdded          WhyCode = "hook-added"
	WhyUnfinished         WhyCode = "publication-unfinished" // Have: the version
	WhyOtherConfirmation  WhyCode = "other-confirmation"     // what makes it count as out was changed
	WhyNotReadBack        WhyCode = "not-read-back"
	WhyNothingInstalled   WhyCode = "nothing-installed"
	WhyNewerCertificate   WhyCode = "newer-certificate"
	WhyNotDeployed        WhyCode = "not-deployed"
	WhyNotChecked         WhyCode = "not-checked"
	WhyWindowUnknown      WhyCode = "window-unknown"
	WhyForced             WhyCode = "forced"
	WhyFirstCertificate   WhyCode = "first-certificate"
	WhyOrderPending       WhyCode = "order-pending"
	WhyStoredUnusable     WhyCode = "stored-unusable" // Err
	WhyOtherNames         WhyCode = "other-names"
	WhyOtherCA            WhyCode = "other-ca"
	WhyThirdLeft          WhyCode = "third-left" // Expires
	WhyHalfLeft           WhyCode = "half-left"  // Expires
	WhyWindow             WhyCode = "ca-window"  // Start, End
	WhyWindowAgain        WhyCode = "ca-window-again"
	WhyRetry              WhyCode = "retry"          // Have: the attempts that failed
	WhyRolloverAsked      WhyCode = "rollover-asked" // Asked; Gate where it is closed
	WhySchedule           WhyCode = "schedule"       // Every
	WhyCompromiseDeclared WhyCode = "compromise-declared"
	WhyKeyCompromised     WhyCode = "key-compromised"
	WhyUndoPossible       WhyCode = "undo-possible" // until then
	WhyBreakageAccepted   WhyCode = "breakage-accepted"
	WhyOldCertificate     WhyCode = "old-certificate"
	WhyOutThere           WhyCode = "out-there" // to see what clients get
	WhyKeyLost            WhyCode = "key-lost"
)

// Why is a reason with what it is about.
type Why struct {
	Code       WhyCode
	Have, Want int
	Asked      time.Time // by a person or the schedule
	Expires    time.Time
	Start, End time.Time
	Every      time.Duration
	Err        error
	Gate       Verdict
}
