package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRun(t *testing.T) {
	var out, errs bytes.Buffer
	require.Zero(t, run([]string{"-steps", "4000", "-seed", "3", "-json"}, &out, &errs), errs.String())
	var r report
	require.NoError(t, json.Unmarshal(out.Bytes(), &r))
	require.Equal(t, 4000, r.Stats.Steps)
	require.Nil(t, r.Violation)
}

func TestFinding(t *testing.T) {
	var out, errs bytes.Buffer
	require.Equal(t, 1, run([]string{"-steps", "400000", "-json", "-plant-nonce-twice"}, &out, &errs))
	var r report
	require.NoError(t, json.Unmarshal(out.Bytes(), &r))
	require.NotNil(t, r.Violation)
	require.Contains(t, errs.String(), "again with: go run")
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"-steps", "0"}, {"-steps", "x"}, {"surplus"}} {
		var out, errs bytes.Buffer
		require.Equal(t, 2, run(args, &out, &errs))
		require.NotEmpty(t, errs.String())
		require.Empty(t, out.String())
	}
}
