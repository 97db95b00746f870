package plan

import (
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"keepkey/pinset"
)

// Forecast plans ahead: the actions that are due, then those that follow when
// each succeeds, then what remains for later. It changes nothing in the input.
// What can't be known in advance, such as the lifetime of a certificate that a CA
// has yet to issue, is not guessed: the forecast ends before it.
func Forecast(in Input) Plan {
	first := Next(in)
	out := Plan{Problems: first.Problems}
	in.Tried = maps.Clone(in.Tried)
	if in.Tried == nil {
		in.Tried = make(map[string]bool)
	}
	p := first
	for range maxForecast {
		a, due := p.Due(in.Now)
		if !due {
			out.Actions, out.Notes = append(out.Actions, p.Actions...), p.Notes
			return out
		}
		out.Actions = append(out.Actions, a)
		if a.Kind == Obtain && in.State.Certificate == nil {
			in.Tried[a.ID()] = true // its lifetime is the CA's to choose
		}
		if err := in.imagine(a); err != nil {
			in.Tried[a.ID()] = true
		}
		p = Next(in)
	}
	out.Problems = append(out.Problems, Finding{Code: Endless})
	return out
}

// maxForecast ends a forecast that makes no progress, should there be such a bug.
const maxForecast = 1000

// imagine changes the input as if an action had come to a good end.
func (in *Input) imagine(a Action) error {
	for _, r := range in.imagined(a) {
		r.At = in.Now
		if err := in.Follow(a, r); err != nil {
			return err
		}
	}
	switch a.Kind {
	case Look:
		in.Tried[a.ID()] = true
		in.Disk.Differs = nil
	case Obtain, SwitchKey:
		in.Disk.StoredProblem, in.Force = nil, false
		in.Disk.Versions = append(slices.Clone(in.Disk.Versions), in.State.Certificate.Version)
	case Install:
		in.Disk.Live = a.Version
	case Prune:
		in.Disk.Versions = slices.DeleteFunc(slices.Clone(in.Disk.Versions), func(n int) bool { return n == a.Version })
	}
	return nil
}

// Follow goes on to the state and the ledger that follow when an action came out so.
func (in *Input) Follow(a Action, r Result) error {
	next, entry, err := After(in.State, a, r)
	if err != nil {
		return err
	}
	if entry != nil {
		ledger, _, err := in.Ledger.Append(*entry)
		if err != nil {
			return err
		}
		in.Ledger = ledger
	}
	in.State = next
	return nil
}

// imagined returns the results of an action in which all goes well.
func (in *Input) imagined(a Action) []Result {
	switch a.Kind {
	case GenerateKey:
		var unknown pinset.Pin // stands for a key that does not exist yet
		binary.BigEndian.PutUint64(unknown[:], uint64(len(in.State.Keys)+1))
		return []Result{{Pin: unknown}}
	case Publish:
		results := []Result{{Began: true}}
		ch, _ := in.Goal.Channel(a.Channel) // that is where the action came from
		done := in.State.publication(a).Done
		if a.Again {
			done = nil
		}
		for _, h := range Outstanding(ch.hooks(), done) {
			results = append(results, Result{Hook: h})
		}
		return append(results, Result{})
	case Obtain, SwitchKey:
		return []Result{{Certificate: in.imaginedCertificate(a)}}
	case AskWindow:
		var w *Answer
		if last := in.State.Window; last != nil && last.Serial == in.State.Certificate.Serial {
			w = &Answer{Start: last.Start, End: last.End, Explanation: last.Explanation}
		}
		return []Result{{Window: w, CA: in.Now}}
	}
	return []Result{{}}
}

// publication is how far a publication is.
func (s State) publication(a Action) Publication {
	if pub := s.Channels[a.Channel]; pub.Version == a.PinSet.Version {
		return pub
	}
	return Publication{}
}

// imaginedCertificate lives as long as the one before.
func (in *Input) imaginedCertificate(a Action) *Certificate {
	next := Certificate{
		Version: 1, Pin: in.State.Target(a), Serial: "unknown", Domains: in.Goal.Domains, Directory: in.Goal.CA,
		NotBefore: in.Now, NotAfter: in.Now.Add(time.Hour),
	}
	if c := in.State.Certificate; c != nil && a.Version > 0 {
		next = *in.State.Rollover.Before
		next.Version = c.Version + 1
	} else if c != nil {
		next.Version, next.NotAfter = c.Version+1, in.Now.Add(c.NotAfter.Sub(c.NotBefore))
	}
	return &next
}
