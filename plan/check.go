package plan

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"keepkey/pinset"
)

// Checked is what was found out there of a lineage.
type Checked struct {
	Servers  []Server
	Channels []Sighted
}

// Server is what was seen at one IP of an address.
type Server struct {
	Addr string // as configured; else a domain with the port of HTTPS
	IP   string // "" where it is not known
	Name string // the domain that was asked for
	// Err says why nothing was seen. NoRoute: since this machine has no way there.
	Err     error
	NoRoute bool
	Chain   []*x509.Certificate // as presented: the server's own first
	// ChainProblem says why a client would not get from the first certificate to its CA.
	ChainProblem error
	Staple       *Staple
	TLSAName     string // where TLSA records for it are
	TLSA         []TLSA
	TLSAProblem  error // nobody can tell whether there are any
}

// Sighted is what was found where a channel can be read.
type Sighted struct {
	Channel string
	Read    bool // there is such a place
	Found   []Meaning
}

// Staple is what a server presents of its certificate's revocation (RFC 6066 section 8).
type Staple struct {
	Problem error     // nobody can use it
	Revoked time.Time // zero unless it says so
	Until   time.Time // when clients stop believing it; zero for never
}

// TLSA says which certificate or key a server has (RFC 6698 section 2.1).
type TLSA struct {
	Usage, Selector, Matching uint8
	Data                      []byte
}

// The usages of TLSA records.
const (
	pkixTA = 0
	daneTA = 2
)

// usable reports whether a client knows what the record means.
func (t TLSA) usable() bool { return t.Usage <= 3 && t.Selector <= 1 && t.Matching <= 2 }

// ofCA reports whether the record is about a CA's certificate, which a server need not send.
func (t TLSA) ofCA() bool { return t.Usage == pkixTA || t.Usage == daneTA }

// Matches reports whether the record is for a chain.
func (t TLSA) Matches(chain []*x509.Certificate) bool {
	switch {
	case !t.usable() || len(chain) == 0:
		return false
	case t.ofCA():
		return slices.ContainsFunc(chain[1:], t.is)
	}
	return t.is(chain[0])
}

