package plan

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"keepkey/pinset"
)

// lookEvery is how often what can be read out there is read, if nothing else asks for it:
// an eighth of it earlier, or less, so that lineages that began together drift apart.
const lookEvery = 24 * time.Hour

// looks returns where to look: at what clients get on each channel, and at the keys that
// are served. It is done once a day, whenever something is known to be wrong, and before
// a leap.
func looks(in Input, leap bool) []Action {
	if in.Disk.LedgerProblem != nil {
		return nil // there is nothing to compare it with
	}
	actions := make([]Action, 0, len(in.Goal.Channels)+len(in.Goal.Check))
	offer := func(a Action, last time.Time, now bool) {
		if _, fails := in.failure(a); now || fails || last.After(in.Now) {
			last = time.Time{}
		}
		if !last.IsZero() {
			a.At = last.Add(lookEvery - share(in.Goal.Name, lookEvery/8))
		}
		actions = append(actions, a)
	}
	for _, ch := range in.Goal.Channels {
		a := Action{Kind: Look, Channel: ch.Name, Why: Why{Code: WhyOutThere}}
		_, known := in.Ledger.Channel(ch.Name)
		_, fails := in.failure(a)
		if ch.Readable && (known || leap || fails) {
			offer(a, in.State.Looked[ch.Name], leap || in.Disk.Differs[ch.Name])
		}
	}
	if c := in.State.Certificate; c == nil || !in.checked(in.Host) {
		return actions // the check after the deployment comes first
	}
	for _, addr := range in.Goal.Check {
		offer(Action{Kind: Look, Target: addr, Host: in.Host, Why: Why{Code: WhyOutThere}}, in.State.Hosts[in.Host].Looked[addr], leap)
	}
	return actions
}

// Looks returns where to look before something that can't be taken back.
func Looks(in Input) []Action { return looks(in, true) }

// Sighting is what was found at a place, or where a channel is read back.
type Sighting struct {
	Place string // the ID of the publish hook's place; "" where the channel is read back
	Name  string // for people
	Err   error  // it can't be told what is there
	Gone  bool   // nothing is there
	Junk  bool   // it is not a document
	Same  bool   // it is what was published, byte by byte
	// Of a document. The lineage and the version are zero where its format has none.
	Lineage string
	Version int
	Pins    []pinset.Pin
	Expires time.Time
	// Lifetime is what the document says of it; zero where its format does not.
	Lifetime pinset.Lifetime
}

// clients is what is known of the clients that get what was sighted.
func (s Sighting) clients(known pinset.Clients) pinset.Clients {
	return known.Longer(pinset.Clients{Lifetime: s.Lifetime})
}

// Meaning is what a sighting means.
type Meaning struct {
	Code Code   // "": all is as it should be
	Text string // with Code
	// Sight goes on record first, if there is one.
	Sight *Sight
}

// Sight is what a look puts on record.
type Sight struct {
	Place string // where; "" if it is not known
	// Back is an older version that clients get again. Else Found are pins that are not in
	// the ledger, if there are any.
	Back  int
	Found pinset.Set
	// Expires is that of the document that was found.
	Expires time.Time
	Clients pinset.Clients
	// Again are the hooks that have to deliver the newest pin set once more.
	Again []string
}

// Judge says what a sighting on a channel means. What is out there wins over what is on
// record: an older version that clients get again counts again, and so does a pin set that
// nobody remembers.
func Judge(in Input, ch Channel, s Sighting) Meaning {
	newest, known := in.Ledger.Channel(ch.Name)
	pub := in.State.Channels[ch.Name]
	// Whether the newest pin set should be there.
	done := known && pub.Version == newest.Version && slices.Contains(pub.Done, s.Place)
	again := []string{s.Place}
	if s.Place == "" {
		done, again = known && !newest.Confirmed.IsZero(), ch.hooks()
	}
	wrong := func(code Code, text string) Meaning {
		m := Meaning{Code: code, Text: s.Name + " " + text}
		if done {
			m.Sight = &Sight{Place: s.Place, Again: again}
		}
		return m
	}
	switch {
	case s.Err != nil:
		return Meaning{Code: PlaceUnreadable, Text: fmt.Sprintf("nobody can tell what is at %s: %v", s.Name, s.Err)}
	case s.Gone && done:
		return wrong(PublicationGone, fmt.Sprintf("has nothing any more; version %d of the pin set was there", newest.Version))
	case s.Junk && done:
		return wrong(PublicationChanged, fmt.Sprintf("does not have version %d of the pin set, but something else", newest.Version))
	case s.Gone, s.Junk, s.Same:
		return Meaning{}
	case s.Lineage != "" && s.Lineage != in.Goal.Name:
		return Meaning{Code: PublicationForeign, Text: fmt.Sprintf("%s has the pin set of another lineage, %.200q", s.Name, s.Lineage)}
	}
	p, is := in.onRecord(ch.Name, s)
	here := is && p.Channel == ch.Name
	switch {
	case is && !here && !done && in.moved(p, s):
		return Meaning{} // it counts under the name that the channel had
	case here && !p.Found && p.Version == newest.Version:
		// What is read back may be laid out in another way.
		sameExpiry := s.Expires.IsZero() || p.Expires.IsZero() || s.Expires.Unix() == p.Expires.Unix()
		if !done || (s.Place == "" && sameExpiry) {
			return Meaning{}
		}
		return wrong(PublicationChanged, fmt.Sprintf("does not have version %d of the pin set as it was published", newest.Version))
	case here && p.Found && p.Superseded.IsZero():
		return wrong(PublicationChanged, "still has a pin set that keepkey did not publish")
	case here:
		return in.older(p, ch, s, done, wrong)
	case s.Version > in.Ledger.Newest().Version && !in.NewLineage: // else a person knows
		m := Meaning{Code: PublicationNewer, Text: fmt.Sprintf("%s, to which channel %s publishes, holds version %d of the pin set, and the ledger knows of %d", s.Name, ch.Name, s.Version, in.Ledger.Newest().Version)}
		if active := in.State.Active(); active != nil && !slices.Contains(s.Pins, active.Pin) {
			m.Code = StateOutdated
		}
		return m
	}
	m := wrong(PublicationChanged, fmt.Sprintf("has a pin set that is not in the ledger, as version %d", s.Version))
	if m.Sight == nil {
		m.Sight = &Sight{Place: s.Place}
	}
	m.Sight.Found = pinset.Set{Version: cmp.Or(s.Version, newest.Version, 1), Pins: s.Pins}
	m.Sight.Expires, m.Sight.Clients = s.Expires, s.clients(ch.Clients.Longer(newest.Clients))
	return m
}

