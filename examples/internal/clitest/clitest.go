// Package clitest runs example programs in tests: in the test's own process with [Run] and [Start], or in one of their own, which can
// be killed and limited, with [Child]. For the latter TestMain calls [Main].
package clitest

import (
	"bytes"
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/examples/internal/cli"
)

// Wait is how long a test waits for what should come soon: the machine may be busy.
const Wait = time.Minute

const childVar = "SEMIO_CLITEST_CHILD"

// Main runs the tests, or the program where Child has started this process.
func Main(m *testing.M, p cli.Program) {
	if os.Getenv(childVar) != "" {
		os.Unsetenv(childVar)
		cli.Main(p)
	}
	os.Exit(m.Run())
}

// Result is what a program left.
type Result struct {
	Code           int
	Stdout, Stderr string
}

// Run runs a program to its end.
func Run(t testing.TB, p cli.Program, args ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Wait)
	defer cancel()
	var out, errs bytes.Buffer
	code := p.Run(ctx, args, cli.IO{In: strings.NewReader(""), Out: &out, Err: &errs})
	return Result{code, out.String(), errs.String()}
}

// OK runs a program that must succeed, and returns what it printed.
func OK(t testing.TB, p cli.Program, args ...string) string {
	t.Helper()
	r := Run(t, p, args...)
	require.Equal(t, cli.ExitDone, r.Code, "%s %v: %s", p.Name, args, r.Stderr)
	return r.Stdout
}

// Fails runs a program that must fail, and returns what it said.
func Fails(t testing.TB, p cli.Program, args ...string) string {
	t.Helper()
	r := Run(t, p, args...)
	require.Equal(t, cli.ExitFailed, r.Code, "%s %v: %s%s", p.Name, args, r.Stdout, r.Stderr)
	require.NotContains(t, r.Stderr, "goroutine", "help, not a trace")
	return r.Stderr
}

// Buffer is an io.Writer for several goroutines. The zero value is empty.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write appends p.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String is what was written until now.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
