package plan

import (
	"slices"
	"time"

	"keepkey/pinset"
)

// Goal is what the configuration asks for one lineage, in plain values: all that
// the planner needs of it. Hooks are told apart by their IDs alone.
type Goal struct {
	Name     string
	Domains  []string
	CA       string // URL of the ACME directory
	KeyType  pinset.KeyType
	Backups  int // number of backup keys, at least 1
	Channels []Channel
	// NobodyPins says that there are no channels because no client pins a key. Without it,
	// nobody knows.
	NobodyPins bool
	Deploy     []string // IDs of the deploy hooks
	Check      []string // addresses (host:port) at which the served key is looked at
	// KeepOldPin is how long after a rollover the old key's pin stays in the pin
	// set. Until then it can be undone.
	KeepOldPin time.Duration
	// ForceAfter is how long after the switch from a compromised key its pin stays in the
	// pin set, if hosts fail to serve the new key; 0 for as long as they do.
	ForceAfter time.Duration
	// RolloverEvery is the time after which a rollover begins by itself; 0 for never.
	RolloverEvery time.Duration
}

// Channel is one way in which pin sets reach clients.
type Channel struct {
	Name    string
	Clients pinset.Clients
	// Expires is how long after it is first handed out a pin set's own document ends
	// by itself; 0 where the documents carry no expiry.
	Expires  time.Duration
	Manual   bool // a pin set is out only when a person says so
	ReadBack bool // it is out only once it was read back
	// Readable says that what clients get can be read, at a place or where it is read back.
	Readable bool
	// Publish are the publish hooks. Where they deliver is where clients get their pin
	// sets, unless the channel is Manual.
	Publish []pinset.Place
}

// Confirmation is what makes a pin set count as out on a channel.
type Confirmation string

// The ways there are.
const (
	ByHooks    Confirmation = "hooks" // all of them succeeded
	ByReadBack Confirmation = "read-back"
	ByPerson   Confirmation = "person"
)

// confirmation says what makes a pin set count as out on the channel.
func (ch Channel) confirmation() Confirmation {
	switch {
	case ch.Manual:
		return ByPerson
	case ch.ReadBack:
		return ByReadBack
	}
	return ByHooks
}

// hooks returns the IDs of the publish hooks.
func (ch Channel) hooks() []string {
	var ids []string
	for _, p := range ch.Publish {
		ids = append(ids, p.ID)
	}
	return ids
}

// Channel returns the channel of that name, if it is configured.
func (g Goal) Channel(name string) (Channel, bool) {
	i := slices.IndexFunc(g.Channels, func(ch Channel) bool { return ch.Name == name })
	if i < 0 {
		return Channel{}, false
	}
	return g.Channels[i], true
}

// Clients returns what is configured of each channel's clients, as the gate wants it.
func (g Goal) Clients() map[string]pinset.Clients {
	clients := make(map[string]pinset.Clients, len(g.Channels))
	for _, ch := range g.Channels {
		clients[ch.Name] = ch.Clients
	}
	return clients
}

// Outstanding returns the hooks that are not among those that are done.
func Outstanding(hooks, done []string) []string {
	var out []string
	for _, h := range hooks {
		if !slices.Contains(done, h) {
			out = append(out, h)
		}
	}
	return out
}
