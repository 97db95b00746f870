package plan

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"keepkey/pinset"
)

var t0 = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// raceDetector says whether the tests were built with it.
var raceDetector bool

// at returns places by their IDs.
func at(ids ...string) []pinset.Place {
	var places []pinset.Place
	for _, id := range ids {
		places = append(places, pinset.Place{ID: id})
	}
	return places
}

func testPin(b byte) pinset.Pin { return pinset.Pin{b} }

func testGoal() Goal {
	return Goal{
		Name: "api", Domains: []string{"api.example.com"}, KeyType: pinset.EC256, Backups: 1,
		CA:       "https://ca.example/dir",
		Channels: []Channel{{Name: "app", Publish: at("file a")}},
		Deploy:   []string{"reload"},
		Check:    []string{"api.example.com:443"},
	}
}

// begun is a lineage that has nothing yet.
func begun() State { return State{Schema: Schema, Lineage: "api", Begun: t0} }

// settled is a lineage for which nothing is due: certificate version 1 of 90
// days, obtained at t0, is installed, published, deployed and checked.
func settled() Input {
	goal := testGoal()
	s := begun()
	s.Keys = []Key{
		{Pin: testPin(1), Type: pinset.EC256, Role: Active, Created: t0},
		{Pin: testPin(2), Type: pinset.EC256, Role: Backup, Created: t0},
	}
	s.Certificate = &Certificate{
		Version: 1, Pin: testPin(1), Serial: "5e", Domains: goal.Domains, Directory: goal.CA,
		NotBefore: t0, NotAfter: t0.Add(90 * day), Obtained: t0,
	}
	s.Hosts = map[string]Host{"here": {Hostname: "here.example", Installed: 1, Deployed: goal.Deploy, Checked: goal.Check}}
	s.Window = &Window{Serial: "5e", Asked: t0, AskAgain: t0.Add(1000 * day)}
	s.Channels = map[string]Publication{"app": {Version: 1, By: ByHooks, Done: []string{"file a"}}}
	ledger := intended("app", 1, s.Pins())
	ledger = appended(ledger, pinset.Entry{At: t0, Kind: pinset.Confirm, Channel: "app", Version: 1, By: pinset.ByKeepkey})
	return Input{Goal: goal, State: s, Ledger: ledger, Host: "here", Now: t0.Add(day), Disk: Disk{Keys: []pinset.Pin{testPin(1), testPin(2)}, Live: 1, Versions: []int{1}}}
}

// intended is a ledger with one publication that was not confirmed.
func intended(channel string, version int, pins []pinset.Pin) pinset.Ledger {
	return appended(pinset.Ledger{}, pinset.Entry{
		At: t0, Kind: pinset.Intent, Channel: channel, Version: version, Pins: pins, Lifetime: &pinset.Lifetime{Duration: 30 * day}, Places: at("file a"),
	})
}

func appended(l pinset.Ledger, e pinset.Entry) pinset.Ledger {
	l, _, err := l.Append(e)
	if err != nil {
		panic(err)
	}
	return l
}

