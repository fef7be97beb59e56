package fieldtest

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/examples/internal/cli"
)

// Patience bounds every wait.
const Patience = 60 * time.Second

// Process is a program that runs in the test's process.
type Process struct {
	t      *testing.T
	cancel context.CancelFunc
	ended  chan struct{}
	code   int

	mu       sync.Mutex // guards what follows
	out, err bytes.Buffer
	read     int // bytes of out that Line has passed
	more     chan struct{}
}

// Start runs a program with these arguments. It is stopped when the test ends.
func Start(t *testing.T, p cli.Program, args ...string) *Process {
	ctx, cancel := context.WithCancel(context.Background())
	r := &Process{t: t, cancel: cancel, ended: make(chan struct{}), more: make(chan struct{})}
	go func() {
		defer close(r.ended)
		r.code = p.Run(ctx, args, cli.IO{In: strings.NewReader(""), Out: (*stdout)(r), Err: (*stderr)(r)})
	}()
	t.Cleanup(func() {
		r.Stop()
		if t.Failed() {
			t.Logf("%s %s\n%s%s", p.Name, strings.Join(args, " "), r.Out(), r.Err())
		}
	})
	return r
}

// Run runs a program to its end.
func Run(t *testing.T, p cli.Program, stdin string, args ...string) (code int, out, err string) {
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	var o, e bytes.Buffer
	code = p.Run(ctx, args, cli.IO{In: strings.NewReader(stdin), Out: &o, Err: &e})
	return code, o.String(), e.String()
}

// Stop is Ctrl-C; it returns the exit code.
func (r *Process) Stop() int {
	r.cancel()
	return r.Wait()
}

// Wait returns the exit code of a program that ends by itself.
func (r *Process) Wait() int {
	r.t.Helper()
	select {
	case <-r.ended:
		return r.code
	case <-time.After(Patience):
		require.FailNow(r.t, "the program does not end", "%s%s", r.Out(), r.Err())
		return -1
	}
}

// Out and Err are what it has printed.
func (r *Process) Out() string { r.mu.Lock(); defer r.mu.Unlock(); return r.out.String() }

// Err is what it has printed on stderr.
func (r *Process) Err() string { r.mu.Lock(); defer r.mu.Unlock(); return r.err.String() }

// Line waits for the next line of JSON in which the field has the value, and returns it.
func (r *Process) Line(field string, value any) map[string]any {
	r.t.Helper()
	timeout := time.After(Patience)
	for {
		over := r.over()
		r.mu.Lock()
		rest, more := r.out.Bytes()[r.read:], r.more
		end := bytes.IndexByte(rest, '\n') + 1
		r.read += end
		line := bytes.Clone(rest[:end])
		r.mu.Unlock()
		if end > 0 {
			var v map[string]any
			require.NoError(r.t, json.Unmarshal(line, &v), "%s", line)
			if v[field] == value {
				return v
			}
			continue
		}
		require.False(r.t, over, "the program has ended without a line with %s %v\n%s%s", field, value, r.Out(), r.Err())
		select {
		case <-more:
		case <-r.ended:
		case <-timeout:
			require.FailNow(r.t, "the line does not come", "%s %v\n%s%s", field, value, r.Out(), r.Err())
		}
	}
}

// Says waits until stderr has the text.
func (r *Process) Says(text string) {
	r.t.Helper()
	timeout := time.After(Patience)
	for {
		over := r.over()
		r.mu.Lock()
		said, more := r.err.String(), r.more
		r.mu.Unlock()
		if strings.Contains(said, text) {
			return
		}
		require.False(r.t, over, "the program has ended without %q:\n%s", text, said)
		select {
		case <-more:
		case <-r.ended:
		case <-timeout:
			require.FailNow(r.t, "the text does not come", "%q in\n%s", text, said)
		}
	}
}

func (r *Process) over() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

func (r *Process) write(b *bytes.Buffer, p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.more)
	r.more = make(chan struct{})
	return b.Write(p)
}

type (
	stdout Process
	stderr Process
)

func (w *stdout) Write(p []byte) (int, error) { return (*Process)(w).write(&w.out, p) }
func (w *stderr) Write(p []byte) (int, error) { return (*Process)(w).write(&w.err, p) }
