package apply_test

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/hooks"
	"keepkey/internal/acmetest"
	"keepkey/pinset"
	"keepkey/pinset/format"
	"keepkey/plan"
)

// A kind of hook is a type with three methods, and a kind of reader one with two. This
// one hands documents to a bulletin board, and can look at what hangs there.
type board struct {
	name   string
	mu     sync.Mutex
	hangs  string
	told   []hooks.Event
	broken bool
}

func (b *board) ID() string     { return "board " + b.name }
func (b *board) String() string { return "the bulletin board " + b.name }

func (b *board) Run(_ context.Context, e hooks.Event) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.told = append(b.told, e)
	if b.broken {
		return errors.New("it fell off the wall")
	}
	b.hangs = e.Document
	return nil
}

func (b *board) Read(context.Context, hooks.Event) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return []byte(b.hangs), nil
}

// A format is a value with two functions. This one is what curl takes for
// --pinnedpubkey: it carries neither a version nor an expiry.
var curl = format.Format{
	Name: "curl", ContentType: "text/x-curl-pins", Ext: ".txt",
	Encode: func(d format.Document) ([]byte, error) {
		var pins []string
		for _, p := range d.Set.Pins {
			pins = append(pins, "sha256//"+base64.StdEncoding.EncodeToString(p[:]))
		}
		return []byte(strings.Join(pins, ";")), nil
	},
	Decode: func(data []byte) (found format.Found, err error) {
		for text := range strings.SplitSeq(string(data), ";") {
			var p pinset.Pin
			raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "sha256//"))
			if err != nil || copy(p[:], raw) != len(p) {
				return format.Found{}, errors.New("not a list of pins")
			}
			found.Pins = append(found.Pins, p)
		}
		return found, nil
	},
}

// TestANewKindOfHookAndANewFormatTakeAFewLines shows what it takes, and that all else
// follows: its own identity, publishing, reading back, confirming.
func TestANewKindOfHookAndANewFormatTakeAFewLines(t *testing.T) {
	t.Parallel()
	w := newWorld(t, acmetest.Options{})
	cert := w.cert("api", "api.example.com")
	hall, gate := &board{name: "in the hall"}, &board{name: "at the gate", broken: true}
	cert.Channels = []config.Channel{{
		Name: "boards", Format: curl, Lifetime: pinset.Lifetime{Duration: time.Hour},
		Publish: []hooks.Hook{hall, gate}, ReadBack: hall,
	}}
	cert.Deploy = []hooks.Hook{hall}

	told := w.only(w.renew(cert, apply.Options{}), plan.PublicationFailing)
	if !strings.Contains(told, "it fell off the wall") {
		t.Errorf("problem %q, want what the hook said", told)
	}
	gate.broken = false
	hall.hangs = "sha256//" + base64.StdEncoding.EncodeToString(make([]byte, 32)) // somebody else's
	r := w.runner()
	r.LookTime = time.Nanosecond
	told = strings.Join(problems(r.Renew(t.Context(), cert, apply.Options{})), "\n")
	if !strings.Contains(told, "the bulletin board in the hall has 1 pins") || !strings.Contains(told, "keepkey did not publish") {
		t.Errorf("problem %q, want what was found instead", told)
	}
	hall.hangs = gate.hangs
	w.offset = 2 * time.Minute
	w.mustRenew(cert, apply.Options{})

	in := w.input(cert)
	published, _ := in.Ledger.Channel("boards")
	found, err := curl.Decode([]byte(hall.hangs))
	if err != nil || !pinset.SamePins(found.Pins, in.State.Pins()) || published.Confirmed.IsZero() {
		t.Errorf("found %v (%v), confirmed at %s; want the pins %v to be out", found.Pins, err, published.Confirmed, in.State.Pins())
	}
	events := func(b *board) (kinds []string) {
		for _, e := range b.told {
			kinds = append(kinds, e.Kind)
			if e.Kind == hooks.Publish && (e.Channel != "boards" || e.PinSetVersion != 1 || e.ContentType != curl.ContentType) {
				t.Errorf("told %+v", e)
			}
		}
		return kinds
	}
	// Each succeeded once: what one did is not taken for the other's.
	if got := events(hall); !slices.Equal(got, []string{hooks.Publish, hooks.Deploy}) {
		t.Errorf("the board in the hall was told of %q", got)
	}
	if got := events(gate); !slices.Equal(got, []string{hooks.Publish, hooks.Publish}) || gate.told[0].ID != gate.told[1].ID {
		t.Errorf("the board at the gate was told of %q, the second time as the same event", got)
	}
}
