package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/semio-iot/semio/examples/internal/cli"
)

// command is one of the program's.
type command struct {
	name    string
	args    string // the operands in the usage, for example "DIR…"; empty: there are none
	summary string // one line without full stop
	detail  string // for its own usage, in lines of at most 100 columns

	// setUp declares the flags and returns what to do once they are parsed. -json is declared already.
	setUp func(flags *flag.FlagSet) action
}

// action does a command's work. A result is printed also when there is an error beside it: that is how a command shows what it found
// and fails. A wrongUsage error is exit code 2.
type action func(ctx context.Context, args []string, p *progress) (result, error)

// result is what a command found. It is printed as JSON by its fields, for -json, or by its WriteText.
type result interface {
	WriteText(w io.Writer) error
}

// wrongUsage is an error of whoever called the program, such as dumps that cannot be opened.
type wrongUsage struct{ error }

func usagef(format string, args ...any) error { return wrongUsage{fmt.Errorf(format, args...)} }

func (e wrongUsage) Unwrap() error { return e.error }

// cli is the command as the example programs have them.
func (c command) cli() cli.Command {
	return cli.Command{Name: c.name, About: c.summary, Args: c.args, Detail: strings.TrimSpace(c.detail), Setup: func(f *cli.Flags) cli.Action {
		f.JSON()
		act := c.setUp(f.FlagSet)
		return func(ctx context.Context, t *cli.Terminal, args []string) error {
			p := newProgress(t.Err, c.name)
			if t.Interactive() {
				p.inPlace()
			}
			found, err := act(ctx, args, p)
			p.end()
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if found != nil {
				err = errors.Join(err, show(t, found))
			}
			var wrong wrongUsage
			if errors.As(err, &wrong) {
				return cli.Usage("%v", err)
			}
			return err
		}
	}}
}

func show(t *cli.Terminal, r result) error {
	if t.JSON() {
		return t.Print(r, "")
	}
	var text strings.Builder
	if err := r.WriteText(&text); err != nil {
		return err
	}
	return t.Print(nil, "%s", strings.TrimSuffix(text.String(), "\n"))
}
