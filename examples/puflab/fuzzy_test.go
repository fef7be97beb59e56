package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/fuzzy"
)

// cellDumps writes power-ups of simulated chips of a cell model, a folder each.
func cellDumps(t *testing.T, chips, readings, size int, m fuzzy.CellModel) string {
	t.Helper()
	root := t.TempDir()
	for i := range chips {
		dir := filepath.Join(root, fmt.Sprintf("chip-%d", i))
		require.NoError(t, os.Mkdir(dir, 0o700))
		r := rand.New(rand.NewPCG(uint64(i), 1))
		cells := make([]bool, 8*size)
		for k := range cells {
			cells[k] = r.Float64() < m.Ones
		}
		for j := range readings {
			b := make([]byte, size)
			for k, one := range cells {
				rate := m.FlipZeros
				if one {
					rate = m.FlipOnes
				}
				if one != (r.Float64() < rate) {
					b[k/8] |= 0x80 >> (k % 8)
				}
			}
			require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%02d.bin", j)), b, 0o600))
		}
	}
	return root
}

// runJSON runs the program with -json and decodes what it prints.
func runJSON(t *testing.T, code int, into any, args ...string) string {
	t.Helper()
	var out, wrong bytes.Buffer
	require.Equal(t, code, run(t.Context(), append(args, "-json"), &out, &wrong), wrong.String())
	if into != nil {
		require.NoError(t, json.Unmarshal(out.Bytes(), into), out.String())
	}
	return wrong.String()
}

func runText(t *testing.T, code int, args ...string) string {
	t.Helper()
	var out, wrong bytes.Buffer
	require.Equal(t, code, run(t.Context(), args, &out, &wrong), wrong.String())
	return out.String()
}

func TestTrial(t *testing.T) {
	dir := cellDumps(t, 2, 5, 2048, fuzzy.Balanced(0.5, 0.04))
	for _, c := range []struct {
		args            []string
		windows, recons int
	}{
		{nil, 2, 8}, {[]string{"-reads", "3"}, 2, 4}, {[]string{"-stride", "32"}, 2, 8}, {[]string{"-set", "SRAM512"}, 4, 16},
		{[]string{"-set", "sram2k"}, 1, 4},
	} {
		t.Run(fmt.Sprint(c.args), func(t *testing.T) {
			var got trial
			runJSON(t, cli.ExitDone, &got, append([]string{"trial", dir}, c.args...)...)
			require.Len(t, got.Chips, 2)
			for _, chip := range got.Chips {
				require.Equal(t, c.windows, chip.Windows)
				require.Equal(t, c.recons, chip.Reconstructions)
				require.Zero(t, chip.Failures+chip.Refused)
				require.InDelta(t, 0.06, chip.MeanErrors, 0.04)
				require.GreaterOrEqual(t, chip.MaxErrors, chip.MeanErrors)
				require.Less(t, chip.MinMargin, 1.0)
				require.Positive(t, chip.Enroll)
				require.Positive(t, chip.Reconstruct)
			}
		})
	}
	require.Contains(t, runText(t, cli.ExitDone, "trial", dir), "\n0 failures in 16 reconstructions, 0 windows refused\n")
}

// A failure is exit code 1, with what was found.
func TestTrialFails(t *testing.T) {
	noisy := cellDumps(t, 1, 4, 1024, fuzzy.Balanced(0.5, 0.30))
	var got trial
	wrong := runJSON(t, cli.ExitFailed, &got, "trial", noisy)
	require.Contains(t, wrong, "3 windows refused or reconstructions failed")
	require.Equal(t, 3, got.Chips[0].Failures)
	require.Contains(t, got.Chips[0].First, "window 0: reconstruct:")

	biased := cellDumps(t, 1, 4, 1024, fuzzy.Balanced(0.86, 0.05))
	runJSON(t, cli.ExitFailed, &got, "trial", biased)
	require.Equal(t, 1, got.Chips[0].Refused)
	require.Contains(t, got.Chips[0].First, "too little entropy")
	require.Contains(t, runText(t, cli.ExitFailed, "trial", biased), "chip-0, window 0: enroll:")
}

