// Quickstart walks the whole life cycle of the paper in one process: a certificate authority, an MQTT broker with mutual TLS 1.3,
// the platform, two application providers and three devices, from the start-up values of their SRAM to decrypted temperatures and
// the end of life. It needs no set-up and no network but loopback. Each line is a step that was checked; the first one that does
// not do what it says ends the program with exit code 1. Wrong usage and dumps that cannot be opened are 2, a signal is 130.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// Without this a closed pipe would kill the program before it could clean up; so the write fails, and the step with it.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // the second Ctrl-C ends it at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// The exit codes, as the usage says.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// run is the program. It returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, code, ok := parse(args, stderr)
	if !ok {
		return code
	}
	wrong := func(err error) int {
		fmt.Fprintf(stderr, "quickstart: %v\n", err)
		return exitUsage
	}
	chips, err := openChips(o.sram)
	if err != nil {
		return wrong(err)
	}
	dir, remove, err := folder(o.keep)
	if err != nil {
		return wrong(err)
	}
	defer remove()

	var first firstLine
	told, story := newTeller(ctx, stdout)
	s := newStage(dir, newLog(o.verbose, stderr, &first), told)
	err = s.play(story, chips)
	s.close()
	switch {
	case ctx.Err() != nil:
		fmt.Fprintf(stderr, "quickstart: stopped: %v\n", context.Cause(ctx))
		code = exitInterrupted
	case err != nil:
		fmt.Fprintf(stderr, "quickstart: %v\n", err)
		if line := first.String(); line != "" {
			fmt.Fprintf(stderr, "The first error that a party logged: %s\n", line)
		}
		code = exitFailed
	}
	if o.keep != "" {
		out := stdout
		if code != exitDone {
			out = stderr
		}
		fmt.Fprintf(out, "\nKept in %s.\n", dir)
	}
	return code
}

type options struct {
	sram, keep string
	verbose    bool
}

// parse returns ok when there is something to run, otherwise the exit code.
func parse(args []string, stderr io.Writer) (o options, code int, ok bool) {
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.sram, "sram", "", "`folder` of real power-up dumps: a sub-folder is a chip, a .bin or .hex file a power-up (default: simulated chips)")
	flags.StringVar(&o.keep, "keep", "", "keep non-volatile memories, registry and certificates in this `folder`, which must be new or empty")
	flags.BoolVar(&o.verbose, "v", false, "log what the parties do, to stderr")
	flags.Usage = func() {
		fmt.Fprintln(stderr, "Usage: quickstart [flags]\n\nThe life cycle of SRAM-rooted devices, in one process on loopback.")
		flags.PrintDefaults()
		fmt.Fprintln(stderr, "\nExit code: 0 done, 1 a step failed, 2 wrong usage or dumps that cannot be opened, 130 stopped by a signal.")
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, exitDone, false
		}
		return o, exitUsage, false
	}
	wrong := ""
	if flags.NArg() > 0 {
		wrong = fmt.Sprintf("unexpected argument %q", flags.Arg(0))
	}
	// An empty name is an unset shell variable; to fall back on simulated chips would show something else than was asked for.
	flags.Visit(func(f *flag.Flag) {
		if f.Value.String() == "" {
			wrong = fmt.Sprintf("flag -%s wants the name of a folder", f.Name)
		}
	})
	if wrong != "" {
		fmt.Fprintf(stderr, "quickstart: %s\n", wrong)
		flags.Usage()
		return o, exitUsage, false
	}
	return o, exitDone, true
}

// folder returns the folder to work in: keep, which must be new or empty, or a temporary one that remove deletes.
func folder(keep string) (dir string, remove func(), err error) {
	if keep == "" {
		if dir, err = os.MkdirTemp("", "semio-quickstart-"); err != nil {
			return "", nil, fmt.Errorf("make a temporary folder: %w", err)
		}
		return dir, func() { os.RemoveAll(dir) }, nil
	}
	if err := os.MkdirAll(keep, 0o700); err != nil {
		return "", nil, fmt.Errorf("folder to keep: %w", err)
	}
	entries, err := os.ReadDir(keep)
	if err != nil {
		return "", nil, fmt.Errorf("folder to keep: %w", err)
	}
	if len(entries) > 0 {
		return "", nil, fmt.Errorf("folder to keep: %s is not empty: a device is produced once, so name a new folder", keep)
	}
	return keep, func() {}, nil
}
