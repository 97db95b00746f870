package plan

import (
	"slices"
	"strings"
	"time"

	"keepkey/pinset"
)

// Code names a kind of finding. The tokens are stable: monitors and scripts match
// them.
type Code string

// What can be wrong.
const (
	StateMissing       Code = "state-missing"       // keys or certificates are there, and no state
	KeysElsewhere      Code = "keys-elsewhere"      // clients may know other keys: Signs; Lineages: whose they may be
	LineageLeft        Code = "lineage-left"        // the configuration does not name it
	StateOutdated      Code = "state-outdated"      // from an old backup: Signs, or Failure of a look
	LiveForeign        Code = "live-foreign"        // live/ is not what keepkey made: Err
	LiveUnreadable     Code = "live-unreadable"     // others can read live/ than should: Err
	KeyMissing         Code = "key-missing"         // the active key is unusable: Pin, Err
	BackupMissing      Code = "backup-missing"      // a backup key is unusable: Pin, Err
	LedgerDamaged      Code = "ledger-damaged"      // Err
	ChannelRemoved     Code = "channel-removed"     // Channel, Version
	PlaceRemoved       Code = "place-removed"       // Channel, Version, Places
	PublicationFailing Code = "publication-failing" // Channel, Version, Failure
	PublicationUnseen  Code = "publication-unseen"  // Channel, Version, Failure
	// What a look found out there: Channel, Failure.
	PublicationNewer   Code = "publication-newer"   // a version that the ledger does not know
	PublicationBack    Code = "publication-back"    // an older version has come back
	PublicationChanged Code = "publication-changed" // something else than was published; no Failure: not looked into yet
	PublicationGone    Code = "publication-gone"    // nothing
	PublicationForeign Code = "publication-foreign" // another lineage's pin set
	PlaceUnreadable    Code = "place-unreadable"    // nobody can tell
	DeployFailing      Code = "deploy-failing"      // Target, Failure
	InstallFailing     Code = "install-failing"     // Failure
	ServedKeyWrong     Code = "served-key-wrong"    // Target, Failure
	ServedKeyUnknown   Code = "served-key-unknown"  // Target, Failure
	// ServedCertificateOld: the right key, with an older certificate: Target, Failure.
	ServedCertificateOld Code = "served-certificate-old"
	ServerUnreachable    Code = "server-unreachable"  // an address to check: Target, Failure
	IssuanceFailing      Code = "issuance-failing"    // Failure
	RenewalOverdue       Code = "renewal-overdue"     // nothing ran: Time: when it was due
	SwitchFailing        Code = "switch-failing"      // Failure
	RevocationFailing    Code = "revocation-failing"  // Target: the serial; Failure
	ActionFailing        Code = "action-failing"      // any other: Action, Failure
	CAUnreachable        Code = "ca-unreachable"      // Failure
	CAPaused             Code = "ca-paused"           // it asked to be left alone: Failure
	ClockWrong           Code = "clock-wrong"         // Failure, or Time: what is on record
	CertificateExpired   Code = "certificate-expired" // Version, Time
	GateClosed           Code = "gate-closed"         // Gate
	ChannelsMissing      Code = "channels-missing"    // nobody knows who pins
	ReportsDamaged       Code = "reports-damaged"     // Err
	// What no action is to blame for, in one run.
	StateUnreadable Code = "state-unreadable" // Err
	StateUnwritten  Code = "state-unwritten"  // Err
	Interrupted     Code = "interrupted"      // Action
	Endless         Code = "endless"          // a bug
	BrokeDown       Code = "broke-down"       // a bug: Reason
	// What is wrong with keepkey as a whole, and no lineage's.
	ConfigurationInvalid Code = "configuration-invalid" // read again by a daemon: Err
	NotificationFailing  Code = "notification-failing"  // Target: the hook's ID; Failure
)

// What clients report: Reports. The first two are about one group each: Target: its ID.
const (
	ReportedInUse         Code = "reported-in-use"         // nobody should hold the pin set any more: Channel, Version, Time, Retired; Pins: those refused
	ReportedLockedOut     Code = "reported-locked-out"     // they refuse a key of ours that was served: Channel, Version, Pins
	ReportedInterception  Code = "reported-interception"   // a key that is none of ours was served: Pins
	ReportedUnknownPins   Code = "reported-unknown-pins"   // they hold a pin set that keepkey never published
	ReportedBackupMissing Code = "reported-backup-missing" // such a pin set has the active key's pin and lacks the backup key's: Pins: that
	ReportedNoFailure     Code = "reported-no-failure"     // the pins were right: only worth knowing
)

// What a check of what is out there finds besides; see [JudgeServer]. Target: the server; Reason.
// What both it and a look can find has a Failure of the look, or the Reason of a check.
const (
	ServerUnroutable         Code = "server-unroutable"          // this machine has no way there
	ServedCertificateInvalid Code = "served-certificate-invalid" // it has expired, or is not valid yet
	ServedCertificateEnding  Code = "served-certificate-ending"  // Expires, Urgent
	ServedNameMissing        Code = "served-name-missing"        // it is for other names
	ServedChainBroken        Code = "served-chain-broken"        // clients can't verify it
	StapleWrong              Code = "staple-wrong"               // Urgent: it says that the certificate is revoked
	TLSAWrong                Code = "tlsa-wrong"                 // Pins: those that there should be records of
	TLSAUnknown              Code = "tlsa-unknown"               // nobody can tell
	NothingToLookAt          Code = "nothing-to-look-at"         // there is no address of a server
)

