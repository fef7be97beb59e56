package bench

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"
)

// Case is one contender for one operation. Its functions are called from one goroutine.
type Case struct {
	Name string
	Ours bool // semio's; a ratio is ours by a peer's

	// Check does the operation once and compares what comes out with what went in. It is called before the others.
	Check func() error

	// Prepare makes what the next n operations use up, off the clock. nil: nothing.
	Prepare func(n int) error

	// Do is operation i of those n.
	Do func(i int) error

	// Batch is the largest n, at least 1.
	Batch int

	// Close ends what the case has running. nil: nothing. No other function is called after it.
	Close func() error
}

// Group is the contenders for one operation at one size.
type Group struct {
	Op   string
	Size int // of the message, in bytes; 0 where there is none

	// Open makes the contenders.
	Open func() ([]*Case, error)
}

func (g Group) String() string {
	if g.Size == 0 {
		return g.Op
	}
	return g.Op + " " + formatSize(g.Size)
}

func formatSize(n int) string {
	if n >= 1<<10 && n%(1<<10) == 0 {
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}

// Options of [Measure]. All but Progress are required.
type Options struct {
	Rounds int           // for each group, MinRounds to MaxRounds
	Slice  time.Duration // a contender's turn, 10 µs to 1 s; never less than one operation
	Limit  time.Duration // after it the groups stop at MinRounds

	// Progress, when not nil, is called before each group.
	Progress func(i, total int, g Group)
}

// Bounds of [Options], and what the command uses.
const (
	MinRounds = 5
	MaxRounds = 10_000
	minSlice  = 10 * time.Microsecond
	maxSlice  = time.Second

	DefaultRounds = 201
	DefaultSlice  = 500 * time.Microsecond
	DefaultLimit  = 25 * time.Second
)

// gcPercent starts the garbage collector at 64 MiB instead of 4. In a program as small as this one it would run every ten
// turns, and its work on what one contender left would be on the clock of the others.
const gcPercent = 1600

// Check says what is wrong with o; [Measure] returns the same error.
func (o Options) Check() error {
	switch {
	case o.Rounds < MinRounds || o.Rounds > MaxRounds:
		return fmt.Errorf("bench: %d rounds: choose from %d to %d", o.Rounds, MinRounds, MaxRounds)
	case o.Slice < minSlice || o.Slice > maxSlice:
		return fmt.Errorf("bench: turns of %v: choose from %v to %v", o.Slice, minSlice, maxSlice)
	case o.Limit <= 0:
		return fmt.Errorf("bench: a limit of %v: choose a positive one", o.Limit)
	}
	return nil
}

// Measure compares the contenders of each group, each of ours with each peer. The first error of a contender ends it, and a
// contender whose Check fails is not measured. A cancelled ctx ends it between two turns. Meanwhile the garbage collector of the
// whole program runs less often.
func Measure(ctx context.Context, groups []Group, o Options) (*Report, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	r := newReport()
	deadline := time.Now().Add(o.Limit)
	for i, g := range groups {
		if o.Progress != nil {
			o.Progress(i, len(groups), g)
		}
		// What a group leaves of its share goes to those after it.
		share := max(0, time.Until(deadline)/time.Duration(len(groups)-i))
		pairs, err := measureGroup(ctx, g, o, time.Now().Add(share))
		if err != nil {
			return nil, fmt.Errorf("measure %v: %w", g, err)
		}
		r.Pairs = append(r.Pairs, pairs...)
	}
	return r, nil
}

func measureGroup(ctx context.Context, g Group, o Options, until time.Time) (_ []Pair, err error) {
	cases, err := g.Open()
	defer func() {
		for _, c := range cases {
			if c.Close == nil {
				continue
			}
			if e := c.Close(); e != nil && err == nil {
				err = fmt.Errorf("close %s: %w", c.Name, e)
			}
		}
	}()
	if err != nil {
		return nil, err
	}
	n := make([]int, len(cases))
	for i, c := range cases {
		if err := c.Check(); err != nil {
			return nil, fmt.Errorf("check %s: %w", c.Name, err)
		}
		if n[i], err = c.calibrate(ctx, o.Slice); err != nil {
			return nil, err
		}
	}
	runtime.GC() // what the group before left
	times := make([][]float64, len(cases))
	for round := range o.Rounds {
		if round >= MinRounds && time.Now().After(until) {
			break
		}
		for k := range cases {
			if round%2 == 1 {
				k = len(cases) - 1 - k
			}
			d, err := cases[k].turn(ctx, n[k])
			if err != nil {
				return nil, err
			}
			times[k] = append(times[k], float64(d)/float64(n[k]))
		}
	}
	return pairsOf(g, cases, times), nil
}

// turn does n operations.
func (c *Case) turn(ctx context.Context, n int) (time.Duration, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if c.Prepare != nil {
		if err := c.Prepare(n); err != nil {
			return 0, fmt.Errorf("prepare %s: %w", c.Name, err)
		}
	}
	start := time.Now()
	for i := range n {
		if err := c.Do(i); err != nil {
			return 0, fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	return time.Since(start), nil
}

// calibrate finds how many operations fill a turn, and warms the contender up.
func (c *Case) calibrate(ctx context.Context, slice time.Duration) (int, error) {
	for n := 1; ; n = min(2*n, c.Batch) {
		d, err := c.turn(ctx, n)
		if err != nil {
			return 0, err
		}
		if d >= slice/2 || n >= c.Batch {
			fit := float64(n) * float64(slice) / float64(max(d, 1)) // a coarse clock may say 0
			return int(min(max(fit, 1), float64(c.Batch))), nil
		}
	}
}
