package plan

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// Certificates that were obtained together are renewed one after the other: by their
// lifetime, in the CA's window, and also where that window ends too late.
func TestRenewalsAreSpread(t *testing.T) {
	t.Parallel()
	const parts, each = 8, 250
	for _, tt := range []struct {
		name       string
		lifetime   time.Duration
		start, end time.Duration // of the CA's window; none
		from, to   time.Duration // when it is due
	}{
		{"by a lifetime of 90 days", 90 * day, 0, 0, 60 * day, 62*day + 12*time.Hour},
		{"by one of 45 days", 45 * day, 0, 0, 30 * day, 31*day + 6*time.Hour},
		{"by one of 6 days", 6 * day, 0, 0, 3 * day, 3*day + 4*time.Hour},
		{"in the CA's window", 90 * day, 58 * day, 60 * day, 58 * day, 60 * day},
		{"in as much of a window as leaves time", 90 * day, 70 * day, 89 * day, 70 * day, 75 * day},
		{"before a window that leaves none", 90 * day, 88 * day, 90 * day, 72*day + 12*time.Hour, 75 * day},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := make([]int, parts)
			for i := range parts * each {
				in := settled()
				c := in.State.Certificate
				c.Serial, c.NotAfter = fmt.Sprintf("%x", i), t0.Add(tt.lifetime)
				in.State.Window = nil
				if tt.end > 0 {
					in.State.Window = &Window{Serial: c.Serial, Start: t0.Add(tt.start), End: t0.Add(tt.end)}
				}
				at, _, _ := renewal(in)
				in.Now = at
				if again, _, _ := renewal(in); !again.Equal(at) {
					t.Fatalf("it is due at %s, and then at %s", at, again)
				}
				after := at.Sub(t0)
				if after < tt.from || after >= tt.to {
					t.Fatalf("it is due after %s, want from %s to %s", after, tt.from, tt.to)
				}
				got[(after-tt.from)*parts/(tt.to-tt.from)]++
			}
			if slices.Min(got) < each*3/4 || slices.Max(got) > each*5/4 {
				t.Errorf("the parts of the time got %v certificates, want about %d each", got, each)
			}
		})
	}
}

// Who has its moment late is no more overdue than others.
func TestOnesOwnMomentIsNotOverdue(t *testing.T) {
	t.Parallel()
	for i := range 100 {
		in := settled()
		c := in.State.Certificate
		c.Serial = fmt.Sprintf("%x", i)
		in.State.Window = nil
		for after, want := range map[time.Duration]bool{c.NotAfter.Sub(c.NotBefore)/12 - 1: false, c.NotAfter.Sub(c.NotBefore) / 12: true} {
			in.Now = c.due().Add(after)
			if got := slices.ContainsFunc(Next(in).Problems, func(f Finding) bool { return f.Code == RenewalOverdue }); got != want {
				t.Errorf("%s after its moment it is overdue: %v, want %v", after, got, want)
			}
		}
	}
}
