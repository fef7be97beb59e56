// Package cli is what the example programs have in common, so that they behave alike.
//
// Start with [Program]: a name, a line about it, and its commands. [Main] runs it from main, [Program.Run] from a test:
//
//	func main() { cli.Main(program) }
//
//	var program = cli.Program{Name: "clock", About: "Tells the time.", Commands: []cli.Command{{
//		Name: "now", About: "print the time once",
//		Setup: func(f *cli.Flags) cli.Action {
//			zone := f.String("zone", "UTC", "time `zone`")
//			asJSON := f.JSON()
//			return func(ctx context.Context, t *cli.Terminal, args []string) error { … }
//		},
//	}}}
//
// # The rules that hold for every program
//
//   - A flag -trust-root can be set by the environment variable SEMIO_TRUST_ROOT; the flag wins. -h shows both.
//   - Flags may stand before, between and behind the operands; after -- all are operands.
//   - Exit code 0: done; 1: failed, with one line on stderr that says what to do; 2: wrong usage; 130: ended by a signal.
//   - stdout has results, one line each, or JSON, one value a line, with -json. stderr has errors and the log: warnings, and with
//     -v everything.
//   - Ctrl-C, SIGTERM and SIGHUP cancel the action's context, and the action cleans up; a second one ends the program at once.
//   - A program with one command without a name has flags only.
//
// [Explain] adds to errors of the operating system and of certificates what a person at the keyboard can do about them.
package cli
