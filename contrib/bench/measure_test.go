package main

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestMedianIsInTheMiddle(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 2, 100}, 3},
	} {
		if got := median(c.values); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.values, got, c.want)
		}
	}
}

func TestTableSetsRoundsBesideEachOther(t *testing.T) {
	t.Parallel()
	s, ms := time.Second, time.Millisecond
	// The second round was slow for both: the ratios do not see it.
	first := []figures{{100 * ms, 50 * ms, 10}, {10 * s, 5 * s, 10}, {100 * ms, 50 * ms, 10}}
	second := []figures{{150 * ms, 100 * ms, 40}, {15 * s, 10 * s, 40}, {150 * ms, 100 * ms, 40}}
	got := table([]contestant{{name: "one"}, {name: "other"}}, [][]figures{first, second})
	for _, want := range []string{
		"| one | 0.100 s | 0.050 s | 10 MiB | 1.00 | 1.00 | 1.00 |\n",
		"| other | 0.150 s | 0.100 s | 40 MiB | 1.50 | 2.00 | 4.00 |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %q in\n%s", want, got)
		}
	}
}

func TestProcessIsMeasured(t *testing.T) {
	t.Parallel()
	f, err := measure(t.Context(), contestant{args: []string{"sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"}})
	if err != nil || f.wall <= 0 || f.cpu <= 0 || f.memory <= 0 {
		t.Errorf("got %+v, %v", f, err)
	}
	if least, err := floor(); err != nil || least < 1 || least > 500 {
		t.Errorf("this test takes %v MiB, %v", least, err)
	}
	if _, err := measure(t.Context(), contestant{args: []string{"sh", "-c", "echo what is wrong >&2; exit 3"}}); err == nil || !strings.Contains(err.Error(), "what is wrong") {
		t.Errorf("a process that fails: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := rounds(ctx, []contestant{{args: []string{"true"}}}, 1); err == nil {
		t.Error("rounds went on after they were cancelled")
	}
}

func TestEachContestantRunsOnceARound(t *testing.T) {
	t.Parallel()
	all, err := rounds(t.Context(), []contestant{{args: []string{"true"}}, {args: []string{"sh", "-c", ":"}}}, 3)
	if err != nil || len(all) != 2 || len(all[0]) != 3 || len(all[1]) != 3 {
		t.Errorf("got %v, %v", all, err)
	}
}
