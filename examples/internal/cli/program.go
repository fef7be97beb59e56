package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// The exit codes.
const (
	ExitDone        = 0
	ExitFailed      = 1
	ExitUsage       = 2
	ExitInterrupted = 130
)

// Program is one of the examples.
type Program struct {
	Name  string // of the executable
	About string // what it is, for -h
	// Commands are chosen by the first argument. A single one whose Name is empty takes all arguments.
	Commands []Command
}

// Command is one thing that a program does.
type Command struct {
	Name  string // "serve"
	About string // one line
	Args  string // the operands, for -h: "FILE…"; empty: there are none
	// Detail is what -h says beyond About, in lines.
	Detail string
	// Setup declares the flags and returns what runs after they were read.
	Setup func(*Flags) Action
}

// Action is the body of a command. It returns when ctx ends.
type Action func(ctx context.Context, t *Terminal, args []string) error

// IO is the world of a program: the process's in [Main], a test's otherwise.
type IO struct {
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string // nil: the environment is empty
}

// Main runs p as the process that it is, and does not return.
func Main(p Program) {
	ignoreSignals()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // the second Ctrl-C ends it at once
	os.Exit(p.Run(ctx, os.Args[1:], IO{os.Stdin, os.Stdout, os.Stderr, os.Getenv}))
}

// Run runs p and returns the exit code.
func (p Program) Run(ctx context.Context, args []string, w IO) int {
	if w.Getenv == nil {
		w.Getenv = func(string) string { return "" }
	}
	cmd, args, code, ok := p.choose(args, w.Err)
	if !ok {
		return code
	}
	f := newFlags(p, cmd, w)
	verbose := f.Bool("v", false, "log everything to stderr, not warnings alone")
	action := cmd.Setup(f)
	if err := f.read(args); errors.Is(err, flag.ErrHelp) {
		return ExitDone
	} else if err != nil {
		return ExitUsage // said already
	}
	if cmd.Args == "" && len(f.operands) > 0 {
		return f.usage(fmt.Sprintf("unexpected argument %q", f.operands[0]))
	}
	t := &Terminal{IO: w, Log: newLog(*verbose, w.Err), asJSON: f.json != nil && *f.json}
	err := action(ctx, t, f.operands)
	var usage usageError
	switch {
	case errors.As(err, &usage):
		return f.usage(err.Error())
	case ctx.Err() != nil:
		if err != nil && !errors.Is(err, context.Canceled) {
			fmt.Fprintf(w.Err, "%s: %v\n", f.Name(), Explain(err))
		}
		return ExitInterrupted
	case err != nil:
		fmt.Fprintf(w.Err, "%s: %v\n", f.Name(), Explain(err))
		return ExitFailed
	}
	return ExitDone
}

// choose finds the command that the first argument names.
func (p Program) choose(args []string, stderr io.Writer) (cmd Command, rest []string, code int, ok bool) {
	if len(p.Commands) == 1 && p.Commands[0].Name == "" {
		return p.Commands[0], args, 0, true
	}
	wrong := ""
	if len(args) == 0 {
		wrong = "name a command"
	} else {
		switch args[0] {
		case "-h", "-help", "--help", "help":
		default:
			for _, c := range p.Commands {
				if c.Name == args[0] {
					return c, args[1:], 0, true
				}
			}
			wrong = fmt.Sprintf("unknown command %q", args[0])
		}
	}
	code = ExitDone
	if wrong != "" {
		fmt.Fprintf(stderr, "%s: %s\n", p.Name, wrong)
		code = ExitUsage
	}
	fmt.Fprintf(stderr, "Usage: %s COMMAND [flags]\n\n%s\n\nCommands:\n", p.Name, p.About)
	width := 0
	for _, c := range p.Commands {
		width = max(width, len(c.Name))
	}
	for _, c := range p.Commands {
		fmt.Fprintf(stderr, "  %-*s  %s\n", width, c.Name, c.About)
	}
	fmt.Fprintf(stderr, "\n%s COMMAND -h shows the flags of a command.\n%s\n", p.Name, exitCodes)
	return Command{}, nil, code, false
}

const exitCodes = "Exit code: 0 done, 1 failed, 2 wrong usage, 130 ended by a signal."

// usageError is wrong usage that only the action can see.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

// Usage returns an error that ends the program with the usage and exit code 2.
func Usage(format string, a ...any) error { return usageError{fmt.Sprintf(format, a...)} }

// envName is the environment variable of a flag.
func envName(flag string) string {
	return "SEMIO_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}
