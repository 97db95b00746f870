package cli

import (
	"fmt"
	"io"
	"strings"
	"sync"
)

// progress is standard error with, on a terminal, one line at its end that says
// how far a run is. Whatever else is written goes above that line.
type progress struct {
	mu       sync.Mutex
	w        io.Writer
	terminal bool
	line     string

	total, done, failed int
	current             []string
}

func newProgress(env Env, total int) *progress {
	return &progress{w: env.Stderr, terminal: env.Terminal, total: total}
}

// Write writes whole log lines.
func (p *progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	n, err := p.w.Write(b)
	p.draw()
	return n, err
}

func (p *progress) begin(name string) {
	p.update(func() { p.current = append(p.current, name) })
}

func (p *progress) end(name string, failed bool) {
	p.update(func() {
		for i, n := range p.current {
			if n == name {
				p.current = append(p.current[:i], p.current[i+1:]...)
				break
			}
		}
		p.done++
		if failed {
			p.failed++
		}
	})
}

// finish takes the line away.
func (p *progress) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	p.terminal = false
}

func (p *progress) update(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.clear()
	p.draw()
}

func (p *progress) clear() {
	if p.terminal && p.line != "" {
		fmt.Fprintf(p.w, "\r%s\r", strings.Repeat(" ", len(p.line)))
		p.line = ""
	}
}

func (p *progress) draw() {
	if !p.terminal || len(p.current) == 0 {
		return
	}
	const width = 78
	line := fmt.Sprintf("%d of %d done", p.done, p.total)
	if p.failed > 0 {
		line += fmt.Sprintf(", %d failed", p.failed)
	}
	line += ": " + strings.Join(p.current, " ")
	if len(line) > width {
		line = line[:width-3] + "..."
	}
	p.line = line
	fmt.Fprint(p.w, line)
}