func TestTrialUsage(t *testing.T) {
	dir := cellDumps(t, 1, 3, 512, fuzzy.Balanced(0.5, 0.05))
	for _, c := range [][]string{
		{}, {dir, "-reads", "2"}, {dir, "-reads", "-1"}, {dir, "-set", "SRAM3K"}, {dir, "-stride", "3"}, {dir, "-entropy", "2"},
		{dir}, {dir, "-set", "SRAM512", "-reads", "3"},
	} {
		require.NotEmpty(t, runJSON(t, cli.ExitUsage, nil, append([]string{"trial"}, c...)...), "%v", c)
	}
}

func TestBoundCommand(t *testing.T) {
	var got bounds
	runJSON(t, cli.ExitDone, &got, "bound")
	require.Len(t, got.Sets, 1)
	rows := map[[2]float64]boundOfRow{}
	for _, r := range got.Sets[0].Rows {
		rows[[2]float64{r.Ones, r.BitErrors}] = r
		require.LessOrEqual(t, r.Helper, 1024)
		require.GreaterOrEqual(t, r.Left, 256.0)
	}
	require.Less(t, rows[[2]float64{0.5, 0.2}].Failure, 1e-9)
	require.Less(t, rows[[2]float64{0.6, 0.2}].Failure, 1e-9)
	require.Less(t, rows[[2]float64{0.8, 0.1}].Failure, 1e-5)
	require.Equal(t, 944, rows[[2]float64{0.5, 0.2}].Helper)
	text := runText(t, cli.ExitDone, "bound", "-set", "SRAM512", "-entropy", "0.98")
	require.Contains(t, text, "SRAM512: 512 bytes of SRAM, code (1024, 320)")
	require.Contains(t, text, "0.98 bit a symbol")
	runJSON(t, cli.ExitUsage, nil, "bound", "-set", "none")
	runJSON(t, cli.ExitUsage, nil, "bound", "surplus")
}

// Both ways of simulating agree where both reach. Fixed seeds.
func TestSimulate(t *testing.T) {
	var plain, split simulation
	runJSON(t, cli.ExitDone, &plain, "simulate", "-set", "SRAM512", "-ber", "0.23", "-n", "2000", "-list", "8")
	runJSON(t, cli.ExitDone, &split, "simulate", "-set", "SRAM512", "-ber", "0.23", "-n", "180", "-list", "8", "-importance")
	require.Equal(t, 2000, plain.Readings)
	require.Equal(t, 40, plain.Chips)
	require.Zero(t, plain.Refused)
	require.Len(t, plain.Estimates, 2)
	require.Len(t, split.Estimates, 4)
	for _, pair := range [][2]estimate{{plain.Estimates[0], split.Estimates[0]}, {plain.Estimates[1], split.Estimates[3]}} {
		require.Equal(t, pair[0].Paths, pair[1].Paths)
		t.Logf("%v\n%v", pair[0], pair[1])
		require.InDelta(t, pair[0].Rate, pair[1].Rate, 5*math.Hypot(pair[0].Error, pair[1].Error), "%d paths", pair[0].Paths)
		require.Positive(t, pair[1].Error)
	}
	require.Less(t, split.Estimates[0].Rate, 1.2*split.Bound)
	require.Contains(t, runText(t, cli.ExitDone, "simulate", "-set", "SRAM512", "-ber", "0.1", "-n", "50"), "none failed")
}

// Where the list loses nothing that was drawn, the limit is what the number drawn leaves.
func TestSimulateNoneFailed(t *testing.T) {
	var got simulation
	runJSON(t, cli.ExitDone, &got, "simulate", "-set", "SRAM512", "-ber", "0.10", "-n", "120", "-list", "8", "-importance")
	require.Len(t, got.Estimates, 4)
	first := got.Estimates[0]
	require.Positive(t, first.Rate)
	require.Less(t, first.Rate, 1e-11)
	for _, e := range got.Estimates[1:] {
		require.Zero(t, e.Rate)
		require.InEpsilon(t, first.High*3/120, e.High, 1e-9)
	}
	require.Contains(t, got.Estimates[3].String(), "none failed; below")
}

