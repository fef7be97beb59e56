package main

import (
	"fmt"
	"strings"
	"sync"

	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/identity"
)

// bar is the progress bar, where somebody watches on a terminal.
type bar struct {
	t    *cli.Terminal
	all  int
	draw bool

	mu   sync.Mutex // guards what follows, and the terminal
	done int
	now  string
}

const barWidth = 30

func newBar(t *cli.Terminal, all int) *bar { return &bar{t: t, all: all, draw: t.Interactive()} }

// step tells what is done with a unit now.
func (b *bar) step(id identity.DeviceID, what string) {
	b.t.Log.Debug("step", "device", id, "step", what)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = id.String() + ": " + what
	b.paint()
}

// print tells what became of a unit.
func (b *bar) print(r report) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done++
	b.wipe()
	err := b.t.Print(r, "%s", r.line())
	b.paint()
	return err
}

// clear takes the bar off the terminal.
func (b *bar) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wipe()
}

func (b *bar) wipe() {
	if b.draw {
		fmt.Fprint(b.t.Err, "\r\x1b[K")
	}
}

func (b *bar) paint() {
	if !b.draw {
		return
	}
	full := barWidth * b.done / max(b.all, 1)
	fmt.Fprintf(b.t.Err, "\r\x1b[K[%s%s] %d/%d  %s", strings.Repeat("█", full), strings.Repeat("·", barWidth-full), b.done, b.all, b.now)
}
