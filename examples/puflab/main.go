// Puflab is the laboratory of packages puf and fuzzy on the command line: it measures chips and codes over power-up dumps, prints what
// it found as text or JSON, and draws it where a picture says more. `puflab -h` lists its commands, `puflab COMMAND -h` explains one.
package main

import (
	"context"
	"io"

	"github.com/semio-iot/semio/examples/internal/cli"
)

func main() { cli.Main(program()) }

func program() cli.Program {
	p := cli.Program{Name: "puflab", About: "Measures SRAM PUFs and the fuzzy extractor. Progress goes to stderr."}
	for _, c := range commands() {
		p.Commands = append(p.Commands, c.cli())
	}
	return p
}

// run is the program for tests. It returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return program().Run(ctx, args, cli.IO{Out: stdout, Err: stderr})
}

// commands are the program's, in the order of its usage. Each has a file of its name.
func commands() []command {
	return []command{
		characterizeCommand(),
		trialCommand(),
		boundCommand(),
		simulateCommand(),
		peersCommand(),
	}
}
