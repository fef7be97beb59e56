package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/identity"
)

// clock is a program with each kind of flag.
var clock = cli.Program{Name: "clock", About: "Tells the time.", Commands: []cli.Command{
	{Name: "now", About: "print the time once", Setup: func(f *cli.Flags) cli.Action {
		root := f.Required("trust-root", "`file` of a root")
		n := f.Int("n", 3, "how `many` times")
		f.JSON()
		return func(ctx context.Context, t *cli.Terminal, _ []string) error {
			t.Log.Debug("detail")
			t.Note("a person reads this")
			return t.Print(map[string]any{"root": *root, "n": *n}, "%s %d", *root, *n)
		}
	}},
	{Name: "echo", About: "print the operands", Detail: "In order,\none line.", Args: "WORD…", Setup: func(f *cli.Flags) cli.Action {
		n := f.Int("n", 1, "how `many` times")
		return func(_ context.Context, t *cli.Terminal, args []string) error { return t.Print(nil, "%q %d", args, *n) }
	}},
	{Name: "fail", About: "fail", Args: "HOW", Setup: func(f *cli.Flags) cli.Action {
		return func(ctx context.Context, t *cli.Terminal, args []string) error {
			switch args[0] {
			case "usage":
				return cli.Usage("HOW is %q", args[0])
			case "wait":
				<-ctx.Done()
				return nil
			case "late":
				<-ctx.Done()
				return errors.New("close: disk on fire")
			}
			return fmt.Errorf("write file: %w", syscall.ENOSPC)
		}
	}},
}}

func run(ctx context.Context, env map[string]string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = clock.Run(ctx, args, cli.IO{In: strings.NewReader(""), Out: &out, Err: &errs, Getenv: func(k string) string { return env[k] }})
	return code, out.String(), errs.String()
}

func TestRun(t *testing.T) {
	env := map[string]string{"SEMIO_TRUST_ROOT": "env.pem", "SEMIO_N": "7"}
	for name, c := range map[string]struct {
		env    map[string]string
		args   string
		code   int
		stdout string
		stderr []string
	}{
		"flags":              {nil, "now -trust-root r.pem -n 2", 0, "r.pem 2\n", []string{"a person"}},
		"environment":        {env, "now", 0, "env.pem 7\n", nil},
		"flag wins":          {env, "now -n 1", 0, "env.pem 1\n", nil},
		"json":               {env, "now -json", 0, `{"n":7,"root":"env.pem"}` + "\n", nil},
		"verbose":            {env, "now -v", 0, "env.pem 7\n", []string{"msg=detail"}},
		"missing":            {nil, "now", 2, "", []string{"clock now: -trust-root (or SEMIO_TRUST_ROOT) is missing"}},
		"empty":              {nil, "now -trust-root=", 2, "", []string{"-trust-root (or SEMIO_TRUST_ROOT) is missing"}},
		"bad environment":    {map[string]string{"SEMIO_N": "x"}, "now -trust-root r", 2, "", []string{"environment variable SEMIO_N"}},
		"unknown flag":       {nil, "now -x", 2, "", []string{"-x"}},
		"unexpected":         {env, "now more", 2, "", []string{`unexpected argument "more"`}},
		"no command":         {nil, "", 2, "", []string{"name a command", "now ", "fail "}},
		"unknown command":    {nil, "later", 2, "", []string{`unknown command "later"`}},
		"help":               {nil, "-h", 0, "", []string{"Tells the time.", "print the time once", "Exit code: 0 done"}},
		"help of a command":  {nil, "now -h", 0, "", []string{"-trust-root file  (SEMIO_TRUST_ROOT)", "(default 3)", "-json  (SEMIO_JSON)"}},
		"flags anywhere":     {nil, "echo -n 2 a -n 3 b c -n=4", 0, "[\"a\" \"b\" \"c\"] 4\n", nil},
		"flags end":          {nil, "echo a -n 2 -- b -n 3", 0, "[\"a\" \"b\" \"-n\" \"3\"] 2\n", nil},
		"flag behind":        {map[string]string{"SEMIO_N": "7"}, "echo a -n 2", 0, "[\"a\"] 2\n", nil},
		"no operand":         {nil, "echo", 0, "[] 1\n", nil},
		"help behind":        {nil, "echo a -h", 0, "", []string{"print the operands\n\nIn order,\none line.\n"}},
		"usage found later":  {nil, "fail usage", 2, "", []string{`clock fail: HOW is "usage"`, "-h shows the usage"}},
		"failure is advised": {nil, "fail disk", 1, "", []string{"clock fail: write file: no space left on device", "make room and start again"}},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := run(t.Context(), c.env, strings.Fields(c.args)...)
			require.Equal(t, c.code, code, stderr)
			require.Equal(t, c.stdout, stdout)
			for _, s := range c.stderr {
				require.Contains(t, stderr, s)
			}
		})
	}
}

func TestSignal(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	code, _, stderr := run(ctx, nil, "fail", "wait")
	require.Equal(t, cli.ExitInterrupted, code)
	require.Empty(t, stderr)
	code, _, stderr = run(ctx, nil, "fail", "late")
	require.Equal(t, cli.ExitInterrupted, code)
	require.Contains(t, stderr, "disk on fire", "what goes wrong on the way out is not swallowed")
}

func TestExplain(t *testing.T) {
	require.NoError(t, cli.Explain(nil))
	for err, want := range map[error]string{
		identity.ErrExpired:     "This machine's clock says 20",
		identity.ErrNotYetValid: "This machine's clock says 20",
		identity.ErrUntrusted:   "comes from another authority",
		identity.ErrRevoked:     "for good",
		syscall.EFBIG:           "make room",
		syscall.ECONNREFUSED:    "Nobody listens there",
		syscall.EADDRINUSE:      "Another program listens there",
	} {
		wrapped := fmt.Errorf("doing: %w", err)
		got := cli.Explain(wrapped)
		require.ErrorIs(t, got, err)
		require.Contains(t, got.Error(), want)
	}
	plain := errors.New("plain")
	require.Equal(t, plain, cli.Explain(plain))
}
