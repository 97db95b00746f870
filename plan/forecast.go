package plan

import (
	"encoding/binary"
	"slices"
	"time"

	"keepkey/config"
	"keepkey/pinset"
)

// Forecast plans ahead: the actions that are due, then those that follow when
// each succeeds, then what remains for later. It changes nothing in the input.
// What can't be known in advance, such as the lifetime of a certificate that a CA
// has yet to issue, is not guessed: the forecast ends before it.
func Forecast(in Input) Plan {
	first := Next(in)
	out := Plan{Problems: first.Problems}
	if in.State != nil {
		in.State = in.State.clone()
	}
	tried := make(map[string]bool)
	for id := range in.Tried {
		tried[id] = true
	}
	in.Tried = tried
	for p := first; ; p = Next(in) {
		a, due := p.Due(in.Now)
		if !due {
			out.Actions, out.Notes = append(out.Actions, p.Actions...), p.Notes
			return out
		}
		out.Actions = append(out.Actions, a)
		if a.Kind == Obtain && in.State.Certificate == nil {
			in.Tried[a.ID()] = true // its lifetime is the CA's to choose
		}
		in.succeed(a)
	}
}

// succeed changes the input as if the action had been carried out.
func (in *Input) succeed(a Action) {
	s := in.State
	switch a.Kind {
	case BeginLineage:
		in.State = Begin(in.Config.Name, in.Now)
	case GenerateKey:
		var unknown pinset.Pin // stands for a key that does not exist yet
		binary.BigEndian.PutUint64(unknown[:], uint64(len(s.Keys)+1))
		s.Keys = append(s.Keys, Key{Pin: unknown, Type: in.Config.KeyType, Role: a.Role, Created: in.Now})
	case Publish:
		pub := Publication{Version: a.PinSet.Version}
		ch, _ := in.Config.Channel(a.Channel) // that is where the action came from
		for _, h := range ch.Publish {
			pub.Done = append(pub.Done, HookID(h))
		}
		in.publish(ch, *a.PinSet)
		if s.Channels == nil {
			s.Channels = make(map[string]Publication)
		}
		s.Channels[a.Channel] = pub
	case ReadBack:
		in.record(pinset.Entry{Kind: pinset.Confirm, Channel: a.Channel, Version: a.PinSet.Version, By: pinset.ByKeepkey})
	case Abandon:
		in.record(pinset.Entry{Kind: pinset.Abandon, Channel: a.Channel, Version: a.Version, By: pinset.ByPerson})
	case RetireOld:
		s.Rollover = nil
	case BeginRollover:
		if err := s.AskRollover(in.Now); err != nil {
			in.Tried[a.ID()] = true
		}
	case Revoke:
		s.MarkRevoked(a.Target, in.Now)
	case Obtain, Switch:
		next := Certificate{Version: 1, NotBefore: in.Now, NotAfter: in.Now.Add(time.Hour)}
		if c := s.Certificate; c != nil {
			next.Version, next.NotAfter = c.Version+1, in.Now.Add(lifetime(c))
		}
		next.Serial, next.Domains, next.Directory, next.Obtained = "unknown", in.Config.Domains, in.Config.ACME.Directory, in.Now
		next.Pin = s.Active().Pin
		if a.Kind == Switch {
			next.Pin = s.Rollover.To
		}
		s.Accept(a.Kind, next, in.Now)
		s.Window = &Window{Serial: next.Serial, Asked: in.Now, AskAgain: in.Now.Add(time.Hour)}
		in.Disk.StoredProblem, in.Force = nil, false
	case Install:
		in.Disk.Live = a.Version
	case Deploy:
		s.Certificate.Deployed = append(s.Certificate.Deployed, a.Target)
	case Check:
		s.Certificate.Checked = append(s.Certificate.Checked, a.Target)
	case AskWindow:
		w := Window{Serial: s.Certificate.Serial}
		if s.Window != nil && s.Window.Serial == w.Serial {
			w = *s.Window
		}
		w.Asked, w.AskAgain = in.Now, in.Now.Add(time.Hour)
		s.Window = &w
	}
}

// publish changes the ledger as if a pin set were out on a channel.
func (in *Input) publish(ch config.Channel, set pinset.Set) {
	if newest, _ := in.Ledger.Channel(ch.Name); newest.Version != set.Version {
		in.record(pinset.Entry{Kind: pinset.Intent, Channel: ch.Name, Version: set.Version, Pins: set.Pins, Lifetime: &ch.Lifetime})
	}
	if !ch.Manual && ch.ReadBack == nil { // else that is for others to say
		in.record(pinset.Entry{Kind: pinset.Confirm, Channel: ch.Name, Version: set.Version, By: pinset.ByKeepkey})
	}
}

// record adds an entry to the ledger, if it makes sense there.
func (in *Input) record(e pinset.Entry) {
	e.At = in.Now
	if next, _, err := in.Ledger.Append(e); err == nil {
		in.Ledger = next
	}
}

func (s *State) clone() *State {
	c := *s
	c.Keys, c.Issued = slices.Clone(s.Keys), slices.Clone(s.Issued)
	if s.Rollover != nil {
		r := *s.Rollover
		c.Rollover = &r
	}
	if s.Certificate != nil {
		cert := *s.Certificate
		cert.Deployed, cert.Checked = slices.Clone(cert.Deployed), slices.Clone(cert.Checked)
		c.Certificate = &cert
	}
	c.Channels = make(map[string]Publication, len(s.Channels))
	for name, p := range s.Channels {
		c.Channels[name] = p
	}
	return &c
}
