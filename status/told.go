package status

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"keepkey/plan"
)

// Told is the record of what notify hooks were told of a lineage's problems, or of keepkey's
// as a whole. What is told follows from it alone: [Told.Next] says what is owed to whom, and
// [Told.After] what follows when it was delivered. The rules:
//
//   - A hook is told of a problem when it appears, when it gets worse, and when it is over,
//     each once. It is not told that something is over of which it never heard.
//   - A warning is told once it has lasted for an hour: most mend themselves. What is critical
//     is told at once; but what failed once, and is tried again within minutes, is told
//     after that.
//   - Only how it is now is owed. Of what came and went while a hook failed it hears nothing.
//
// A record that is lost or damaged is an empty one: everything is told again.
type Told struct {
	problems []known // in the order in which they appeared
}

// known is a problem that somebody was told of, or will be once it has lasted long enough.
type known struct {
	ID      string    `json:"id"`
	Code    plan.Code `json:"code"`
	Subject string    `json:"subject"`
	Worst   level     `json:"worst"`
	Since   time.Time `json:"since"`
	Over    bool      `json:"over,omitempty"` // and not all that know of it were told so
	// Hooks are those that know of it, by their IDs, and how bad it was when they were told; 0
	// where they may know of it: the process died while it told them.
	Hooks map[string]level `json:"hooks,omitempty"`
}

// State is what a notice says of a problem.
type State string

// The states of a problem, and that of a notice which somebody asked for to see whether it
// arrives.
const (
	Appeared State = "appeared"
	Worse    State = "worse"
	Over     State = "over"
	Test     State = "test"
)

// Notice is what a hook is to be told.
type Notice struct {
	ID      string // the same whenever the same thing is told the same hook
	Hook    string // its ID
	Lineage Condition
	State   State
	Problem Problem
	Since   time.Time

	level level
	knew  level // what the hook was told before: see [unheard]
}

// unheard is the level of what a hook never heard of.
const unheard level = -1

const (
	// patience is how long a warning has to last.
	patience = time.Hour
	// soon is within which something that failed once is tried again.
	soon = 5 * time.Minute
	// maxKnown bounds the problems of a record, and maxTold what it says of each, in bytes.
	maxKnown = 100
	maxTold  = 300
)

// Moment is when something is to be told.
type Moment struct {
	Now time.Time
	// Forgetful says that nothing can be put on record, so that nobody will know how long a
	// problem has lasted: it is told now.
	Forgetful bool
}

// ripe reports whether a problem that has lasted since some time is to be told.
func (p Problem) ripe(since time.Time, again time.Time, m Moment) bool {
	switch {
	case p.ofCA:
		return false // see Whole
	case m.Forgetful, m.Now.Sub(since) >= patience:
		return true
	}
	triedSoon := p.attempts == 1 && !again.IsZero() && again.Sub(m.Now) <= soon
	return p.Severity == Critical && !triedSoon
}

// Next returns the record as it is with a condition, and what is owed to hooks, which go by
// their IDs. Unless ripe is zero, somebody should look at the lineage again then: something
// will have lasted long enough.
func (t Told) Next(c Condition, hooks []string, m Moment) (next Told, owed []Notice, ripe time.Time) {
	before := make(map[string]known)
	for _, k := range t.problems {
		before[k.ID] = k
	}
	seen := make(map[string]bool)
	for _, p := range c.Problems[:min(len(c.Problems), maxKnown)] {
		seen[p.ID] = true
		k, there := before[p.ID]
		if !there || k.Over || k.Since.After(m.Now) {
			// To those who were not told that it was over, it goes on.
			k = known{ID: p.ID, Since: m.Now.UTC().Round(0), Hooks: k.Hooks}
		}
		k.Code, k.Subject, k.Worst, k.Hooks = p.Code, cut(p.Subject, maxTold), max(k.Worst, p.level), only(k.Hooks, hooks)
		for _, h := range hooks {
			n := Notice{Hook: h, Lineage: c, State: Appeared, Problem: p, Since: k.Since, level: p.level, knew: unheard}
			if told, heard := k.Hooks[h]; heard {
				n.knew = told
			}
			switch {
			case n.knew <= 0 && p.ripe(k.Since, c.Again, m):
			case n.knew > 0 && n.knew < p.level:
				n.State = Worse
			case n.knew <= 0 && !p.ofCA:
				ripe = earlier(ripe, k.Since.Add(patience))
				continue
			default:
				continue
			}
			owed = append(owed, n.identified())
		}
		next.problems = append(next.problems, k)
	}
	for _, k := range t.problems {
		if seen[k.ID] {
			continue
		}
		if k.Hooks, k.Over = only(k.Hooks, hooks), k.Over || !c.Blind; k.Over {
			for _, h := range slices.Sorted(maps.Keys(k.Hooks)) {
				p := Problem{ID: k.ID, Code: k.Code, Severity: k.Worst.severity(), Subject: k.Subject}
				owed = append(owed, Notice{Hook: h, Lineage: c, State: Over, Problem: p, Since: k.Since, knew: k.Hooks[h]}.identified())
			}
		}
		if !k.Over || len(k.Hooks) > 0 {
			next.problems = append(next.problems, k)
		}
	}
	next.problems = next.problems[:min(len(next.problems), maxKnown)]
	slices.SortStableFunc(next.problems, func(a, b known) int { return a.Since.Compare(b.Since) })
	return next, owed, ripe
}

