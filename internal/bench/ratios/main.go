// Ratios puts semio's sessions beside the bare primitives, Noise and TLS 1.3, and prints how the times compare. Package
// internal/bench says what is measured and how.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"

	"github.com/semio-iot/semio/internal/bench"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

const usage = `Usage: go run ./internal/bench/ratios [flags]

Measures e2e against its peers, interleaved, and prints the ratios: below 1.00 e2e is faster. The table goes to the
standard output, progress to the standard error.

Exit codes: 0 measured, 1 a contender failed or the run was interrupted, 2 wrong usage.

`

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("ratios", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	asJSON := f.Bool("json", false, "print JSON instead of a table")
	rounds := f.Int("rounds", bench.DefaultRounds, fmt.Sprintf("rounds of each comparison, %d to %d", bench.MinRounds, bench.MaxRounds))
	slice := f.Duration("slice", bench.DefaultSlice, "how long a contender's turn in a round lasts, 10µs to 1s")
	limit := f.Duration("limit", bench.DefaultLimit, "when this is over, be content with fewer rounds")
	only := f.String("only", "", "regular expression: compare only operations that match, for example '^seal 64 B'")
	printUsage := func(w io.Writer) {
		fmt.Fprint(w, usage)
		f.SetOutput(w)
		f.PrintDefaults()
	}
	wrong := func(err error) int {
		fmt.Fprintf(stderr, "ratios: %v\n\n", err)
		printUsage(stderr)
		return exitUsage
	}
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		printUsage(stdout)
		return exitOK
	case err != nil:
		return wrong(err)
	case f.NArg() > 0:
		return wrong(fmt.Errorf("unexpected argument %q", f.Arg(0)))
	}
	o := bench.Options{Rounds: *rounds, Slice: *slice, Limit: *limit}
	if err := o.Check(); err != nil {
		return wrong(err)
	}
	match, err := regexp.Compile(*only)
	if err != nil {
		return wrong(fmt.Errorf("-only: %w", err))
	}

	fail := func(err error) int {
		fmt.Fprintf(stderr, "ratios: %v\n", err)
		return exitError
	}
	all, err := bench.Groups()
	if err != nil {
		return fail(err)
	}
	var groups []bench.Group
	for _, g := range all {
		if match.MatchString(g.String()) {
			groups = append(groups, g)
		}
	}
	if len(groups) == 0 {
		return wrong(fmt.Errorf("-only %q matches none of the %d operations, such as %q", *only, len(all), all[0].String()))
	}
	o.Progress = func(i, total int, g bench.Group) { fmt.Fprintf(stderr, "%d/%d %v\n", i+1, total, g) }
	report, err := bench.Measure(ctx, groups, o)
	if err != nil {
		return fail(err)
	}
	write := report.WriteTable
	if *asJSON {
		write = report.WriteJSON
	}
	if err := write(stdout); err != nil {
		return fail(err)
	}
	return exitOK
}
