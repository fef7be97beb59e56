package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
)

// patience bounds each step, so that one that waits for ever becomes an error with a name. Steps take well below a second, but
// a lost message is repeated after some.
const patience = 30 * time.Second

// teller prints the story: chapters, a line for each step with its time, and notes under it.
type teller struct {
	w       io.Writer
	started time.Time
	steps   int
	refused int
	stop    context.CancelCauseFunc // ends the story's context
	cause   func() error            // why that has ended, nil as long as it lives
	failed  error                   // of the first write that failed
}

// newTeller returns a teller and the context of its story, which ends with ctx or when a step takes too long.
func newTeller(ctx context.Context, w io.Writer) (*teller, context.Context) {
	ctx, stop := context.WithCancelCause(ctx)
	return &teller{w: w, started: time.Now(), stop: stop, cause: func() error { return context.Cause(ctx) }}, ctx
}

func (t *teller) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(t.w, format, args...); err != nil && t.failed == nil {
		t.failed = fmt.Errorf("write output: %w", err)
	}
}

func (t *teller) chapter(title string) { t.printf("\n%s\n", title) }

// step carries out f and prints its outcome. detail says what was measured or seen.
func (t *teller) step(what string, f func() (detail string, err error)) error {
	began := time.Now()
	late := time.AfterFunc(patience, func() { t.stop(fmt.Errorf("not done after %s", patience)) })
	detail, err := f()
	late.Stop()
	took := time.Since(began)
	t.steps++
	if err != nil {
		if cause := t.cause(); cause != nil {
			err = fmt.Errorf("%w (%w)", cause, err)
		}
		t.printf("  ✗ %s: %v\n", what, err)
		return fmt.Errorf("%s: %w", what, err)
	}
	t.printf("  ✓ %-46s %-84s %7s\n", what, detail, round(took))
	return t.failed
}

// refusal is a step whose point is that something does not work.
func (t *teller) refusal(what string, f func() (reason string, err error)) error {
	t.refused++
	return t.step(what, f)
}

func (t *teller) note(format string, args ...any) {
	for line := range strings.Lines(fmt.Sprintf(format, args...)) {
		t.printf("      %s\n", strings.TrimRight(line, "\n"))
	}
}

// summary ends the story. Its error is that the story could not be written.
func (t *teller) summary(lines ...string) error {
	t.chapter("Summary")
	for _, l := range lines {
		t.printf("  %s\n", l)
	}
	t.printf("  %d steps, %d of them attacks that were refused, in %s\n", t.steps, t.refused, round(time.Since(t.started)))
	return t.failed
}

func round(d time.Duration) string {
	if d < 10*time.Millisecond {
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Millisecond).String()
}
