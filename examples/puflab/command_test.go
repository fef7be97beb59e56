package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/examples/internal/cli"
)

// echo shows what a command is given.
type echo struct {
	Args []string `json:"args"`
	N    int      `json:"n"`
}

func (e echo) WriteText(w io.Writer) error {
	_, err := fmt.Fprintf(w, "args %q n %d\n", e.Args, e.N)
	return err
}

func echoCommand(fail func(ctx context.Context) error) command {
	return command{name: "echo", args: "ARG…", summary: "Echo", detail: "It echoes.", setUp: func(flags *flag.FlagSet) action {
		n := flags.Int("n", 1, "number")
		return func(ctx context.Context, args []string, _ *progress) (result, error) {
			return echo{args, *n}, fail(ctx)
		}
	}}
}

func runCommand(ctx context.Context, c command, args []string, stdout, stderr io.Writer) int {
	p := cli.Program{Name: "puflab", Commands: []cli.Command{c.cli()}}
	return p.Run(ctx, append([]string{c.name}, args...), cli.IO{Out: stdout, Err: stderr})
}

func TestCommand(t *testing.T) {
	good := func(context.Context) error { return nil }
	for name, c := range map[string]struct {
		args       []string
		fail       func(context.Context) error
		code       int
		out, wrong string
	}{
		"plain":            {args: []string{"a"}, code: cli.ExitDone, out: "args [\"a\"] n 1\n"},
		"flags behind":     {args: []string{"a", "-n", "3", "b", "-n=4"}, code: cli.ExitDone, out: "args [\"a\" \"b\"] n 4\n"},
		"json":             {args: []string{"a", "-json"}, code: cli.ExitDone, out: "{\"args\":[\"a\"],\"n\":1}\n"},
		"help":             {args: []string{"a", "-h"}, code: cli.ExitDone, wrong: "Usage: puflab echo [flags] ARG…\n\nEcho\n\nIt echoes.\n"},
		"unknown flag":     {args: []string{"-m"}, code: cli.ExitUsage, wrong: "flag provided but not defined: -m"},
		"found and failed": {args: []string{"a"}, fail: func(context.Context) error { return errors.New("one of two failed") }, code: cli.ExitFailed, out: "args", wrong: "puflab echo: one of two failed\n"},
		"wrong input":      {args: []string{"a"}, fail: func(context.Context) error { return usagef("no such folder") }, code: cli.ExitUsage, out: "args", wrong: "puflab echo: no such folder\n"},
		"wrong, in depth":  {fail: func(context.Context) error { return fmt.Errorf("while: %w", usagef("no")) }, code: cli.ExitUsage, out: "args", wrong: "while: no"},
		"stopped":          {args: []string{"a"}, fail: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, code: cli.ExitInterrupted},
	} {
		t.Run(name, func(t *testing.T) {
			if c.fail == nil {
				c.fail = good
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if c.code == cli.ExitInterrupted {
				cancel()
			}
			var out, wrong bytes.Buffer
			require.Equal(t, c.code, runCommand(ctx, echoCommand(c.fail), c.args, &out, &wrong), wrong.String())
			require.True(t, strings.HasPrefix(out.String(), c.out), "stdout %q, want %q", out.String(), c.out)
			require.Contains(t, wrong.String(), c.wrong)
			if c.wrong == "" {
				require.Empty(t, wrong.String())
			}
			if c.out == "" {
				require.Empty(t, out.String())
			}
		})
	}
	// What cannot be printed was not done.
	var wrong bytes.Buffer
	require.Equal(t, cli.ExitFailed, runCommand(t.Context(), echoCommand(good), []string{"a"}, closedPipe{}, &wrong))
	require.Contains(t, wrong.String(), "print: broken")
}

type closedPipe struct{}

func (closedPipe) Write([]byte) (int, error) { return 0, errors.New("broken") }

// Every command explains itself, refuses what it does not know, and is in the program's usage.
func TestEveryCommand(t *testing.T) {
	var usage bytes.Buffer
	require.Equal(t, cli.ExitDone, run(t.Context(), []string{"-h"}, io.Discard, &usage))
	for _, c := range commands() {
		t.Run(c.name, func(t *testing.T) {
			require.Contains(t, usage.String(), c.summary)
			var help bytes.Buffer
			require.Equal(t, cli.ExitDone, run(t.Context(), []string{c.name, "-h"}, io.Discard, &help))
			require.Contains(t, help.String(), c.summary)
			require.Contains(t, help.String(), "-json")
			for line := range strings.Lines(c.detail) {
				require.LessOrEqual(t, len([]rune(line)), 101, line)
			}
			var wrong bytes.Buffer
			require.Equal(t, cli.ExitUsage, run(t.Context(), []string{c.name, "-no-such-flag"}, io.Discard, &wrong))
			require.Contains(t, wrong.String(), "-no-such-flag")
		})
	}
}

func TestProgress(t *testing.T) {
	var w bytes.Buffer
	p := newProgress(&w, "x")
	p.step("work", 1, 2)
	require.Empty(t, w.String(), "short work says nothing")
	p.every = 0
	p.step("work", 1, 2)
	require.Equal(t, "puflab x: work, 1 of 2 (50 %)\n", w.String())
	p.end()

	w.Reset()
	p.inPlace()
	p.every = 0
	p.step("work", 2, 2)
	p.end()
	p.end()
	require.Equal(t, "\r\x1b[Kpuflab x: work, 2 of 2 (100 %)\r\x1b[K", w.String())
}

func TestForEach(t *testing.T) {
	p := newProgress(io.Discard, "x")
	seen := make([]bool, 1000)
	require.NoError(t, forEach(t.Context(), len(seen), p, "", func(_ context.Context, i int) error { seen[i] = true; return nil }))
	require.NotContains(t, seen, false)
	require.NoError(t, forEach(t.Context(), 0, p, "", nil))

	broken := errors.New("broken")
	err := forEach(t.Context(), 1<<30, p, "", func(_ context.Context, i int) error {
		if i == 10 {
			return broken
		}
		return nil
	})
	require.ErrorIs(t, err, broken)

	gone, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	require.ErrorIs(t, forEach(gone, 1<<30, p, "", func(context.Context, int) error { return nil }), context.DeadlineExceeded)
}

// decode runs the program with -json and returns what it printed.
func decode[T any](t *testing.T, args ...string) (v T) {
	t.Helper()
	var out, wrong bytes.Buffer
	require.Equal(t, cli.ExitDone, run(t.Context(), append(args, "-json"), &out, &wrong), wrong.String())
	require.NoError(t, json.Unmarshal(out.Bytes(), &v), out.String())
	return v
}