// lines writes a plan as a person would tell it.
func lines(in Input) string {
	p := Next(in)
	var b strings.Builder
	for _, pr := range p.Problems {
		blocks := ""
		if pr.Blocks {
			blocks = " (blocks)"
		}
		fmt.Fprintf(&b, "problem: %s%s\n", pr.Code, blocks)
	}
	for _, a := range p.Actions {
		if a.Kind == Look {
			continue // that is for look_test.go
		}
		if a.Why.Code == WhyThirdLeft || a.Why.Code == WhyHalfLeft {
			c := in.State.Certificate // its own moment is for renew_test.go
			a.At = a.At.Add(ByLifetime(c.NotBefore, c.NotAfter).Sub(c.due()))
		}
		when := "now"
		if a.At.After(in.Now) {
			when = fmt.Sprintf("in %s", a.At.Sub(in.Now))
		}
		fmt.Fprintf(&b, "%s: %s", when, a.Kind)
		for _, s := range []string{string(a.Role), a.Channel} {
			if s != "" {
				b.WriteString(" " + s)
			}
		}
		if a.PinSet.Version > 0 {
			fmt.Fprintf(&b, " v%d", a.PinSet.Version)
		}
		if a.Again {
			b.WriteString(" again")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// confirmedBy has the channel's pin sets confirmed in a way, the one on record, too.
func confirmedBy(in *Input, by Confirmation) {
	ch := &in.Goal.Channels[0]
	ch.Manual, ch.ReadBack = by == ByPerson, by == ByReadBack
	pub := in.State.Channels["app"]
	pub.By = by
	in.State.Channels["app"] = pub
}

func TestNext(t *testing.T) {
	t.Parallel()
	const nothingDue = "in 1416h0m0s: obtain\n" // 60 days after t0, seen a day later
	tests := []struct {
		name   string
		change func(*Input)
		want   string
	}{
		{"a settled lineage waits for a third of its lifetime", func(*Input) {}, nothingDue},
		{"a new lineage begins", func(in *Input) { in.State, in.Disk, in.Ledger = State{}, Disk{}, pinset.Ledger{} }, "now: begin-lineage\n"},
		{"the active key comes first", func(in *Input) { in.State = begun(); in.Disk = Disk{} }, "now: generate-key active\n"},
		{"and then the backup, before anything leaves the machine", func(in *Input) {
			s := begun()
			s.Keys = in.State.Keys[:1]
			in.State, in.Disk = s, Disk{}
		}, "now: generate-key backup\n"},
		{"the pin set is published before the first certificate", func(in *Input) {
			s := begun()
			s.Keys = in.State.Keys
			in.State, in.Disk, in.Ledger = s, Disk{}, pinset.Ledger{}
		}, "now: publish app v1\nnow: obtain\n"},
		{"a further backup is generated and published, and stops nothing", func(in *Input) { in.Goal.Backups = 2 },
			"now: generate-key backup\n" + nothingDue},
		{"a lowered count removes no key", func(in *Input) {
			in.State.Keys = append(in.State.Keys, Key{Pin: testPin(3), Type: pinset.EC256, Role: Backup})
		}, "now: publish app v2\n" + nothingDue},
		{"an unconfirmed publication is tried again under its version", func(in *Input) {
			in.Ledger = intended("app", 1, in.State.Pins())
			in.State.Channels = map[string]Publication{"app": {Version: 1}}
		}, "now: publish app v1\n" + nothingDue},
		{"one that waits for a person's word is not", func(in *Input) {
			in.Ledger = intended("app", 1, in.State.Pins())
			confirmedBy(in, ByPerson)
		}, nothingDue},
		{"one that was to be confirmed by a person is published again before keepkey does", func(in *Input) {
			in.Ledger = intended("app", 1, in.State.Pins())
			confirmedBy(in, ByPerson)
			in.Goal.Channels[0].Manual = false
		}, "now: publish app v1 again\n" + nothingDue},
		{"so is one that was to be read back", func(in *Input) {
			in.Ledger = intended("app", 1, in.State.Pins())
			confirmedBy(in, ByReadBack)
			in.Goal.Channels[0].ReadBack = false
		}, "now: publish app v1 again\n" + nothingDue},
		{"what is out stays out, however it was confirmed", func(in *Input) {
			confirmedBy(in, ByPerson)
			in.Goal.Channels[0].Manual = false
		}, nothingDue},
		{"what is read back is published first", func(in *Input) {
			in.Ledger = pinset.Ledger{}
			in.Goal.Channels[0].ReadBack = true
		}, "now: publish app v1\n" + nothingDue},
		{"and then looked for", func(in *Input) {
			in.Ledger = intended("app", 1, in.State.Pins())
			confirmedBy(in, ByReadBack)
		}, "now: read-back app v1\n" + nothingDue},
		{"not too often, and a person is told", func(in *Input) {
			in.Ledger = intended("app", 1, in.State.Pins())
			confirmedBy(in, ByReadBack)
			in.State.Failures = map[string]Failure{"read-back app": {Count: 2, Last: t0, Next: in.Now.Add(time.Hour)}}
		}, "problem: publication-unseen\nin 1h0m0s: read-back app v1\n" + nothingDue},
		{"what was read back is not looked for again", func(in *Input) {
			in.Goal.Channels[0].ReadBack = true
		}, nothingDue},
		{"an intent that the state has not followed is resumed", func(in *Input) {
			in.Ledger = intended("app", 1, in.State.Pins())
			in.State.Channels = nil
		}, "now: publish app v1\n" + nothingDue},
		{"a damaged ledger stops publications, and not renewals", func(in *Input) {
			in.Now = t0.Add(65 * day)
			in.State.Channels, in.Ledger = nil, pinset.Ledger{}
			in.Disk.LedgerProblem = errors.New("line 1 of the ledger is missing")
		}, "problem: ledger-damaged\nnow: obtain\n"},
		{"a channel that was removed while clients hold its pins is missed", func(in *Input) {
			in.Goal.Channels = nil
		}, "problem: channel-removed\n" + nothingDue},
		{"but not once they are retired", func(in *Input) {
			in.Goal.Channels = nil
			in.Ledger = appended(in.Ledger, pinset.Entry{At: t0, Kind: pinset.Retire, Channel: "app", Version: 1, By: pinset.ByPerson})
		}, nothingDue},
		{"one that was retired and is back needs a new version", func(in *Input) {
			in.Ledger = appended(in.Ledger, pinset.Entry{At: t0, Kind: pinset.Retire, Channel: "app", Version: 1, By: pinset.ByPerson})
		}, "now: publish app v2\n" + nothingDue},
		{"a place that left the configuration is missed", func(in *Input) {
			in.Ledger = appended(in.Ledger, pinset.Entry{At: t0, Kind: pinset.Extend, Channel: "app", Version: 1, Places: at("file b")})
			in.Ledger = appended(in.Ledger, pinset.Entry{At: t0, Kind: pinset.Confirm, Channel: "app", Version: 1, By: pinset.ByKeepkey})
		}, "problem: place-removed\n" + nothingDue},
		{"but not once a person says that it is gone", func(in *Input) {
			in.Ledger = appended(in.Ledger, pinset.Entry{At: t0, Kind: pinset.Extend, Channel: "app", Version: 1, Places: at("file b")})
			in.Ledger = appended(in.Ledger, pinset.Entry{At: t0, Kind: pinset.Confirm, Channel: "app", Version: 1, By: pinset.ByKeepkey})
			in.Ledger = appended(in.Ledger, pinset.Entry{At: t0, Kind: pinset.Gone, Channel: "app", Place: "file b", By: pinset.ByPerson})
		}, nothingDue},
		{"a new channel gets the pin set that the others have", func(in *Input) {
			in.Goal.Channels = append(in.Goal.Channels, Channel{Name: "web", Publish: at("file b")})
		}, "now: publish web v1\n" + nothingDue},
		{"a publish hook that was added runs", func(in *Input) {
			in.Goal.Channels[0].Publish = at("file a", "file c")
		}, "now: publish app v1\n" + nothingDue},
		{"what this run tried is not offered again", func(in *Input) {
			in.Ledger = pinset.Ledger{}
			in.Tried = map[string]bool{Action{Kind: Publish, Channel: "app"}.ID(): true}
		}, nothingDue},
		{"a failed publication does not hold up a renewal", func(in *Input) {
			in.Now = t0.Add(65 * day)
			in.Ledger = pinset.Ledger{}
			in.Tried = map[string]bool{Action{Kind: Publish, Channel: "app"}.ID(): true}
		}, "now: obtain\n"},
		{"a stored version becomes live", func(in *Input) { in.State.Certificate.Version = 2 }, "now: install\n" + nothingDue},
		{"a deleted live link is put back", func(in *Input) { in.Disk.Live = 0 }, "now: install\n" + nothingDue},
		{"deploy comes before the look at the server", func(in *Input) {
			in.State.Hosts["here"] = Host{Installed: 1}
		}, "now: deploy\n" + nothingDue},
		{"the look at the server", func(in *Input) { in.State.Hosts["here"] = Host{Installed: 1, Deployed: in.Goal.Deploy} }, "now: check\n" + nothingDue},
		{"damaged certificate files are replaced by a new certificate", func(in *Input) {
			in.Disk.StoredProblem = errors.New("cut short")
		}, "now: obtain\n"},
		{"other names are a new certificate", func(in *Input) { in.Goal.Domains = []string{"b.example.com"} }, "now: obtain\n"},
		{"the same names in another order are not", func(in *Input) {
			in.State.Certificate.Domains = []string{"a.example.com", "b.example.com"}
			in.Goal.Domains = []string{"b.example.com", "a.example.com"}
		}, nothingDue},
		{"another CA is a new certificate", func(in *Input) { in.Goal.CA = "https://other.example/dir" }, "now: obtain\n"},
		{"another key type is nothing to the keys there are", func(in *Input) { in.Goal.KeyType = pinset.RSA2048 }, nothingDue},
		{"--force", func(in *Input) { in.Force = true }, "now: obtain\n"},
		{"--force once a run", func(in *Input) {
			in.Force = true
			in.Tried = map[string]bool{Action{Kind: Obtain}.ID(): true}
		}, ""},
		{"six days: half", func(in *Input) { in.State.Certificate.NotAfter = t0.Add(6 * day) }, "in 48h0m0s: obtain\n"},
		{"the renewal window is asked for once a certificate", func(in *Input) { in.State.Window = nil }, "now: ask-window\n" + nothingDue},
		{"and again when the CA said so", func(in *Input) { in.State.Window.AskAgain = t0.Add(time.Hour) }, "now: ask-window\n" + nothingDue},
		{"and when the clock was set back", func(in *Input) { in.Now = t0.Add(-day) }, "now: ask-window\nin 1464h0m0s: obtain\n"},
		{"a window that has passed", func(in *Input) { window(in, t0.Add(-day), t0) }, "now: obtain\n"},
		{"a window that always has passed does not make us order again and again", func(in *Input) {
			window(in, t0.Add(-day), t0)
			in.State.Certificate.Early = true
			in.State.Certificate.Obtained = t0.Add(23 * time.Hour)
		}, "in 23h0m0s: obtain\n"},
		{"a window to come", func(in *Input) { window(in, t0.Add(70*day), t0.Add(70*day+1)) }, "in 1656h0m0s: obtain\n"},
		{"an empty window counts for nothing", func(in *Input) { window(in, time.Time{}, time.Time{}) }, nothingDue},
		{"nor does the year 1", func(in *Input) { window(in, time.Time{}, time.Time{}.Add(day)) }, nothingDue},
		{"nor the year 2999", func(in *Input) {
			window(in, t0.AddDate(973, 0, 0), t0.AddDate(973, 0, 1))
		}, nothingDue},
		{"nor an end before the start", func(in *Input) { window(in, t0.Add(2*day), t0.Add(day)) }, nothingDue},
		{"nor one for another certificate", func(in *Input) {
			window(in, t0.Add(-day), t0)
			in.State.Window.Serial = "77"
		}, "now: ask-window\n" + nothingDue},
		{"after a failure it waits, and says so", func(in *Input) {
			in.Now = t0.Add(70 * day)
			in.State.Failures = map[string]Failure{"obtain": {Count: 2, Last: in.Now, Next: in.Now.Add(time.Hour)}}
		}, "problem: issuance-failing\nin 1h0m0s: obtain\n"},
		{"and then tries again", func(in *Input) {
			in.Now = t0.Add(70 * day)
			in.State.Failures = map[string]Failure{"obtain": {Count: 2, Last: t0, Next: in.Now}}
		}, "problem: issuance-failing\nnow: obtain\n"},
		{"a failure in the future counts for nothing", func(in *Input) {
			in.Now = t0.Add(65 * day)
			in.State.Failures = map[string]Failure{"obtain": {Count: 2, Last: t0.AddDate(50, 0, 0), Next: t0.AddDate(51, 0, 0)}}
		}, "now: obtain\n"},
		{"an order under way is resumed", func(in *Input) { in.State.Orders = []Order{{Pin: testPin(1)}} }, "now: obtain\n"},

		{"a failure that was forced long before its time is nobody's concern", func(in *Input) {
			in.State.Failures = map[string]Failure{"obtain": {Count: 2, Last: in.Now, Next: in.Now.Add(time.Hour)}}
		}, nothingDue},
		{"a publish hook that keeps failing is told at every run", func(in *Input) {
			in.State.Channels = map[string]Publication{"app": {Version: 1}}
			in.State.Failures = map[string]Failure{"publish app": {Count: 2, Last: t0}}
		}, "problem: publication-failing\nnow: publish app v1\n" + nothingDue},
		{"so is a deploy hook", func(in *Input) {
			in.State.Hosts["here"] = Host{Installed: 1, Failures: map[string]Failure{"deploy reload": {Count: 1, Last: t0}}}
		}, "problem: deploy-failing\nnow: deploy\n" + nothingDue},
		{"another host's is that host's concern", func(in *Input) {
			in.State.Hosts["there"] = Host{Installed: 1, Failures: map[string]Failure{"deploy reload": {Count: 1, Last: t0}}}
		}, nothingDue},
		{"a renewal that was due for more than a week, and nothing tried", func(in *Input) { in.Now = t0.Add(71 * day) },
			"problem: renewal-overdue\nnow: obtain\n"},
		{"a certificate that has expired", func(in *Input) { in.Now = t0.Add(91 * day) }, "problem: certificate-expired\nnow: obtain\n"},
		{"one that has expired, and the next is not installed", func(in *Input) {
			in.Now = t0.Add(91 * day)
			in.State.Issued = []Issued{{Version: 1, Pin: testPin(1), Serial: "5e", NotAfter: t0.Add(90 * day)}, {Version: 2, Pin: testPin(1), Serial: "5f", NotAfter: t0.Add(150 * day)}}
			in.State.Certificate.Version, in.State.Certificate.Serial = 2, "5f"
			in.State.Certificate.NotAfter = t0.Add(150 * day)
			in.State.Window.Serial = "5f"
		}, "problem: certificate-expired\nnow: install\nin 216h0m0s: obtain\n"},
		{"a clock that was a day ahead of the CA's when last asked", func(in *Input) {
			in.State.Clock = &Clock{Ours: in.Now.Add(-time.Hour), CA: in.Now.Add(-25 * time.Hour)}
		}, "problem: clock-wrong\nnow: ask-window\n" + nothingDue},
		{"and was set right since", func(in *Input) {
			in.State.Clock = &Clock{Ours: in.Now.Add(24 * time.Hour), CA: in.Now}
		}, nothingDue},
		{"a clock that was set back since the CA was asked", func(in *Input) {
			in.State.Clock = &Clock{Ours: in.Now.Add(24 * time.Hour), CA: in.Now.Add(24 * time.Hour)}
		}, "problem: clock-wrong\nnow: ask-window\n" + nothingDue},
		{"old versions are pruned, but for the newest five", func(in *Input) {
			in.State.Certificate.Version, in.Disk.Live = 7, 7
			in.State.Hosts["here"] = Host{Installed: 7, Deployed: in.Goal.Deploy, Checked: in.Goal.Check}
			in.Disk.Versions = []int{1, 2, 3, 4, 5, 6, 7}
		}, "now: prune\nnow: prune\n" + nothingDue},
		{"not by a clock that is ahead of the CA's: they may not have expired", func(in *Input) {
			in.State.Certificate.Version, in.Disk.Live = 7, 7
			in.State.Hosts["here"] = Host{Installed: 7, Deployed: in.Goal.Deploy, Checked: in.Goal.Check}
			in.State.Clock = &Clock{Ours: in.Now.Add(-time.Hour), CA: in.Now.Add(-25 * time.Hour)}
			in.Disk.Versions = []int{1, 2, 3, 4, 5, 6, 7}
		}, "problem: clock-wrong\nnow: ask-window\n" + nothingDue},
		{"not one that another host serves, nor one that has not expired", func(in *Input) {
			in.State.Certificate.Version, in.Disk.Live = 7, 7
			in.State.Hosts["here"] = Host{Installed: 7, Deployed: in.Goal.Deploy, Checked: in.Goal.Check}
			in.State.Hosts["there"] = Host{Installed: 1}
			in.State.Issued = []Issued{{Version: 2, Pin: testPin(1), Serial: "2", NotAfter: t0.Add(30 * day)}}
			in.Disk.Versions = []int{1, 2, 3, 4, 5, 6, 7}
		}, nothingDue},

		{"keys without a state are nobody's first run", func(in *Input) { in.State = State{} }, "problem: state-missing (blocks)\n"},
		{"a live link without a state neither", func(in *Input) { in.State, in.Disk.Keys = State{}, nil }, "problem: state-missing (blocks)\n"},
		{"nor is one whose pin set is out already", func(in *Input) {
			in.State, in.Disk = State{}, Disk{Elsewhere: []string{"/srv/a.json is there"}}
		}, "problem: keys-elsewhere (blocks)\n"},
		{"unless a person says so", func(in *Input) {
			in.State, in.Disk = State{}, Disk{Elsewhere: []string{"/srv/a.json is there"}}
			in.NewLineage = true
		}, "now: begin-lineage\n"},
		{"but not over keys that are there", func(in *Input) { in.State, in.NewLineage = State{}, true }, "problem: state-missing (blocks)\n"},
		{"without the active key nothing is done", func(in *Input) {
			in.Now = t0.Add(65 * day)
			in.Disk.KeyProblems = map[pinset.Pin]error{testPin(1): errors.New("gone")}
		}, "problem: key-missing (blocks)\n"},
		{"without the backup key renewals go on", func(in *Input) {
			in.Now = t0.Add(65 * day)
			in.Disk.KeyProblems = map[pinset.Pin]error{testPin(2): errors.New("gone")}
		}, "problem: backup-missing\nnow: generate-key backup\nnow: obtain\n"},
		{"a state from an old backup is not gone by", func(in *Input) { in.Disk.Live = 2 }, "problem: state-outdated (blocks)\n"},
		{"a live that is not ours is not overwritten", func(in *Input) { in.Disk.LiveProblem = errors.New("a directory") }, "problem: live-foreign (blocks)\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := settled()
			tt.change(&in)
			if got := lines(in); got != tt.want {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
		})
	}
}

func TestACertificateExpiresOnRecordByTheEarlierClock(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		ca     time.Duration // how far the CA's clock is ahead
		onFile int
	}{
		"no CA told the time":      {0, 1},
		"both say that it expired": {-time.Hour, 1},
		"only this machine does":   {-31 * day, 2},
		"only the CA does":         {31 * day, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := settled()
			at := t0.Add(91 * day)
			if tt.ca > 0 {
				at = t0.Add(89 * day)
			}
			in.State.Issued = []Issued{{Version: 1, Pin: testPin(1), Serial: "5e", NotAfter: t0.Add(90 * day)}}
			r := Result{At: at, Certificate: &Certificate{
				Version: 2, Pin: testPin(1), Serial: "5f", Domains: in.Goal.Domains, Directory: in.Goal.CA, NotBefore: at, NotAfter: at.Add(90 * day),
			}}
			if tt.ca != 0 {
				r.CA = at.Add(tt.ca)
			}
			next, _, err := After(in.State, Action{Kind: Obtain}, r)
			if err != nil || len(next.Issued) != tt.onFile {
				t.Errorf("%d certificates on record (%v), want %d", len(next.Issued), err, tt.onFile)
			}
		})
	}
}

func window(in *Input, start, end time.Time) {
	in.State.Window = &Window{Serial: "5e", Start: start, End: end, Asked: t0, AskAgain: t0.Add(1000 * day)}
}

func TestNoPlanEverReplacesAKeyThatIsNamed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := settled()
		in.Now = t0.Add(time.Duration(rapid.Int64Range(-400, 400).Draw(t, "hours")) * time.Hour * 10)
		in.Force = rapid.Bool().Draw(t, "force")
		in.NewLineage = rapid.Bool().Draw(t, "new lineage")
		in.Goal.KeyType = rapid.SampledFrom(pinset.KeyTypes()).Draw(t, "key type")
		if rapid.Bool().Draw(t, "active key damaged") {
			in.Disk.KeyProblems = map[pinset.Pin]error{testPin(1): errors.New("damaged")}
		}
		if rapid.Bool().Draw(t, "stored version damaged") {
			in.Disk.StoredProblem = errors.New("damaged")
		}
		if rapid.Bool().Draw(t, "state lost") {
			in.State = State{}
		}
		in.Disk.Live = rapid.IntRange(0, 3).Draw(t, "live")
		for _, a := range Next(in).Actions {
			if a.Kind == GenerateKey || a.Kind == BeginLineage {
				t.Fatalf("%s is planned for a lineage that has its keys", a.Kind)
			}
		}
	})
}