// Begin returns the record to be kept before a notice is delivered: should nobody know what
// became of it, the hook is told again, or that it is over.
func (t Told) Begin(n Notice) Told {
	return t.with(n, func(hooks map[string]level) { hooks[n.Hook] = 0 })
}

// After returns the record once a notice was delivered.
func (t Told) After(n Notice) Told {
	return t.with(n, func(hooks map[string]level) {
		if hooks[n.Hook] = n.level; n.State == Over {
			delete(hooks, n.Hook)
		}
	})
}

// Failed returns the record once it is known that a notice was not delivered.
func (t Told) Failed(n Notice) Told {
	return t.with(n, func(hooks map[string]level) {
		if hooks[n.Hook] = n.knew; n.knew == unheard {
			delete(hooks, n.Hook)
		}
	})
}

// with returns the record with what hooks know of a notice's problem changed. What is over
// and nobody's any more is forgotten.
func (t Told) with(n Notice, change func(hooks map[string]level)) Told {
	var next Told
	for _, k := range t.problems {
		if k.ID == n.Problem.ID {
			k.Hooks = maps.Clone(k.Hooks)
			if k.Hooks == nil {
				k.Hooks = make(map[string]level)
			}
			change(k.Hooks)
		}
		if !k.Over || len(k.Hooks) > 0 {
			next.problems = append(next.problems, k)
		}
	}
	return next
}

// IsZero reports whether there is nothing to be put on record.
func (t Told) IsZero() bool { return len(t.problems) == 0 }

// identified gives a notice its ID.
func (n Notice) identified() Notice {
	n.ID = identity(n.Hook, n.Lineage.Name, n.Problem.ID, string(n.State), fmt.Sprint(n.level), n.Since.Format(time.RFC3339Nano))
	return n
}

func identity(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// only returns those of the hooks that know of a problem that there still are.
func only(known map[string]level, hooks []string) map[string]level {
	kept := make(map[string]level)
	for _, h := range hooks {
		if l, knows := known[h]; knows {
			kept[h] = l
		}
	}
	return kept
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// toldFile is the record as it lies on the disk.
type toldFile struct {
	Schema   int     `json:"schema"`
	Problems []known `json:"problems"`
}

const toldSchema = 1

// Marshal writes the record.
func (t Told) Marshal() ([]byte, error) {
	data, err := json.MarshalIndent(toldFile{Schema: toldSchema, Problems: t.problems}, "", "  ")
	return append(data, '\n'), err
}

// ParseTold reads a record. One that is missing or damaged is empty.
func ParseTold(data []byte) Told {
	var f toldFile
	if json.Unmarshal(data, &f) != nil || f.Schema != toldSchema || len(f.Problems) > maxKnown {
		return Told{}
	}
	ids := make(map[string]bool)
	for _, k := range f.Problems {
		if k.ID == "" || ids[k.ID] || k.Since.IsZero() || k.Worst < levelWarning || k.Worst > levelCritical {
			return Told{}
		}
		ids[k.ID] = true
		for _, l := range k.Hooks {
			if l < 0 || l > levelCritical {
				return Told{}
			}
		}
	}
	return Told{problems: f.Problems}
}
