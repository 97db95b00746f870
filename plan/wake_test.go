package plan

import (
	"errors"
	"testing"
	"time"
)

func TestALineageIsWokenForItsNextAction(t *testing.T) {
	t.Parallel()
	failing := func(a Action, count int, last time.Time) func(*Input) {
		return func(in *Input) {
			in.State.Failures = map[string]Failure{a.purpose(): {Count: count, First: t0, Last: last, Error: "no"}}
		}
	}
	tomorrow := lookEvery - share("api", lookEvery/8)
	for _, tt := range []struct {
		name   string
		change func(*Input)
		want   time.Duration // from now
	}{
		{"nothing due for a long time", func(in *Input) {}, tomorrow},
		{"a window to ask for later", func(in *Input) { in.State.Window.AskAgain = in.Now.Add(time.Hour) }, time.Hour},
		{"a window, while the clock is wrong", func(in *Input) {
			in.State.Window.Asked = in.Now.Add(-10 * time.Minute)
			in.State.Clock = &Clock{Ours: in.Now, CA: in.Now.Add(2 * time.Hour)}
		}, 50 * time.Minute},
		{"a window, once the clock was set right", func(in *Input) {
			in.State.Window.Asked = in.Now
			in.State.Clock = &Clock{Ours: in.Now, CA: in.Now.Add(2 * time.Hour)}
			in.Now = in.Now.Add(2 * time.Hour)
		}, 0},
		{"a window to ask for", func(in *Input) { in.State.Window.AskAgain = in.Now.Add(time.Hour); in.Now = in.Now.Add(2 * time.Hour) }, 0},
		{"a hook that failed, once", func(in *Input) {
			in.Goal.Channels[0].Publish = append(in.Goal.Channels[0].Publish, at("new")...)
			failing(Action{Kind: Publish, Channel: in.Goal.Channels[0].Name}, 1, in.Now)(in)
		}, time.Minute},
		{"a hook that failed, three times", func(in *Input) {
			in.Goal.Channels[0].Publish = append(in.Goal.Channels[0].Publish, at("new")...)
			failing(Action{Kind: Publish, Channel: in.Goal.Channels[0].Name}, 3, in.Now)(in)
		}, 4 * time.Minute},
		{"a hook that failed for years", func(in *Input) {
			in.Goal.Channels[0].Publish = append(in.Goal.Channels[0].Publish, at("new")...)
			failing(Action{Kind: Publish, Channel: in.Goal.Channels[0].Name}, 1_000_000, in.Now.Add(-time.Minute))(in)
		}, 59 * time.Minute},
		{"nothing can be done before a person acts", func(in *Input) { in.Disk.LiveProblem = errors.New("a directory") }, blockedWake},
		{"nothing to look at, either", func(in *Input) {
			in.Goal.Channels, in.Goal.Check = nil, nil
		}, maxWake},
		{"by force", func(in *Input) { in.Force = true }, tomorrow},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := settled()
			in.State.Looked = map[string]time.Time{"app": in.Now}
			host := in.State.Hosts["here"]
			host.Looked = map[string]time.Time{}
			for _, addr := range in.Goal.Check {
				host.Looked[addr] = in.Now
			}
			in.State.Hosts["here"] = host
			tt.change(&in)
			if got := Wake(in).Sub(in.Now); got != tt.want {
				t.Errorf("it is woken after %s, want %s", got, tt.want)
			}
		})
	}
}
