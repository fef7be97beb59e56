//go:build unix

package cli

import (
	"os/signal"
	"syscall"
)

// ignoreSignals lets writes fail that would otherwise kill the program before it could clean up: into a closed pipe, and beyond the
// limit on a file's size.
func ignoreSignals() { signal.Ignore(syscall.SIGPIPE, syscall.SIGXFSZ) }
