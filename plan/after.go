package plan

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"keepkey/pinset"
)

// Result is what came of an action: only what plan cannot know by itself. The zero
// value of all but At says that the action came to a good end. Some actions have
// stages before that, each a result of its own: see Began, Hook and Order.
type Result struct {
	At time.Time // read once: every time in the new state is this one

	Pin    pinset.Pin // generate-key: of the key that was made
	Digest string     // generate-key, adopt-key: of its file
	Began  bool       // publish: its intent goes on record; no hook was called yet
	// Document is what the hooks are handed, and ContentType what it is: with Began, where
	// that is not on record yet.
	Document, ContentType string
	Hook                  string  // publish: ID of a hook that succeeded; others may be left
	Order                 *Order  // obtain, switch-key: was placed; the certificate is to come
	Window                *Answer // ask-window: what the CA said; nil when no answer came
	// Certificate was accepted and stored: obtain, switch-key.
	// collect: it was issued before its key became compromised.
	Certificate *Certificate
	Hostname    string // install

	// Sight is something that was found out there, in the course of a look.
	Sight *Sight

	// CA is the CA's time at At, where one told it.
	CA     time.Time
	Failed *Failed
}

// earliest is the time by this machine's clock or by the CA's, whichever is earlier:
// what has expired by both has expired.
func (r Result) earliest() time.Time {
	if !r.CA.IsZero() && r.CA.Before(r.At) {
		return r.CA
	}
	return r.At
}

// Answer is what a CA says of a certificate's renewal window (RFC 9773 section 4.2).
type Answer struct {
	Start, End  time.Time // both zero: it offers no renewal information
	Explanation string
	AskAgain    time.Duration // 0: it does not say
}

// Failed says how an action failed.
type Failed struct {
	Code       Code // where it says more than the action does
	Text       string
	RetryAfter time.Duration // the CA asked to be left alone for that long
	Jitter     float64       // in [0, 1), spreads the next attempts of many hosts
	DropOrder  bool          // the order can only lead to the same again
}

// After returns the state, and the ledger's next entry if there is one, that follow
// when an action came out in some way. It is the only code that makes a state: package
// apply writes what it returns, [Forecast] and the model in the tests go on from it.
// What makes no sense in this state is a [*Refusal]; the state is then as it was.
func After(s State, a Action, r Result) (State, *pinset.Entry, error) {
	next := s.Clone()
	entry, err := next.after(a, r)
	if err != nil {
		return s, nil, err
	}
	if err := next.check(); err != nil {
		return s, nil, fmt.Errorf("after %s the state would be one that is refused: %w; this is a bug in keepkey", a.Kind, err)
	}
	if entry != nil {
		entry.At = r.At
	}
	return next, entry, nil
}

