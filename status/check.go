package status

import (
	"fmt"
	"slices"
	"time"

	"keepkey/pinset"
	"keepkey/plan"
)

// Check is what was found out there of one lineage.
type Check struct {
	Name     string           `json:"name"`
	Domains  []string         `json:"domains"`
	Status   Level            `json:"status"`
	DaysLeft *int             `json:"days_left"` // of what is served with the active key, the least
	Servers  []CheckedServer  `json:"servers"`
	Channels []CheckedChannel `json:"channels"`
	Problems []Problem        `json:"problems"` // what is not about a server or a channel

	performance string
}

// CheckedServer is what the server at one IP of an address presents.
type CheckedServer struct {
	Address    string       `json:"address"`      // as configured
	IP         string       `json:"ip,omitempty"` // absent where it is not known
	ServerName string       `json:"server_name"`  // the domain that it was asked for
	Status     Level        `json:"status"`
	Pin        pinset.Pin   `json:"pin,omitzero"`
	Serial     string       `json:"serial,omitempty"`
	Version    int          `json:"version,omitempty"` // of the certificate, if it is on record
	NotAfter   time.Time    `json:"not_after,omitzero"`
	Staple     *StapleCheck `json:"staple,omitempty"`
	TLSA       *TLSACheck   `json:"tlsa,omitempty"`
	Problems   []Problem    `json:"problems"`

	left time.Duration // until NotAfter
}

// StapleCheck is what a server presents of its certificate's revocation.
type StapleCheck struct {
	Good  bool      `json:"good"`
	Until time.Time `json:"until,omitzero"`
}

// TLSACheck counts the TLSA records of an address.
type TLSACheck struct {
	Records  int `json:"records"`
	Matching int `json:"matching"` // are for what is served
}

// CheckedChannel is what clients of a channel get.
type CheckedChannel struct {
	Name     string    `json:"name"`
	Status   Level     `json:"status"`
	Version  int       `json:"version,omitempty"` // the newest that was published
	Problems []Problem `json:"problems"`
}

// CheckOf puts what was found out there into words.
func CheckOf(in plan.Input, found plan.Checked) Check {
	c := Check{Name: in.Goal.Name, Domains: in.Goal.Domains, Status: LevelOK, Servers: []CheckedServer{}, Channels: []CheckedChannel{}, Problems: []Problem{}}
	if in.State.Certificate == nil {
		blocked := slices.DeleteFunc(plan.Next(in).Problems, func(f plan.Finding) bool { return !f.Blocks })
		return c.unknown(append(blocked, plan.Finding{Code: plan.NothingYet})[0])
	}
	var closest plan.Server // the one whose certificate ends first
	for _, s := range found.Servers {
		server := checkedServer(in, s)
		c.Servers, c.Status = append(c.Servers, server), worse(c.Status, server.Status)
		if server.Pin == in.State.Certificate.Pin && (len(closest.Chain) == 0 || s.Chain[0].NotAfter.Before(closest.Chain[0].NotAfter)) {
			closest = s
		}
	}
	for _, s := range found.Channels {
		channel := checkedChannel(in, s)
		c.Channels, c.Status = append(c.Channels, channel), worse(c.Status, channel.Status)
	}
	if err := in.Disk.LedgerProblem; err != nil {
		c.Problems = append(c.Problems, ProblemOf(c.Name, plan.Finding{Code: plan.LedgerDamaged, Err: err}))
		c.Status = worse(c.Status, LevelWarning)
	}
	if !slices.ContainsFunc(c.Servers, func(s CheckedServer) bool { return s.Status != LevelSkipped }) {
		return c.unknown(plan.Finding{Code: plan.NothingToLookAt})
	}
	c.setLeft(in, closest)
	return c
}

// Unchecked is the check of a lineage for which there is nothing to compare with.
func Unchecked(name string, domains []string, f plan.Finding) Check {
	return Check{Name: name, Domains: domains, Servers: []CheckedServer{}, Channels: []CheckedChannel{}, Problems: []Problem{}}.unknown(f)
}

// unknown says why nobody can tell how it is.
func (c Check) unknown(f plan.Finding) Check {
	p := ProblemOf(c.Name, f)
	if words, ok := looked(c.Name, f, true); ok {
		p = words
	}
	c.Problems = append(c.Problems, p)
	c.Status = worse(c.Status, LevelUnknown)
	c.performance = fmt.Sprintf("'%s'=U", c.Name)
	return c
}

func checkedServer(in plan.Input, s plan.Server) CheckedServer {
	out := CheckedServer{Address: s.Addr, IP: s.IP, ServerName: s.Name, Problems: []Problem{}}
	for _, f := range plan.JudgeServer(in, s) {
		p, _ := looked(in.Goal.Name, f, len(in.Goal.Check) == 0)
		out.Problems = append(out.Problems, p)
	}
	out.Status = levelOf(out.Problems)
	if s.NoRoute {
		out.Status = LevelSkipped
	}
	if len(s.Chain) == 0 {
		return out
	}
	leaf := s.Chain[0]
	out.Pin, out.Serial, out.NotAfter, out.left = pinset.OfCertificate(leaf), plan.Serial(leaf), leaf.NotAfter, leaf.NotAfter.Sub(in.Now)
	out.Version = in.State.Version(out.Serial)
	if st := s.Staple; st != nil {
		wrong := slices.ContainsFunc(out.Problems, func(p Problem) bool { return p.Code == plan.StapleWrong })
		out.Staple = &StapleCheck{Good: !wrong, Until: st.Until}
	}
	if len(s.TLSA) > 0 {
		out.TLSA = &TLSACheck{Records: len(s.TLSA)}
		for _, t := range s.TLSA {
			if t.Matches(s.Chain) {
				out.TLSA.Matching++
			}
		}
	}
	return out
}

func checkedChannel(in plan.Input, s plan.Sighted) CheckedChannel {
	out := CheckedChannel{Name: s.Channel, Problems: []Problem{}}
	if newest, known := in.Ledger.Channel(s.Channel); known {
		out.Version = newest.Version
	}
	for _, m := range s.Found {
		p := ProblemOf(in.Goal.Name, plan.Finding{Code: m.Code, Channel: s.Channel, Failure: &plan.Failure{Error: m.Text}})
		p.Subject = short("channel " + s.Channel + ": " + m.Text) // nothing was put on record
		out.Problems = append(out.Problems, p)
	}
	out.Status = levelOf(out.Problems)
	if !s.Read {
		out.Status = LevelSkipped
	}
	return out
}

// String is a server on one line.
func (s CheckedServer) String() string {
	text := plan.Server{Addr: s.Address, IP: s.IP}.String()
	switch {
	case s.NotAfter.IsZero():
		return text + ": nothing was seen"
	case s.Version > 0:
		text += fmt.Sprintf(": certificate version %d, serial %s", s.Version, s.Serial)
	default:
		text += fmt.Sprintf(": a certificate with serial %s and a key with pin %s", s.Serial, s.Pin)
	}
	text += ", " + Left(s.left)
	if s.Staple != nil && s.Staple.Good {
		text += ", with an OCSP response"
	}
	if s.TLSA != nil {
		text += fmt.Sprintf(", %d of %d TLSA records match", s.TLSA.Matching, s.TLSA.Records)
	}
	return text
}

// String is a channel on one line.
func (c CheckedChannel) String() string {
	text := "channel " + c.Name
	switch {
	case c.Status == LevelSkipped:
		return text + ": nothing of it can be read"
	case c.Version == 0:
		return text + ": nothing was published yet"
	}
	return fmt.Sprintf("%s: version %d of the pin set", text, c.Version)
}
