package cli

import (
	"flag"
	"fmt"
	"strings"
)

// Flags are the flags of one command. Declare them with the methods of flag.FlagSet.
type Flags struct {
	*flag.FlagSet
	program Program
	command Command
	world   IO
	json    *bool
	needed  []string

	operands []string // what is no flag
}

func newFlags(p Program, c Command, w IO) *Flags {
	name := strings.TrimSpace(p.Name + " " + c.Name)
	f := &Flags{FlagSet: flag.NewFlagSet(name, flag.ContinueOnError), program: p, command: c, world: w}
	f.SetOutput(w.Err)
	f.FlagSet.Usage = f.help
	return f
}

// JSON declares -json. [Terminal.Print] obeys it.
func (f *Flags) JSON() {
	f.json = f.Bool("json", false, "print JSON, one value a line, for a script to read")
}

// Required declares a string flag that must be given, on the command line or by the environment.
func (f *Flags) Required(name, usage string) *string {
	f.needed = append(f.needed, name)
	return f.String(name, "", usage+" (required)")
}

// read parses the command line, then takes from the environment what it left open.
func (f *Flags) read(args []string) error {
	if err := f.parse(args); err != nil {
		return err // flag has printed it with the help
	}
	given := map[string]bool{}
	f.Visit(func(fl *flag.Flag) { given[fl.Name] = true })
	var err error
	f.VisitAll(func(fl *flag.Flag) {
		if v := f.world.Getenv(envName(fl.Name)); v != "" && !given[fl.Name] && err == nil {
			if e := f.Set(fl.Name, v); e != nil {
				err = fmt.Errorf("environment variable %s: %w", envName(fl.Name), e)
			}
		}
	})
	if err != nil {
		f.usage(err.Error())
		return err
	}
	// An empty value is an unset shell variable: the default would do something else than was asked for.
	for _, name := range f.needed {
		if f.Lookup(name).Value.String() == "" {
			err := fmt.Errorf("-%s (or %s) is missing", name, envName(name))
			f.usage(err.Error())
			return err
		}
	}
	return nil
}

// parse takes flags before, between and behind the operands. After "--" all are operands.
func (f *Flags) parse(args []string) error {
	for {
		if err := f.FlagSet.Parse(args); err != nil {
			return err
		}
		rest := f.FlagSet.Args()
		if taken := len(args) - len(rest); len(rest) == 0 || taken > 0 && args[taken-1] == "--" {
			f.operands = append(f.operands, rest...)
			return nil
		}
		f.operands, args = append(f.operands, rest[0]), rest[1:]
	}
}

// usage says what is wrong with the command line.
func (f *Flags) usage(wrong string) int {
	fmt.Fprintf(f.Output(), "%s: %s\n%s -h shows the usage.\n", f.Name(), wrong, f.Name())
	return ExitUsage
}

func (f *Flags) help() {
	w := f.Output()
	about := f.program.About
	if f.command.Name != "" {
		about = f.command.About
	}
	if f.command.Detail != "" {
		about += "\n\n" + f.command.Detail
	}
	fmt.Fprintf(w, "Usage: %s\n\n%s\n\nFlags, and the environment variables that stand in for them:\n",
		strings.TrimSpace(f.Name()+" [flags] "+f.command.Args), about)
	f.VisitAll(func(fl *flag.Flag) {
		value, usage := flag.UnquoteUsage(fl)
		if value != "" {
			value = " " + value
		}
		fmt.Fprintf(w, "  -%s%s  (%s)\n        %s", fl.Name, value, envName(fl.Name), usage)
		if fl.DefValue != "" && fl.DefValue != "false" && fl.DefValue != "0" {
			fmt.Fprintf(w, " (default %s)", fl.DefValue)
		}
		fmt.Fprintln(w)
	})
	fmt.Fprintf(w, "\n%s\n", exitCodes)
}
