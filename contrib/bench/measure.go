package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// contestant is a program that is measured.
type contestant struct {
	name string
	env  []string
	args []string
}

// figures are what one run took, as the kernel counts.
type figures struct {
	wall, cpu time.Duration
	memory    float64 // peak resident set, in MiB
}

// rounds runs the contestants one after the other, again and again, so that whatever
// else the machine does falls on all of them. The first round is not counted: it
// warms the page cache.
func rounds(ctx context.Context, contestants []contestant, n int) ([][]figures, error) {
	all := make([][]figures, len(contestants))
	for round := range n + 1 {
		for k := range contestants {
			i := (round + k) % len(contestants) // nobody is always the first
			f, err := measure(ctx, contestants[i])
			if err != nil {
				return nil, err
			}
			if round > 0 {
				all[i] = append(all[i], f)
			}
		}
	}
	return all, nil
}

func measure(ctx context.Context, c contestant) (figures, error) {
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Env = c.env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start)
	if err != nil {
		return figures{}, fmt.Errorf("%s: %w\n%.2000s", strings.Join(c.args, " "), err, stderr.String())
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return figures{wall, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), float64(usage.Maxrss) / 1024}, nil
}

// floor returns the least peak memory, in MiB, that a child can be measured to have:
// the kernel begins to count with the memory of the process that starts it.
func floor() (float64, error) { return memoryIn("/proc/self/status", "VmHWM:") }

// memoryIn reads a line of a process's status, in MiB.
func memoryIn(path, line string) (float64, error) {
	status, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), line)
	var kib float64
	_, err = fmt.Sscan(rest, &kib)
	return kib / 1024, err
}

// median of an even number of values is the mean of the middle two.
func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// of returns one of the figures for each round.
func of(all []figures, what func(figures) float64) []float64 {
	var values []float64
	for _, f := range all {
		values = append(values, what(f))
	}
	return values
}

// ratio returns the median, over the rounds, of a figure beside the same of another
// contestant in the same round.
func ratio(all, beside []figures, what func(figures) float64) float64 {
	values := of(all, what)
	for i, b := range of(beside, what) {
		values[i] /= b
	}
	return median(values)
}

// table writes the medians as Markdown; ratios are to the first contestant.
func table(contestants []contestant, all [][]figures) string {
	wall := func(f figures) float64 { return f.wall.Seconds() }
	cpu := func(f figures) float64 { return f.cpu.Seconds() }
	memory := func(f figures) float64 { return f.memory }
	var b strings.Builder
	fmt.Fprintf(&b, "| | time | CPU time | peak memory | time, ratio | CPU, ratio | memory, ratio |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for i, c := range contestants {
		fmt.Fprintf(&b, "| %s | %.3f s | %.3f s | %.0f MiB | %.2f | %.2f | %.2f |\n", c.name,
			median(of(all[i], wall)), median(of(all[i], cpu)), median(of(all[i], memory)),
			ratio(all[i], all[0], wall), ratio(all[i], all[0], cpu), ratio(all[i], all[0], memory))
	}
	return b.String()
}