func (t TLSA) is(cert *x509.Certificate) bool {
	data := cert.Raw
	if t.Selector == 1 {
		data = cert.RawSubjectPublicKeyInfo
	}
	switch t.Matching {
	case 1:
		sum := sha256.Sum256(data)
		data = sum[:]
	case 2:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return bytes.Equal(data, t.Data)
}

// Serial writes a certificate's serial number as the state has it.
func Serial(cert *x509.Certificate) string { return fmt.Sprintf("%x", cert.SerialNumber) }

// Version returns the version of the lineage's certificate that has a serial number; 0 if
// none is on record, as of one that has expired.
func (s State) Version(serial string) int {
	i := slices.IndexFunc(s.Issued, func(i Issued) bool { return i.Serial == serial })
	if i < 0 {
		return 0
	}
	return s.Issued[i].Version
}

// settling is how long after a switch servers may take for the new key without anybody being
// called: a pool is reloaded one server after the other.
const settling = time.Hour

// Ending says how much of a certificate's validity has to be left: with less than warning its
// renewal is overdue, with less than critical there is not much time to mend that.
func Ending(in Input, cert *x509.Certificate) (warning, critical time.Duration) {
	lifetime := cert.NotAfter.Sub(cert.NotBefore)
	at := ByLifetime(cert.NotBefore, cert.NotAfter)
	if c, w := in.State.Certificate, in.State.Window; c != nil && w != nil && c.Serial == Serial(cert) && w.Serial == c.Serial && w.sane(c) && w.selected(c).After(at) {
		at = w.selected(c) // the CA wants it later
	}
	critical = lifetime / 6
	return max(cert.NotAfter.Sub(at)-lifetime/12, critical), critical // as [planner.overdue] has it
}

// JudgeServer says what is wrong with what a server presents.
func JudgeServer(in Input, s Server) []Finding {
	var all []Finding
	found := func(f Finding, reason string) {
		f.Target, f.Reason = s.String(), reason
		all = append(all, f)
	}
	if s.NoRoute {
		found(Finding{Code: ServerUnroutable}, s.Err.Error())
		return all
	}
	var served pinset.Pin
	var serial string
	if s.Err == nil {
		served, serial = pinset.OfCertificate(s.Chain[0]), Serial(s.Chain[0])
	}
	m := JudgeServed(in, s.Addr, served, serial, s.Err)
	switch m.Code {
	case "":
	case ServedCertificateOld:
		found(Finding{Code: m.Code}, m.Text)
	default:
		f := Finding{Code: m.Code}
		if r := in.State.Rollover; r != nil && r.From == served && !r.Compromised && in.Now.Before(r.Switched.Add(settling)) {
			f.Time = r.Switched
		}
		found(f, m.Text)
		return all // the rest is about a certificate that should not be there
	}
	older := m.Code != ""
	leaf := s.Chain[0]
	left := leaf.NotAfter.Sub(in.Now)
	valid := left >= 0 && !in.Now.Before(leaf.NotBefore)
	switch warning, critical := Ending(in, leaf); {
	case left < 0:
		found(Finding{Code: ServedCertificateInvalid, Older: older}, "it expired at "+leaf.NotAfter.UTC().Format(time.RFC3339))
	case !valid:
		found(Finding{Code: ServedCertificateInvalid, Older: older}, "it begins at "+leaf.NotBefore.UTC().Format(time.RFC3339))
	case left < warning:
		found(Finding{Code: ServedCertificateEnding, Older: older, Expires: leaf.NotAfter, Urgent: left < critical}, "")
	}
	if leaf.VerifyHostname(s.Name) != nil {
		found(Finding{Code: ServedNameMissing, Older: older}, fmt.Sprintf("it is for %.300s, and not for %s", strings.Join(leaf.DNSNames, ", "), s.Name))
	}
	if s.ChainProblem != nil && valid { // else there is none that could be verified
		found(Finding{Code: ServedChainBroken}, s.ChainProblem.Error())
	}
	if wrong, revoked := s.Staple.wrong(in.Now); wrong != "" {
		found(Finding{Code: StapleWrong, Urgent: revoked}, wrong)
	}
	if code, wrong := s.tlsa(); code != "" {
		found(Finding{Code: code, Pins: in.State.Pins()}, wrong)
	}
	return all
}

// String names a server: its address, and its IP where that is another thing to know.
func (s Server) String() string {
	if _, err := netip.ParseAddr(s.IP); err != nil || strings.Contains(s.Addr, s.IP) {
		return s.Addr
	}
	return s.Addr + " at " + s.IP
}

// wrong says what is wrong with a staple, if there is one.
func (s *Staple) wrong(now time.Time) (text string, revoked bool) {
	switch {
	case s == nil:
		return "", false
	case s.Problem != nil:
		return s.Problem.Error(), false
	case !s.Revoked.IsZero():
		return "the CA revoked the certificate at " + s.Revoked.UTC().Format(time.RFC3339), true
	case !s.Until.IsZero() && now.After(s.Until):
		return "it ended at " + s.Until.UTC().Format(time.RFC3339), false
	}
	return "", false
}

// tlsa says whether clients that go by TLSA records accept what is served.
func (s Server) tlsa() (Code, string) {
	usable := slices.DeleteFunc(slices.Clone(s.TLSA), func(t TLSA) bool { return !t.usable() })
	switch {
	case s.TLSAProblem != nil:
		return TLSAUnknown, s.TLSAProblem.Error()
	case len(usable) == 0, slices.ContainsFunc(usable, func(t TLSA) bool { return t.Matches(s.Chain) }):
		return "", ""
	case !slices.ContainsFunc(usable, func(t TLSA) bool { return !t.ofCA() }):
		return TLSAUnknown, fmt.Sprintf("all records of %s are of CAs, whose certificates the server does not send", s.TLSAName)
	}
	return TLSAWrong, fmt.Sprintf("no record of %s is for what is served", s.TLSAName)
}