func (s *State) after(a Action, r Result) (*pinset.Entry, error) {
	if !r.CA.IsZero() {
		s.Clock = &Clock{Ours: r.At, CA: r.CA}
	}
	if a.Kind == Look && r.Sight == nil {
		s.looked(a, r.At)
	}
	if r.Failed != nil {
		s.fail(a, r)
		return nil, nil
	}
	if r.Sight != nil {
		return s.sight(a.Channel, *r.Sight), nil
	}
	switch a.Kind {
	case BeginLineage:
		if !s.IsZero() {
			return nil, errors.New("the lineage was begun already")
		}
		*s = State{Schema: Schema, Lineage: a.Target, Begun: r.At}
		return nil, nil
	case Publish:
		return s.publish(a, r), nil
	case Obtain, SwitchKey:
		return nil, s.obtain(a, r)
	case Abandon, Confirm, Retire, ClosePlace:
		return s.say(a), nil
	}
	s.succeed(a)
	switch a.Kind {
	case GenerateKey:
		s.Keys = append(s.Keys, Key{Pin: r.Pin, Type: a.KeyType, Role: a.Role, Digest: r.Digest, Created: r.At})
		if a.Role == Active {
			s.Since = r.At
		}
	case ReadBack:
		return s.confirmation(a, r.At), nil
	case AskWindow:
		s.answered(r)
	case Install, Deploy, Check:
		s.serve(a, r)
	case Revoke:
		for i := range s.Issued {
			if s.Issued[i].Serial == a.Target {
				s.Issued[i].Revoked = r.At
			}
		}
	case RetirePin:
		s.Rollover = nil
	case BeginRollover:
		s.succeed(Action{Kind: SwitchKey}) // who asks does not wait for a back-off
		return nil, s.beginRollover(a.Pin, r.At)
	case DeclareCompromise:
		s.succeed(Action{Kind: SwitchKey})
		return nil, s.declareCompromise(a, r.At)
	case Undo:
		s.succeed(Action{Kind: SwitchKey})
		return s.undo(r.At)
	case Collect:
		s.dropOrder(a.Pin)
		if c := r.Certificate; c != nil {
			s.issued(*c, r)
		}
	case WriteOff:
		if k := s.key(a.Pin); k != nil && k.Role == Backup {
			k.Role = Lost
		}
	case AdoptChannel:
		delete(s.Channels, a.Channel)
		e := pinset.Entry{Kind: pinset.Unknown, Channel: a.Channel, Version: a.Version, Pins: []pinset.Pin{a.Pin}, By: pinset.ByPerson}
		return e.WithClients(a.Clients), nil
	case AdoptKey:
		return nil, s.adopt(a, r)
	case ForgetHost:
		delete(s.Hosts, a.Host)
	case Prune, Look:
	default:
		return nil, fmt.Errorf("no such action: %q", a.Kind)
	}
	return nil, nil
}

// publish follows a publication: the intent, each hook, the end.
func (s *State) publish(a Action, r Result) *pinset.Entry {
	if s.Channels == nil {
		s.Channels = make(map[string]Publication)
	}
	pub := s.Channels[a.Channel]
	if pub.Version != a.PinSet.Version {
		pub = Publication{Version: a.PinSet.Version}
		s.succeed(Action{Kind: ReadBack, Channel: a.Channel}) // that was about the one before
	}
	if r.Hook != "" {
		pub.Done = append(pub.Done, r.Hook)
	}
	if r.Began {
		pub.By = a.By
		if a.Again {
			pub.Done = nil
		}
		if r.Document != "" {
			pub.Document, pub.ContentType = r.Document, r.ContentType
		}
	}
	s.Channels[a.Channel] = pub
	switch {
	case r.Began && !a.Intended:
		e := pinset.Entry{Kind: pinset.Intent, Channel: a.Channel, Version: a.PinSet.Version, Pins: a.PinSet.Pins, Expires: a.Expires, Places: a.Places}
		return e.WithClients(a.Clients)
	case r.Began && len(a.Places) > 0:
		return &pinset.Entry{Kind: pinset.Extend, Channel: a.Channel, Version: a.PinSet.Version, Places: a.Places}
	case r.Began, r.Hook != "":
		return nil
	}
	s.succeed(a)
	if !a.Confirms {
		return nil
	}
	return s.confirmation(a, r.At)
}

// looked notes when a look was done.
func (s *State) looked(a Action, at time.Time) {
	if a.Host == "" {
		if s.Looked == nil {
			s.Looked = make(map[string]time.Time)
		}
		s.Looked[a.Channel] = at
		return
	}
	h := s.Hosts[a.Host]
	if h.Looked == nil {
		h.Looked = make(map[string]time.Time)
	}
	h.Looked[a.Target] = at
	if s.Hosts == nil {
		s.Hosts = make(map[string]Host)
	}
	s.Hosts[a.Host] = h
}

