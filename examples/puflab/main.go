// Puflab is the laboratory of packages puf and fuzzy on the command line: it measures chips and codes over power-up dumps, prints what
// it found as text or JSON, and draws it where a picture says more. `puflab -h` lists its commands, `puflab COMMAND -h` explains one.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// Without this a closed pipe would kill the program before it could clean up; so the write fails, and the command with it.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // the second Ctrl-C ends it at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
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