// older says what it means that clients get an older pin set than the newest.
func (in Input) older(p pinset.Published, ch Channel, s Sighting, done bool, wrong func(Code, string) Meaning) Meaning {
	left := p.Superseded.IsZero() && (s.Place == "" || slices.ContainsFunc(p.Left, func(place pinset.Place) bool { return place.ID == s.Place }))
	cached := s.Place == "" && !p.Superseded.IsZero() && !in.Now.After(p.Superseded.Add(p.Clients.Longer(ch.Clients).Cache))
	if cached || (left && !done) {
		return Meaning{} // the newest is on its way
	}
	m := wrong(PublicationBack, fmt.Sprintf("has version %d of the pin set again", p.Version))
	if left {
		return m // it counts anyway
	}
	if m.Sight == nil {
		m.Sight = &Sight{Place: s.Place}
	}
	m.Sight.Back = p.Version
	if p.Found {
		m.Sight.Back, m.Sight.Found, m.Sight.Expires, m.Sight.Clients = 0, pinset.Set{Version: p.Version, Pins: p.Pins}, p.Expires, s.clients(p.Clients.Longer(ch.Clients))
	}
	return m
}

// moved reports whether a pin set that was sighted is on record at that very place, under
// another channel's name.
func (in Input) moved(p pinset.Published, s Sighting) bool {
	_, configured := in.Goal.Channel(p.Channel)
	return !configured || (s.Place != "" && p.Went(s.Place))
}

// onRecord finds the pin set that was sighted in the ledger: on its channel, the newest
// first, else on any.
func (in Input) onRecord(channel string, s Sighting) (pinset.Published, bool) {
	same := func(p pinset.Published) bool {
		return pinset.SamePins(p.Pins, s.Pins) && (s.Version == 0 || s.Version == p.Version)
	}
	all := in.Ledger.Published()
	slices.Reverse(all)
	for _, p := range all {
		if p.Channel == channel && same(p) {
			return p, true
		}
	}
	for _, p := range all {
		if same(p) && s.Version != 0 {
			return p, true
		}
	}
	return pinset.Published{}, false
}

// JudgeServed says what it means that an address serves a key, which is zero where it
// could not be told.
func JudgeServed(in Input, addr string, served pinset.Pin, serial string, err error) Meaning {
	c, k := in.State.Certificate, in.State.key(served)
	switch {
	case err != nil:
		return Meaning{Code: ServerUnreachable, Text: err.Error()}
	case k == nil:
		return Meaning{Code: ServedKeyUnknown, Text: fmt.Sprintf("it serves a key with pin %s, which is none of this lineage's", served)}
	case served != c.Pin:
		return Meaning{Code: ServedKeyWrong, Text: fmt.Sprintf("it serves the %s key, with pin %s, and the active key has pin %s", k.Role, served, c.Pin)}
	case serial != c.Serial:
		which := "a certificate"
		if n := in.State.Version(serial); n > 0 {
			which = fmt.Sprintf("certificate version %d,", n)
		}
		return Meaning{Code: ServedCertificateOld, Text: fmt.Sprintf("it serves %s with serial %s, and the newest has %s", which, serial, c.Serial)}
	}
	return Meaning{}
}

// stops are the findings of a look after which nothing is done but looking again: what is
// out there is not what the state remembers.
var stops = []Code{StateOutdated, ServedKeyUnknown}

// holdBack are those after which nothing more is published on the channel.
var holdBack = []Code{StateOutdated, PublicationNewer, PublicationForeign}

// seen returns what the looks on record found wrong, by the action that looks.
func (in Input) seen(codes ...Code) []Action {
	if len(in.State.Failures)+len(in.State.Hosts[in.Host].Failures) == 0 {
		return nil // mostly
	}
	var wrong []Action
	for _, a := range looks(in, true) {
		if f, fails := in.failure(a); fails && (len(codes) == 0 || slices.Contains(codes, f.Code)) {
			wrong = append(wrong, a)
		}
	}
	return wrong
}

// Graver reports whether what a look found matters more than another finding.
func Graver(code, than Code) bool {
	order := slices.Concat([]Code{""}, []Code{ServerUnreachable, ServedCertificateOld, ServedKeyWrong, PlaceUnreadable, PublicationGone, PublicationChanged, PublicationBack, PublicationForeign, PublicationNewer}, stops)
	return slices.Index(order, code) > slices.Index(order, than)
}

// unsettled returns what a look found that keeps the gate closed until it is settled. In
// an emergency only that counts which says that the record itself is wrong.
func (in Input) unsettled(emergency bool) Code {
	for _, a := range in.seen() {
		f, _ := in.failure(a)
		grave := slices.Contains(stops, f.Code) || slices.Contains(holdBack, f.Code)
		if grave || (!emergency && a.Channel != "") {
			return f.Code
		}
	}
	return ""
}