// Why something that a person asked for is refused.
const (
	TooFewKeys       Code = "too-few-keys"        // there are not two keys that clients may accept
	NothingYet       Code = "nothing-yet"         // there is no certificate with a backup key
	RolloverNotOver  Code = "rollover-not-over"   // Time: of the switch
	NothingToUndo    Code = "nothing-to-undo"     //
	NoWayBack        Code = "no-way-back"         // to a compromised key
	NoSuccessor      Code = "no-successor"        // no backup key can take over
	NoSuchKey        Code = "no-such-key"         // Pin, or Target: what was asked for
	NothingSeen      Code = "nothing-seen"        // nothing shows what clients know by now; Pins: the keys that there are
	NoKeyAccepted    Code = "no-key-accepted"     // no key of the lineage is in what clients get; Pins: those that there are
	ServedKeyNotHere Code = "served-key-not-here" // Target, Pin; Pins: those that there are
	NothingToAdopt   Code = "nothing-to-adopt"    // what is out there is on record
	WhichKey         Code = "which-key"           // Pins: the active one, and the one before
	NothingPublished Code = "nothing-published"   // Channel: "" for none at all
	NoSuchVersion    Code = "no-such-version"     // Channel, Version; Versions: those there are
	NewestVersion    Code = "newest-version"      // Channel, Version
	NewestOut        Code = "newest-out"          // Channel, Version; Versions: the newer one, which is not out
	NotManual        Code = "not-manual"          // Channel, Version: no person confirms on this channel
	NoSuchPlace      Code = "no-such-place"       // Channel, Target; Places: those there are
	PlaceInUse       Code = "place-in-use"        // Channel, Target, Places
	LedgerWhole      Code = "ledger-whole"        //
	NoSuchHost       Code = "no-such-host"        // Target: its ID; Hosts: those there are
	ThisHost         Code = "this-host"           // Target: its ID
	NoSuchReport     Code = "no-such-report"      // Target: its ID
	ReportsWhole     Code = "reports-whole"       //
	// Why a lineage is not dropped.
	LineageConfigured Code = "lineage-configured"
	PinSetsEnforced   Code = "pin-sets-enforced" // Gate
)

// What is only worth knowing.
const (
	KeyTypeDiffers     Code = "key-type-differs"    // Pin, KeyType: the backup key's
	RolloverWaits      Code = "rollover-waits"      // for Waits
	OldPinKept         Code = "old-pin-kept"        // until Hosts serve the new key
	CompromisedPinKept Code = "compromised-pinned"  // until Hosts serve the new key
	SuccessorMissing   Code = "successor-missing"   // the key that should take over: Pin
	BackupsAwaited     Code = "backups-awaited"     // before a compromised key is replaced
	PublicationAwaited Code = "publication-awaited" // Channel, Version
	LedgerAwaited      Code = "ledger-awaited"      // the ledger is not whole
)

// Finding is something that a person should know. It is data: package status puts it
// into words.
type Finding struct {
	Code Code
	// Blocks says that nothing is done for the lineage until it is mended.
	Blocks bool

	Pin         pinset.Pin
	KeyType     pinset.KeyType
	Channel     string
	Version     int
	Target      string
	Action      Kind
	Pins        []pinset.Pin
	Hosts       []string
	Versions    []int
	Places      []pinset.Place
	Signs       []string
	Lineages    []string
	Err         error
	Reason      string
	Failure     *Failure
	Forced      bool // what failed was not due, and done by force
	Earlier     bool // the failure is an earlier run's: this one did not try
	Time        time.Time
	Gate        Verdict
	Compromised bool // the rollover in question is of a compromised key
	Retired     bool // a person said that no client carries the pin set
	Older       bool // it is about a certificate before the newest
	// CanRotate says that a backup key is there that could take over.
	CanRotate bool
	Expires   time.Time // of the certificate that stays in use meanwhile
	// Late says that less than a third of that certificate's lifetime is left, and Urgent that
	// less than a sixth is.
	Late, Urgent bool
	Reports      ReportSum
}

// Key tells the findings of a lineage apart: it is the same for as long as one lasts, however
// its words and figures change. What keeps an action from succeeding is one finding, whatever
// the reason is at the moment.
func (f Finding) Key() string {
	parts := []string{string(f.Code), f.Channel, f.Target}
	if f.Code == ClockWrong {
		return string(f.Code) // whichever actions it keeps from succeeding
	}
	if (f.Failure != nil && f.Action != "") || f.Code == CAUnreachable || f.Code == CAPaused {
		parts[0] = string(f.Action)
	}
	if !f.Pin.IsZero() {
		parts = append(parts, f.Pin.Hex()[:16])
	}
	for _, p := range f.Places {
		parts = append(parts, p.ID)
	}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " ")
}

// Refusal says why something that a person asked for is not done. Nothing was changed.
type Refusal struct {
	Lineage string
	Finding Finding
}

func (e *Refusal) Error() string { return e.Lineage + ": refused: " + string(e.Finding.Code) }

func refuse(lineage string, f Finding) error { return &Refusal{Lineage: lineage, Finding: f} }

// failing are the findings for actions that keep failing.
var failing = map[Kind]Code{
	Publish: PublicationFailing, ReadBack: PublicationUnseen, Deploy: DeployFailing, Install: InstallFailing,
	Check: ServedKeyWrong, Look: PublicationChanged, Obtain: IssuanceFailing, SwitchKey: SwitchFailing, Revoke: RevocationFailing, Collect: RevocationFailing,
}
