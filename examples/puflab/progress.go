package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progress tells on stderr how far long work has come: in place on a terminal, otherwise by a line now and then. Short work says
// nothing. It is safe for concurrent use.
type progress struct {
	w        io.Writer
	name     string
	terminal bool
	every    time.Duration

	mu    sync.Mutex // guards what follows
	last  time.Time
	shown bool // a line on the terminal is to be wiped
}

func newProgress(w io.Writer, name string) *progress {
	return &progress{w: w, name: name, every: 5 * time.Second, last: time.Now()}
}

// inPlace has every line overwrite the one before, on a terminal.
func (p *progress) inPlace() { p.terminal, p.every = true, 200*time.Millisecond }

// step says that done of total parts of what are done. Call it as often as you like.
func (p *progress) step(what string, done, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Sub(p.last) < p.every {
		return
	}
	p.last = now
	line := fmt.Sprintf("puflab %s: %s, %d of %d (%.0f %%)", p.name, what, done, total, 100*float64(done)/float64(max(total, 1)))
	if p.terminal {
		fmt.Fprintf(p.w, "\r\x1b[K%s", line)
		p.shown = true
		return
	}
	fmt.Fprintln(p.w, line)
}

// end wipes what stands on the terminal.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}
