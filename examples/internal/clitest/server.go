package clitest

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/examples/internal/cli"
)

// Server is a program that serves until it is stopped.
type Server struct {
	Ready map[string]any // its first line with -json

	t     testing.TB
	stop  func()
	ended chan struct{}
	code  int // once ended is closed
	errs  *Buffer
	lines chan string
}

// maxLines of stdout are kept for the test; a program that prints more waits.
const maxLines = 1 << 16

// Start starts a serving program, with -json, and waits until it is ready.
func Start(t testing.TB, p cli.Program, args ...string) *Server {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{t: t, stop: cancel, ended: make(chan struct{}), errs: new(Buffer), lines: make(chan string, maxLines)}
	r, w := io.Pipe()
	go func() {
		defer close(s.ended)
		s.code = p.Run(ctx, withJSON(args), cli.IO{In: strings.NewReader(""), Out: w, Err: s.errs})
		w.Close()
	}()
	t.Cleanup(func() { s.Stop() })
	go s.read(r)
	s.begin()
	return s
}

// withJSON adds -json behind the command, if there is one.
func withJSON(args []string) []string {
	if strings.HasPrefix(args[0], "-") {
		return append([]string{"-json"}, args...)
	}
	return append([]string{args[0], "-json"}, args[1:]...)
}

func (s *Server) read(r io.Reader) {
	defer close(s.lines)
	for lines := bufio.NewScanner(r); lines.Scan(); {
		s.lines <- lines.Text()
	}
}

func (s *Server) begin() {
	s.t.Helper()
	line := s.Line()
	require.NoError(s.t, json.Unmarshal([]byte(line), &s.Ready), "first line %q, stderr %s", line, s.errs)
	require.Equal(s.t, true, s.Ready["ready"])
}

// URL is the one of that name in the first line.
func (s *Server) URL(name string) string {
	s.t.Helper()
	u, _ := s.Ready[name].(string)
	require.NotEmpty(s.t, u, "no %q in %v", name, s.Ready)
	return u
}

// Line returns the next line of stdout, "" when there will be none.
func (s *Server) Line() string {
	s.t.Helper()
	select {
	case line := <-s.lines:
		return line
	case <-time.After(Wait):
		require.FailNow(s.t, "no line", s.errs.String())
		return ""
	}
}

// Find passes over the lines until the one of JSON whose field has the value, and returns it.
func (s *Server) Find(field string, value any) map[string]any {
	s.t.Helper()
	for {
		line := s.Line()
		require.NotEmpty(s.t, line, "the program has ended without a line with %s %v: %s", field, value, s.errs)
		var v map[string]any
		require.NoError(s.t, json.Unmarshal([]byte(line), &v), line)
		if v[field] == value {
			return v
		}
	}
}

// Says waits until the text stands in stderr.
func (s *Server) Says(text string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return strings.Contains(s.errs.String(), text) }, Wait, 5*time.Millisecond, "%q", text)
}

// Stderr is what it has said until now.
func (s *Server) Stderr() string { return s.errs.String() }

// Stop ends the program as Ctrl-C does, and returns its exit code.
func (s *Server) Stop() int {
	s.t.Helper()
	s.stop()
	return s.Wait()
}

// Wait waits for the program's end, and returns its exit code.
func (s *Server) Wait() int {
	s.t.Helper()
	select {
	case <-s.ended:
		return s.code
	case <-time.After(Wait):
		require.FailNow(s.t, "it does not end", s.errs.String())
		return -1
	}
}

// Process is a program in a process of its own.
type Process struct {
	*Server
	cmd *exec.Cmd
}

// Child starts the program of Main in a process of its own, with -json, and waits until it is ready. limit, if it is not 0, bounds the
// size of its files in bytes.
func Child(t testing.TB, limit int, args ...string) *Process {
	t.Helper()
	cmd := Command(limit, withJSON(args)...)
	s := &Server{t: t, ended: make(chan struct{}), errs: new(Buffer), lines: make(chan string, maxLines)}
	s.stop = func() { _ = cmd.Process.Signal(os.Interrupt) } // an error says that it has ended
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = s.errs
	require.NoError(t, cmd.Start())
	go func() {
		defer close(s.ended)
		s.read(out)
		_ = cmd.Wait() // the exit code tells it
		s.code = cmd.ProcessState.ExitCode()
	}()
	p := &Process{s, cmd}
	t.Cleanup(func() { p.Kill() })
	s.begin()
	return p
}

// Kill is kill -9. It returns when the process is gone.
func (p *Process) Kill() {
	p.t.Helper()
	_ = p.cmd.Process.Kill() // an error says that it has ended
	p.Wait()
}

// Command is the program of Main in a process of its own, not started. limit is that of Child, in multiples of 512 bytes.
func Command(limit int, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	if limit > 0 {
		// In sh ulimit -f counts blocks of 512 bytes.
		cmd = exec.Command("/bin/sh", append([]string{"-c", `ulimit -f "$0" && exec "$@"`, strconv.Itoa(limit / 512), os.Args[0]}, args...)...)
	}
	cmd.Env = append(os.Environ(), childVar+"=1")
	return cmd
}
