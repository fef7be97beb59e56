package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/semio-iot/semio/internal/bench"
	"github.com/stretchr/testify/require"
)

func TestHelp(t *testing.T) {
	for _, flag := range []string{"-h", "-help", "--help"} {
		var out, errs bytes.Buffer
		require.Equal(t, exitOK, run(t.Context(), []string{flag}, &out, &errs))
		require.Contains(t, out.String(), "Exit codes")
		require.Contains(t, out.String(), "-rounds")
		require.Empty(t, errs.String())
	}
}

func TestWrongUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-nonsense"}, "-nonsense"},
		{[]string{"seal"}, `unexpected argument "seal"`},
		{[]string{"-rounds", "many"}, "-rounds"},
		{[]string{"-rounds", "0"}, "choose from 5 to 10000"},
		{[]string{"-rounds", "4"}, "choose from 5 to 10000"},
		{[]string{"-rounds", "-5"}, "choose from 5 to 10000"},
		{[]string{"-slice", "1ns"}, "choose from 10µs to 1s"},
		{[]string{"-slice", "1"}, "-slice"},
		{[]string{"-limit", "0s"}, "choose a positive one"},
		{[]string{"-only", "("}, "-only"},
		{[]string{"-only", "no such operation"}, "matches none of the 17 operations"},
	} {
		var out, errs bytes.Buffer
		require.Equal(t, exitUsage, run(t.Context(), c.args, &out, &errs), "%v", c.args)
		require.Contains(t, errs.String(), c.want, "%v", c.args)
		require.Contains(t, errs.String(), "Usage:", "%v", c.args)
		require.Empty(t, out.String(), "%v", c.args)
	}
}

func quick(more ...string) []string {
	return append([]string{"-rounds", "5", "-slice", "10µs", "-only", "^(seal 64 B|handshake)$"}, more...)
}

func TestTable(t *testing.T) {
	var out, errs bytes.Buffer
	require.Equal(t, exitOK, run(t.Context(), quick(), &out, &errs), errs.String())
	require.Equal(t, "1/2 seal 64 B\n2/2 handshake\n", errs.String())
	require.Regexp(t, `(?m)^operation +ours`, out.String())
	require.Regexp(t, `(?m)^seal 64 B +e2e 0x01 +\d.* [mµn]s +bare AES-256-CTR \+ HMAC-SHA-256 .* 5$`, out.String())
	require.Regexp(t, `(?m)^handshake +e2e 0x01 `, out.String())
	require.NotContains(t, out.String(), "KiB")
}

func TestJSON(t *testing.T) {
	var out, errs bytes.Buffer
	require.Equal(t, exitOK, run(t.Context(), quick("-json"), &out, &errs), errs.String())
	var r bench.Report
	require.NoError(t, json.Unmarshal(out.Bytes(), &r))
	require.Len(t, r.Pairs, 2*5+4*4, "two suites seal, beside five peers; four shake hands, beside four")
	suites := map[string]int{}
	for _, p := range r.Pairs {
		suites[p.Ours]++
		require.Equal(t, 5, p.Rounds)
		require.Greater(t, p.OursNS, 0.0)
		require.Greater(t, p.PeerNS, 0.0)
		require.LessOrEqual(t, p.Low, p.Ratio)
		require.GreaterOrEqual(t, p.High, p.Ratio)
	}
	require.Equal(t, map[string]int{"e2e 0x01": 9, "e2e 0x02": 9, "e2e 0x03": 4, "e2e 0x04": 4}, suites)
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("closed pipe") }

func TestFailures(t *testing.T) {
	var out, errs bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Equal(t, exitError, run(ctx, quick(), &out, &errs))
	require.Contains(t, errs.String(), "context canceled")
	require.Empty(t, out.String())

	errs.Reset()
	require.Equal(t, exitError, run(t.Context(), quick(), broken{}, &errs))
	require.Contains(t, errs.String(), "ratios: write table: closed pipe")
}