// sight follows something that was found on a channel.
func (s *State) sight(channel string, found Sight) *pinset.Entry {
	if pub, known := s.Channels[channel]; known {
		pub.Done = slices.DeleteFunc(pub.Done, func(h string) bool { return slices.Contains(found.Again, h) })
		s.Channels[channel] = pub
	}
	e := &pinset.Entry{Kind: pinset.Seen, Channel: channel, Version: found.Back, By: pinset.ByKeepkey, Place: found.Place}
	switch {
	case len(found.Found.Pins) > 0:
		e.Version, e.Pins, e.Expires = found.Found.Version, found.Found.Pins, found.Expires
		return e.WithClients(found.Clients)
	case found.Back > 0:
		return e
	}
	return nil
}

// confirmation puts on record that a pin set is published on its channel: no person
// said so, a read-back or the hooks did. What is out there was looked at, or put there,
// just now.
func (s *State) confirmation(a Action, at time.Time) *pinset.Entry {
	s.looked(Action{Kind: Look, Channel: a.Channel}, at)
	return &pinset.Entry{Kind: pinset.Confirm, Channel: a.Channel, Version: a.PinSet.Version, By: pinset.ByKeepkey}
}

// say puts on record what a person says of a channel.
func (s *State) say(a Action) *pinset.Entry {
	kind := map[Kind]pinset.EntryKind{Abandon: pinset.Abandon, Confirm: pinset.Confirm, Retire: pinset.Retire, ClosePlace: pinset.Gone}[a.Kind]
	return &pinset.Entry{Kind: kind, Channel: a.Channel, Version: a.Version, Place: a.Target, By: pinset.ByPerson}
}

// obtain follows an order: when it is placed, and when its certificate was accepted.
// After a switch that certificate's key is the active one.
func (s *State) obtain(a Action, r Result) error {
	pin := s.Target(a)
	if o := r.Order; o != nil {
		s.dropOrder(o.Pin)
		s.Orders = append(s.Orders, *o)
		return nil
	}
	c := r.Certificate
	if c == nil || c.Pin != pin {
		return fmt.Errorf("%s ended without a certificate for the key %s; this is a bug in keepkey", a.Kind, pin)
	}
	if a.Kind == SwitchKey {
		if s.Rollover == nil || !s.Rollover.Switched.IsZero() {
			return errors.New("no rollover waits for a switch")
		}
		s.completeSwitch(r.At)
		s.succeed(Action{Kind: Obtain}) // one will do
	}
	s.succeed(a)
	accepted := *c
	if o, ordered := s.Order(pin); ordered {
		accepted.Early = o.Early
	}
	s.dropOrder(pin)
	accepted.Obtained = r.At
	s.Certificate = &accepted
	s.issued(*c, r)
	// A CA has nothing to say yet about a certificate that it just issued.
	s.Window = &Window{Serial: c.Serial, Asked: r.At}
	s.Window.askAfter(askAgain)
	return nil
}

// issued notes what may have to be revoked one day.
func (s *State) issued(c Certificate, r Result) {
	s.Issued = append(slices.DeleteFunc(s.Issued, func(i Issued) bool { return r.earliest().After(i.NotAfter) }),
		Issued{Version: c.Version, Pin: c.Pin, Serial: c.Serial, Directory: c.Directory, NotAfter: c.NotAfter})
}

// Target is the key for which an action obtains a certificate.
func (s State) Target(a Action) pinset.Pin {
	if a.Kind == SwitchKey && s.Rollover != nil {
		return s.Rollover.To
	}
	if active := s.Active(); active != nil {
		return active.Pin
	}
	return pinset.Pin{}
}

func (s *State) dropOrder(pin pinset.Pin) {
	s.Orders = slices.DeleteFunc(s.Orders, func(o Order) bool { return o.Pin == pin })
}