// after expects a transition to make sense.
func after(t testing.TB, s State, a Action, r Result) State {
	t.Helper()
	next, _, err := After(s, a, r)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func TestBackoffGrowsAndHonoursRetryAfter(t *testing.T) {
	t.Parallel()
	s := settled().State
	a := Action{Kind: Obtain}
	for i, want := range []time.Duration{time.Minute, 10 * time.Minute, 100 * time.Minute, day, day} {
		s = after(t, s, a, Result{At: t0, Failed: &Failed{Text: "no"}})
		if got := s.Failures["obtain"].Next.Sub(t0); got != want {
			t.Errorf("failure %d: next attempt after %s, want %s", i+1, got, want)
		}
	}
	s = after(t, s, a, Result{At: t0, Failed: &Failed{RetryAfter: 30 * time.Hour}})
	if got := s.Failures["obtain"].Next.Sub(t0); got != 30*time.Hour {
		t.Errorf("a Retry-After of 30 h: next attempt after %s", got)
	}
	s = after(t, s, a, Result{At: s.Certificate.NotAfter.Add(-8 * time.Hour), Failed: &Failed{}})
	if f := s.Failures["obtain"]; f.Next.Sub(f.Last) != time.Hour || !f.First.Equal(t0) || f.Count != 7 {
		t.Errorf("with 8 h left: %+v, want the next attempt after an eighth", f)
	}
}

// A switch that keeps failing does not push the renewal's next attempt on, and the
// other way round.
func TestEachPurposeHasItsOwnBackoff(t *testing.T) {
	t.Parallel()
	in := settled()
	in.Now = t0.Add(80 * day) // the renewal is due
	in.State.Keys = append(in.State.Keys, Key{Pin: testPin(3), Type: pinset.EC256, Role: Backup, Created: t0})
	in.Goal.Channels, in.Goal.Check, in.Goal.NobodyPins, in.Ledger = nil, nil, true, pinset.Ledger{}
	in.State = after(t, in.State, Action{Kind: BeginRollover}, Result{At: in.Now})
	for range 5 {
		in.State = after(t, in.State, Action{Kind: SwitchKey}, Result{At: in.Now, Failed: &Failed{Text: "the CA refuses this key"}})
	}
	p := Next(in)
	if a, due := p.Due(in.Now); !due || a.Kind != Obtain {
		t.Errorf("due is %v, want the renewal with the same key; all: %v", a, p.Actions)
	}
	if !slices.ContainsFunc(p.Problems, func(f Finding) bool { return f.Code == SwitchFailing && f.Failure.Count == 5 }) {
		t.Errorf("problems %+v, want one that says that the switch fails", p.Problems)
	}
	// Who asks again does not wait.
	in.State = after(t, in.State, Action{Kind: BeginRollover}, Result{At: in.Now})
	if a, _ := Next(in).Due(in.Now); a.Kind != SwitchKey {
		t.Errorf("due is %s after it was asked for again", a.Kind)
	}
}

func TestStateSurvivesItsDocument(t *testing.T) {
	t.Parallel()
	data, err := settled().State.Marshal("v1")
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParseState("api", data)
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.Marshal("v1")
	if err != nil {
		t.Fatal(err)
	}
	if string(again) != string(data) {
		t.Errorf("got\n%s\nwant\n%s", again, data)
	}
}

func TestParseStateRefusesWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*State){
		"of another lineage":            func(s *State) { s.Lineage = "www" },
		"of no schema":                  func(s *State) { s.Schema = 0 },
		"of a newer schema":             func(s *State) { s.Schema = Schema + 1 },
		"of a lineage that never began": func(s *State) { s.Begun = time.Time{} },
		"two active keys":               func(s *State) { s.Keys[1].Role = Active },
		"no active key":                 func(s *State) { s.Keys = s.Keys[1:] },
		"a key twice":                   func(s *State) { s.Keys = append(s.Keys, s.Keys[1]) },
		"a role nobody knows":           func(s *State) { s.Keys[1].Role = "spare" },
		"a certificate for another key": func(s *State) { s.Certificate.Pin = testPin(9) },
		"an order for an unknown key":   func(s *State) { s.Orders = []Order{{Pin: testPin(9)}} },
		"two orders for one key":        func(s *State) { s.Orders = []Order{{Pin: testPin(1)}, {Pin: testPin(1)}} },
		"a rollover to nowhere":         func(s *State) { s.Rollover = &Rollover{From: testPin(1), To: testPin(9)} },
		"a rollover to itself":          func(s *State) { s.Rollover = &Rollover{From: testPin(1), To: testPin(1)} },
		"a rollover from a backup key":  func(s *State) { s.Rollover = &Rollover{From: testPin(2), To: testPin(1)} },
		"a switch that nobody made": func(s *State) {
			s.Rollover = &Rollover{From: testPin(1), To: testPin(2), Switched: t0}
		},
		"a rollover that locks out without need": func(s *State) {
			s.Rollover = &Rollover{From: testPin(1), To: testPin(2), BreakageAccepted: true}
		},
		"a rollover that interrupts one that makes no sense": func(s *State) {
			s.Rollover = &Rollover{From: testPin(1), To: testPin(2), Compromised: true, Interrupted: &Rollover{From: testPin(2), To: testPin(1)}}
		},
		"a way back to a compromised key": func(s *State) {
			s.Keys[1].Role = Compromised
			s.Rollover = &Rollover{From: testPin(1), To: testPin(2)}
		},
		"a certificate that was issued for an unknown key": func(s *State) { s.Issued = []Issued{{Version: 1, Pin: testPin(9), Serial: "5e"}} },
		"fewer failures than none":                         func(s *State) { s.Failures = map[string]Failure{"obtain": {Count: -1}} },
		"failures without end":                             func(s *State) { s.Failures = map[string]Failure{"obtain": {Count: math.MaxInt64}} },
		"failures of a host, which are none":               func(s *State) { s.Hosts["here"] = Host{Failures: map[string]Failure{"check": {}}} },
		"a channel without a version":                      func(s *State) { s.Channels["app"] = Publication{} },
		"a host with a certificate that is to come":        func(s *State) { s.Hosts["here"] = Host{Installed: 2} },
		"a host without a name":                            func(s *State) { s.Hosts[""] = Host{} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := settled().State
			change(&s)
			data, err := s.Marshal("")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ParseState("api", data); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestANewerStateNamesWhoCanReadIt(t *testing.T) {
	t.Parallel()
	_, err := ParseState("api", []byte(`{"written_by":"v7.1.0","schema":3,"lineage":"api","what":"ever"}`))
	var newer *NewerSchemaError
	if !errors.As(err, &newer) || newer.By != "v7.1.0" || !strings.Contains(err.Error(), "v7.1.0") {
		t.Errorf("error %v, want one that names the version", err)
	}
}

func TestAnOlderStateIsMigratedStepByStep(t *testing.T) {
	t.Parallel()
	data, err := settled().State.Marshal("")
	if err != nil {
		t.Fatal(err)
	}
	schema := func(n int) string { return fmt.Sprintf(`"schema":%d`, n) }
	old := strings.Replace(strings.Replace(string(data), schema(Schema), schema(Schema-2), 1), `"lineage"`, `"name"`, 1)
	steps := map[int]migration{
		Schema - 2: func(d []byte) ([]byte, error) {
			return bytes.Replace(d, []byte(schema(Schema-2)), []byte(schema(Schema-1)), 1), nil
		},
		Schema - 1: func(d []byte) ([]byte, error) {
			d = bytes.Replace(d, []byte(schema(Schema-1)), []byte(schema(Schema)), 1)
			return bytes.Replace(d, []byte(`"name"`), []byte(`"lineage"`), 1), nil
		},
	}
	s, err := parseState("api", []byte(old), steps)
	if err != nil || s.Certificate.Serial != "5e" {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := ParseState("api", bytes.Replace(data, []byte(schema(Schema)), []byte(schema(-1)), 1)); err == nil {
		t.Error("a schema that nobody knows is accepted")
	}
}

func FuzzParseState(f *testing.F) {
	data, err := settled().State.Marshal("")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	busy := settled().State
	busy.Keys = append(busy.Keys, Key{Pin: testPin(3), Type: pinset.EC384, Role: Compromised}, Key{Pin: testPin(4), Type: pinset.EC256, Role: Retired})
	busy.Issued = []Issued{{Version: 1, Pin: testPin(3), Serial: "5d", NotAfter: t0.Add(day)}}
	busy.Clock = &Clock{Ours: t0, CA: t0.Add(day)}
	busy.Rollover = &Rollover{
		From: testPin(1), To: testPin(2), Asked: t0, Compromised: true, BreakageAccepted: true,
		Interrupted: &Rollover{From: testPin(4), To: testPin(1), Switched: t0},
	}
	if data, err = busy.Marshal(""); err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"schema":1,"lineage":"api"} trailing`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseState("api", data)
		if err != nil {
			return
		}
		in := Input{Goal: testGoal(), State: s, Now: t0, Host: "here"}
		in.Goal.RolloverEvery = day
		Next(in)     // must not panic
		Forecast(in) // must come to an end
		for _, kind := range []Kind{Obtain, SwitchKey, ReadBack, Look, Publish} {
			a := Action{Kind: kind, Channel: "app"}
			_, _, _ = After(s, a, Result{At: t0, Failed: &Failed{Text: "it failed"}}) // must not panic, either
		}
	})
}

func TestForecast(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*Input)
		want   []Kind
	}{
		{"a first run", func(in *Input) { in.State, in.Disk, in.Ledger = State{}, Disk{}, pinset.Ledger{} },
			[]Kind{BeginLineage, GenerateKey, GenerateKey, Publish, Obtain, Install, Deploy, Check}},
		{"a forced renewal, and the one after", func(in *Input) { in.Force = true },
			[]Kind{Obtain, Install, Deploy, Check, Obtain}},
		{"a settled lineage", func(*Input) {}, []Kind{Obtain}},
		{"a refusal", func(in *Input) { in.State = State{} }, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := settled()
			tt.change(&in)
			before, _ := in.State.Marshal("")
			p := Forecast(in)
			var got []Kind
			for _, a := range p.Actions {
				if a.Kind != Look {
					got = append(got, a.Kind)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if after, _ := in.State.Marshal(""); string(after) != string(before) {
				t.Error("the forecast changed the state it was given")
			}
		})
	}
}

// A forecast always ends, whatever the state.
func TestForecastEnds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := settled()
		in.Now = t0.Add(time.Duration(rapid.Int64Range(-4000, 4000).Draw(t, "hours")) * time.Hour)
		in.Force = rapid.Bool().Draw(t, "force")
		in.Goal.Backups = rapid.IntRange(1, 5).Draw(t, "backups")
		if rapid.Bool().Draw(t, "fresh") {
			in.State, in.Disk, in.Ledger = State{}, Disk{}, pinset.Ledger{}
		}
		if n := len(Forecast(in).Actions); n > 50 {
			t.Fatalf("%d actions", n)
		}
	})
}

// Even where the gate is open, a rollover waits until every channel has the pin set
// with the key after the next: else nothing would be ready for the rollover after it.
func TestARolloverWaitsUntilTheNextPinSetIsOut(t *testing.T) {
	t.Parallel()
	pending := func() Input {
		in := settled()
		in.State.Keys = append(in.State.Keys, Key{Pin: testPin(3), Type: pinset.EC256, Role: Backup, Created: t0})
		in.State = after(t, in.State, Action{Kind: BeginRollover}, Result{At: in.Now})
		return in
	}
	publish := func(in *Input, done, confirmed bool) {
		in.Ledger = appended(in.Ledger, pinset.Entry{At: in.Now, Kind: pinset.Intent, Channel: "app", Version: 2, Pins: in.State.Pins(), Lifetime: &pinset.Lifetime{Duration: 30 * day}, Places: at("file a")})
		p := Publication{Version: 2, By: in.Goal.Channels[0].confirmation()}
		if done {
			p.Done = []string{"file a"}
		}
		if confirmed {
			in.Ledger = appended(in.Ledger, pinset.Entry{At: in.Now, Kind: pinset.Confirm, Channel: "app", Version: 2, By: pinset.ByKeepkey})
		}
		in.State.Channels["app"] = p
	}
	for _, tt := range []struct {
		name     string
		change   func(*Input)
		switches bool
	}{
		{"nothing is published yet", func(*Input) {}, false},
		{"the next backup key is not made yet", func(in *Input) { in.State.Keys = in.State.Keys[:2] }, false},
		{"a hook failed", func(in *Input) { publish(in, false, false) }, false},
		{"it was not read back", func(in *Input) {
			in.Goal.Channels[0].ReadBack = true
			publish(in, true, false)
		}, false},
		{"a person has yet to confirm it, which may take long", func(in *Input) {
			in.Goal.Channels[0].Manual = true
			publish(in, true, false)
		}, true},
		{"it is out", func(in *Input) { publish(in, true, true) }, true},
		{"the key that should take over is lost", func(in *Input) {
			publish(in, true, true)
			in.Disk.KeyProblems = map[pinset.Pin]error{testPin(2): errors.New("missing")}
		}, false},
		{"the ledger is damaged", func(in *Input) {
			publish(in, true, true)
			in.Disk.LedgerProblem = errors.New("line 1")
		}, false},
		{"the key is compromised, so that nothing is waited for", func(in *Input) {
			in.State.Rollover.Compromised = true
		}, true},
		{"the key is compromised, but nobody knows who has which pin set", func(in *Input) {
			in.State.Rollover.Compromised = true
			in.Disk.LedgerProblem = errors.New("line 1")
			in.Ledger = pinset.Ledger{}
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := pending()
			tt.change(&in)
			p := Next(in)
			switches := slices.ContainsFunc(p.Actions, func(a Action) bool { return a.Kind == SwitchKey && !a.At.After(in.Now) })
			if switches != tt.switches {
				t.Errorf("switches: %v; actions %v, notes %+v", switches, p.Actions, p.Notes)
			}
		})
	}
}
