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
		for _, ch := range in.Config.Channels {
			if ch.Name == a.Channel {
				for _, h := range ch.Publish {
					pub.Done = append(pub.Done, HookID(h))
				}
				in.Ledger = published(in.Ledger, ch, *a.PinSet, in.Now)
			}
		}
		if s.Channels == nil {
			s.Channels = make(map[string]Publication)
		}
		s.Channels[a.Channel] = pub
	case ReadBack:
		next, _, err := in.Ledger.Append(pinset.Entry{
			At: in.Now, Kind: pinset.Confirm, Channel: a.Channel, Version: a.PinSet.Version, By: pinset.ByKeepkey,
		})
		if err == nil {
			in.Ledger = next
		}
	case Abandon:
		next, _, err := in.Ledger.Append(pinset.Entry{
			At: in.Now, Kind: pinset.Abandon, Channel: a.Channel, Version: a.Version, By: pinset.ByPerson,
		})
		if err == nil {
			in.Ledger = next
		}
	case RetireOld:
		s.Rollover = nil
	case BeginRollover:
		if err := s.AskRollover(in.Now); err != nil {
			in.Tried[a.ID()] = true
		}
	case Revoke:
		for i := range s.Issued {
			if s.Issued[i].Version == a.Version {
				s.Issued[i].Revoked = in.Now
			}
		}
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

// published returns the ledger as it will be when a pin set is out on a channel.
func published(l pinset.Ledger, ch config.Channel, set pinset.Set, now time.Time) pinset.Ledger {
	entries := []pinset.Entry{
		{At: now, Kind: pinset.Intent, Channel: ch.Name, Version: set.Version, Pins: set.Pins, Lifetime: &ch.Lifetime},
		{At: now, Kind: pinset.Confirm, Channel: ch.Name, Version: set.Version, By: pinset.ByKeepkey},
	}
	if newest, _ := l.Channel(ch.Name); newest.Version == set.Version {
		entries = entries[1:]
	}
	if ch.Manual || ch.ReadBack != nil {
		entries = entries[:len(entries)-1] // that is for others to say
	}
	for _, e := range entries {
		if next, _, err := l.Append(e); err == nil {
			l = next
		}
	}
	return l
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
