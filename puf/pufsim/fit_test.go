package pufsim_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/pufsim"
	"github.com/semio-iot/semio/puf/pufstat"
)

// powerUps takes all readings of src, at most n.
func powerUps(t testing.TB, src puf.Source, n int) *pufstat.Chip {
	t.Helper()
	var readings [][]byte
	for range n {
		b := make([]byte, src.Size())
		err := src.Measure(context.Background(), b)
		if errors.Is(err, puf.ErrExhausted) {
			break
		}
		require.NoError(t, err)
		readings = append(readings, b)
	}
	c, err := pufstat.New(readings...)
	require.NoError(t, err)
	return c
}

func fit(t testing.TB, c *pufstat.Chip) pufsim.Config {
	t.Helper()
	config, err := pufsim.Fit(c)
	require.NoError(t, err)
	return config
}

// What the simulator was given, the fit finds.
func TestFitFindsTheConfig(t *testing.T) {
	halves := make([]float64, 64)
	for i := range halves {
		halves[i] = -0.2
		if i >= 32 {
			halves[i] = 0.2
		}
	}
	for name, want := range map[string]pufsim.Config{
		"plain":   {Noise: 0.12, Ones: 0.5},
		"noisy":   {Noise: 0.4, Ones: 0.5},
		"biased":  {Noise: 0.08, Ones: 0.7},
		"columns": {Noise: 0.12, Ones: 0.5, Columns: halves},
		"rows":    {Noise: 0.12, Ones: 0.45, Correlation: 0.1, CorrelationStride: 512},
		"all":     {Noise: 0.15, Ones: 0.55, Columns: halves, Correlation: -0.2, CorrelationStride: 1},
	} {
		t.Run(name, func(t *testing.T) {
			want.Size = 1 << 14
			got := fit(t, powerUps(t, pufsim.New(8, want), 6))
			require.Equal(t, want.Size, got.Size)
			require.InEpsilon(t, want.Noise, got.Noise, 0.05)
			require.InDelta(t, want.Ones, got.Ones, 0.008)
			require.Equal(t, want.CorrelationStride, got.CorrelationStride)
			require.InDelta(t, want.Correlation, got.Correlation, 0.02)
			require.Len(t, got.Columns, len(want.Columns))
			for i, c := range want.Columns {
				require.InDelta(t, c, got.Columns[i], 0.12, "column %d", i)
			}
		})
	}
}

func TestFitTemperature(t *testing.T) {
	want := pufsim.Config{Size: 1 << 14, TemperatureDrift: 0.005}
	chip := pufsim.New(8, want)
	room := powerUps(t, chip, 5)
	chip.SetTemperature(-20)
	cold := powerUps(t, chip, 5)
	drift, err := pufsim.FitTemperature(fit(t, room), room, cold, -20)
	require.NoError(t, err)
	require.InEpsilon(t, want.TemperatureDrift, drift, 0.06)

	_, err = pufsim.FitTemperature(want, room, cold, pufsim.RoomTemperature)
	require.ErrorIs(t, err, pufsim.ErrFit)
	_, err = pufsim.FitTemperature(want, room, powerUps(t, pufsim.New(9, want), 5), -20)
	require.ErrorIs(t, err, pufsim.ErrFit, "another chip")
	noisy := want
	noisy.Noise = 1
	_, err = pufsim.FitTemperature(noisy, room, cold, -20)
	require.ErrorIs(t, err, pufsim.ErrFit, "more noise than there is distance")
	_, err = pufsim.FitTemperature(pufsim.Config{Ones: 2}, room, cold, -20)
	require.Error(t, err)
	var size *puf.SizeError
	_, err = pufsim.FitTemperature(want, room, powerUps(t, pufsim.New(9, pufsim.Config{}), 5), -20)
	require.ErrorAs(t, err, &size)
}

func TestExpected(t *testing.T) {
	for _, c := range []pufsim.Config{{}, {Ones: 0.8}, {Noise: 0.5}, {Columns: []float64{-1, 1}}} {
		c.Size = 1 << 15
		want, err := pufsim.Expected(c)
		require.NoError(t, err)
		got := pufstat.Summarize(powerUps(t, pufsim.New(4, c), 4).WithinPairs(0)).Mean
		require.InDelta(t, want, got, 0.002, "%+v", c)
	}
	_, err := pufsim.Expected(pufsim.Config{Ones: 2})
	require.Error(t, err)
}

func TestFitRefuses(t *testing.T) {
	same := make([]byte, 1024)
	for name, readings := range map[string][][]byte{
		"two readings": {same, same}, "small": {make([]byte, 127), make([]byte, 127), make([]byte, 127)}, "constant": {same, same, same},
	} {
		c, err := pufstat.New(readings...)
		require.NoError(t, err)
		_, err = pufsim.Fit(c)
		require.ErrorIs(t, err, pufsim.ErrFit, name)
	}
	// Memory that never changes has a fit, with the least noise.
	still := fit(t, powerUps(t, pufsim.New(1, pufsim.Config{Noise: -1}), 3))
	require.Less(t, still.Noise, 0.011)
}

// A simulated chip of the fit has the figures of the real one: distance, bias and the stability of its cells.
func TestFitOfRealChips(t *testing.T) {
	root := os.Getenv("SEMIO_SRAM")
	if root == "" {
		t.Skip("SEMIO_SRAM names no folder of dumps; see github.com/TimothyClaeys/SramAnalyzer")
	}
	dirs, err := filepath.Glob(filepath.Join(root, "*", "01.bin"))
	require.NoError(t, err)
	require.NotEmpty(t, dirs)
	for _, path := range dirs {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			dir, err := puf.OpenDir(filepath.Dir(path))
			require.NoError(t, err)
			chip := powerUps(t, dir, dir.Len())
			config := fit(t, chip)
			sim := powerUps(t, pufsim.New(1, config), chip.Readings())
			mean := func(v []float64) float64 { return pufstat.Summarize(v).Mean }
			require.InDelta(t, mean(chip.Ones(0)), mean(sim.Ones(0)), 0.002)
			require.InEpsilon(t, mean(chip.WithinPairs(0)), mean(sim.WithinPairs(0)), 0.02)
			require.InEpsilon(t, mean(chip.WithinMajority(0)), mean(sim.WithinMajority(0)), 0.03)
			require.InDelta(t, chip.Stable(), sim.Stable(), 0.003)
			want, got := chip.Counts(), sim.Counts()
			for k := range want {
				require.InEpsilon(t, want[k], got[k], 0.09, "cells that were 1 in %d power-ups", k)
			}
			for _, lag := range []int{1, 64, 512} {
				require.InDelta(t, chip.Autocorrelation(lag)[lag-1], sim.Autocorrelation(lag)[lag-1], 0.01, "lag %d", lag)
			}
		})
	}
}