// answered notes what the CA said of the renewal window. A missing answer does not
// retract the last one.
func (s *State) answered(r Result) {
	c, last := s.Certificate, s.Window
	if c == nil {
		return
	}
	next, pause := &Window{Serial: c.Serial, Asked: r.At}, askAgain
	switch w := r.Window; {
	case w != nil:
		next.Start, next.End, next.Explanation = w.Start, w.End, w.Explanation
		if w.AskAgain > 0 {
			pause = min(max(w.AskAgain, minAskAgain), maxAskAgain)
		} else if w.Start.IsZero() && w.End.IsZero() {
			pause = maxAskAgain
		}
	case last != nil && last.Serial == c.Serial:
		next.Start, next.End, next.Explanation = last.Start, last.End, last.Explanation
	}
	next.askAfter(pause)
	s.Window = next
}

// serve notes what a host did with the certificate.
func (s *State) serve(a Action, r Result) {
	if s.Hosts == nil {
		s.Hosts = make(map[string]Host)
	}
	h := s.Hosts[a.Host]
	switch a.Kind {
	case Install:
		if h.Installed != a.Version {
			h.Installed, h.Deployed, h.Checked = a.Version, nil, nil
		}
		h.Hostname = r.Hostname
	case Deploy:
		h.Deployed = append(h.Deployed, a.Target)
	case Check:
		h.Checked = append(h.Checked, a.Target)
	}
	s.Hosts[a.Host] = h
	if a.Kind == Check {
		s.looked(a, r.At)
	}
}

// succeed forgets the failures of an action.
func (s *State) succeed(a Action) { delete(s.failuresOf(a), a.purpose()) }

// fail counts a failure, and says when to try again.
func (s *State) fail(a Action, r Result) {
	if r.Failed.DropOrder {
		s.dropOrder(s.Target(a))
	}
	f := Failure{First: r.At}
	if last, again := s.failuresOf(a)[a.purpose()]; again && !last.First.After(r.At) {
		f = last
	}
	f.Count++
	f.Last, f.Code, f.Error = r.At, r.Failed.Code, r.Failed.Text[:min(len(r.Failed.Text), maxFailureText)]
	f.Next = time.Time{}
	if pause := s.pause(a, f.Count, r); pause > 0 {
		f.Next = r.At.Add(pause)
	}
	if a.Host != "" {
		if s.Hosts == nil {
			s.Hosts = make(map[string]Host)
		}
		h := s.Hosts[a.Host]
		if h.Failures == nil {
			h.Failures = make(map[string]Failure)
		}
		h.Failures[a.purpose()] = f
		s.Hosts[a.Host] = h
		return
	}
	if s.Failures == nil {
		s.Failures = make(map[string]Failure)
	}
	s.Failures[a.purpose()] = f
}

// maxFailureText bounds what the state remembers of a failure: an order for a
// hundred names can fail in a hundred ways.
const maxFailureText = 2000

// Doubling is a pause of 1, 2, 4 minutes and so on, up to an hour, after so many failures in
// a row.
func Doubling(count int) time.Duration { return min(time.Minute<<min(max(count-1, 0), 6), time.Hour) }

// pause is how long to wait after so many failures in a row; 0 where every run tries.
func (s *State) pause(a Action, count int, r Result) time.Duration {
	var pause time.Duration
	switch a.Kind {
	case ReadBack:
		// What was uploaded can take minutes to show, and should not take days.
		return Doubling(count)
	case Obtain, SwitchKey:
		pause = 24 * time.Hour
		if count <= 3 {
			pause = []time.Duration{time.Minute, 10 * time.Minute, 100 * time.Minute}[count-1]
		}
	default:
		return r.Failed.RetryAfter
	}
	// Sooner when little is left of what is served. A switch can wait: it is not what
	// keeps a server alive.
	if c := s.Certificate; c != nil && a.Kind == Obtain {
		pause = min(pause, max(c.NotAfter.Sub(r.At)/8, time.Minute))
	}
	return max(pause+time.Duration(float64(pause)/4*r.Failed.Jitter), r.Failed.RetryAfter)
}