// A share of biased chips is refused, as many as computed.
func TestSimulateRefusals(t *testing.T) {
	var got simulation
	runJSON(t, cli.ExitDone, &got, "simulate", "-bias", "0.81", "-ber", "0.05", "-n", "1500", "-list", "1")
	require.InDelta(t, got.RefusedBy, float64(got.Refused)/float64(got.Chips), 5*math.Sqrt(got.RefusedBy/float64(got.Chips)))
	require.Positive(t, got.Refused)
	require.Equal(t, 50*(got.Chips-got.Refused), got.Readings)
}

func TestSimulateUsage(t *testing.T) {
	for _, c := range [][]string{{"-ber", "0"}, {"-ber", "0.6"}, {"-bias", "1"}, {"-bias", "0.99", "-ber", "0.1"}, {"-n", "3"}, {"-set", "x"}, {"-list", "0"}, {"x"}} {
		require.NotEmpty(t, runJSON(t, cli.ExitUsage, nil, append([]string{"simulate"}, c...)...), "%v", c)
	}
}

func TestPeers(t *testing.T) {
	dir := cellDumps(t, 1, 6, 2048, fuzzy.Balanced(0.5, 0.05))
	var got, noisy peers
	runJSON(t, cli.ExitDone, &got, "peers", dir)
	runJSON(t, cli.ExitDone, &noisy, "peers", dir, "-noise", "0.10")
	require.Equal(t, 2, got.Windows)
	require.Len(t, got.Rows, 5)
	for i, r := range got.Rows {
		require.Equal(t, 10, r.Reconstructions, r.Name)
		require.GreaterOrEqual(t, noisy.Rows[i].Failures, r.Failures, r.Name)
	}
	// 9.5 % of bit errors between readings: at 12 of 127 a code for 10 fails nearly always. Ours never does.
	require.GreaterOrEqual(t, got.Rows[0].Failures, 8)
	require.Equal(t, 10, noisy.Rows[1].Failures)
	require.Zero(t, got.Rows[4].Failures)
	require.Zero(t, noisy.Rows[4].Failures)
	for i, want := range []struct{ sram, helper, message, published int }{
		{256, 254, 1024, 1008}, {256, 254, 576, 1456}, {462, 462, 264, 3432}, {959, 959, 259, 7406}, {1024, 0, 384, 1664},
	} {
		r := got.Rows[i]
		require.Equal(t, want.sram, r.SRAM, r.Name)
		require.Equal(t, want.message, r.Message, r.Name)
		require.Equal(t, want.published, r.Leakage, r.Name)
		if want.helper > 0 {
			require.Equal(t, want.helper, r.Helper, r.Name)
		}
	}
	require.Contains(t, runText(t, cli.ExitDone, "peers", dir), "ours, SRAM1K")
	runJSON(t, cli.ExitUsage, nil, "peers")
	runJSON(t, cli.ExitUsage, nil, "peers", dir, "-noise", "0.5")
}

// The estimates' intervals, against figures computed elsewhere.
func TestEstimates(t *testing.T) {
	e := plainEstimate(1, 0, 1000)
	require.InDelta(t, 0.003827, e.High, 1e-5) // Wilson's for 0 of 1,000
	e = plainEstimate(8, 10, 1000)
	require.InDelta(t, 0.005442, e.Low, 1e-5)
	require.InDelta(t, 0.018310, e.High, 1e-5)
	e = replicatedEstimate(8, 0, []float64{1, 2, 3, 4})
	require.InDelta(t, 2.5, e.Rate, 1e-12)
	require.InDelta(t, 0.645497, e.Error, 1e-6)
	require.InDelta(t, 2.5+3.182*0.645497, e.High, 1e-4)
}
