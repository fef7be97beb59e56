package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// The exit codes, as the usage says.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

const exitCodes = "Exit code: 0 done, 1 failed, 2 wrong usage or input that cannot be opened, 130 stopped by a signal."

// command is one of the program's.
type command struct {
	name    string
	args    string // what follows the flags in the usage, for example "DIR…"; empty: nothing may
	summary string // one line without full stop
	detail  string // a paragraph for its own usage, in lines of at most 100 columns

	// setUp declares the flags and returns what to do once they are parsed.
	setUp func(flags *flag.FlagSet) action
}

// action does a command's work. A result is printed also when there is an error beside it: that is how a command shows what it found
// and fails. A wrongUsage error is answered with the usage.
type action func(ctx context.Context, args []string, p *progress) (result, error)

// result is what a command found. It is printed as JSON by its fields, for -json, or by its WriteText.
type result interface {
	WriteText(w io.Writer) error
}

// wrongUsage is an error of whoever called the program: exit code 2.
type wrongUsage struct{ error }

func usagef(format string, args ...any) error { return wrongUsage{fmt.Errorf(format, args...)} }

func (e wrongUsage) Unwrap() error { return e.error }

// run is the program. It returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		printUsage(stderr)
		return exitUsage
	}
	name, rest := args[0], args[1:]
	switch name {
	case "-h", "-help", "--help", "help":
		if len(rest) == 0 {
			printUsage(stdout)
			return exitDone
		}
		name, rest = rest[0], []string{"-h"}
	}
	for _, c := range commands() {
		if c.name == name {
			return c.run(ctx, rest, stdout, stderr)
		}
	}
	fmt.Fprintf(stderr, "puflab: no command %q\n\n", name)
	printUsage(stderr)
	return exitUsage
}

func printUsage(w io.Writer) {
	fmt.Fprint(w, "Usage: puflab COMMAND [flags] [arguments]\n\nMeasures SRAM PUFs and the fuzzy extractor.\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-14s%s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "\nEach command has -h, which explains it, and -json. Progress goes to stderr.\n", exitCodes, "\n")
}

func (c command) run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet(c.name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	asJSON := flags.Bool("json", false, "print JSON in place of text")
	act := c.setUp(flags)
	usage := func(w io.Writer) {
		line := "Usage: puflab " + c.name + " [flags]"
		if c.args != "" {
			line += " " + c.args
		}
		fmt.Fprintf(w, "%s\n\n%s.\n\n%s\n\n", line, c.summary, strings.TrimSpace(c.detail))
		flags.SetOutput(w)
		flags.PrintDefaults()
		fmt.Fprintf(w, "\n%s\n", exitCodes)
	}
	complain := func(err error) { fmt.Fprintf(stderr, "puflab %s: %v\n", c.name, err) }

	operands, err := parseAnywhere(flags, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		usage(stdout)
		return exitDone
	case err == nil && c.args == "" && len(operands) > 0:
		err = fmt.Errorf("unexpected argument %q", operands[0])
	}
	if err != nil {
		complain(err)
		fmt.Fprintln(stderr)
		usage(stderr)
		return exitUsage
	}

	p := newProgress(stderr, c.name)
	found, err := act(ctx, operands, p)
	p.end()
	if ctx.Err() != nil {
		complain(fmt.Errorf("stopped: %w", context.Cause(ctx)))
		return exitInterrupted
	}
	if found != nil {
		if werr := write(stdout, found, *asJSON); werr != nil {
			err = errors.Join(err, fmt.Errorf("print the result: %w", werr))
		}
	}
	var wrong wrongUsage
	switch {
	case errors.As(err, &wrong):
		complain(err)
		return exitUsage
	case err != nil:
		complain(err)
		return exitFailed
	}
	return exitDone
}

func write(w io.Writer, r result, asJSON bool) error {
	if !asJSON {
		return r.WriteText(w)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// parseAnywhere parses flags before, between and behind the operands, which it returns. After "--" all are operands.
func parseAnywhere(flags *flag.FlagSet, args []string) (operands []string, err error) {
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		rest := flags.Args()
		if taken := len(args) - len(rest); taken > 0 && args[taken-1] == "--" {
			return append(operands, rest...), nil
		}
		if len(rest) == 0 {
			return operands, nil
		}
		operands, args = append(operands, rest[0]), rest[1:]
	}
}
