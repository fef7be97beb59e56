package fuzzy_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/fuzzy"
)

// Readings drawn as lost are lost, and the sum of their weights is the failure rate
// that plain simulation of the same chip finds. Fixed seeds.
func TestDrawLostAgreesWithSimulation(t *testing.T) {
	fuzzy.SkipUnderRace(t)
	r := rand.New(rand.NewPCG(1, 1))
	c, err := fuzzy.NewSimulatedChip(fuzzy.SRAM512(), fuzzy.Balanced(0.5, 0.20), r)
	require.NoError(t, err)
	const readings, drawn = 8000, 400
	failed := 0
	for range readings {
		lost, err := c.Loses(c.Read(r), 1)
		require.NoError(t, err)
		if lost {
			failed++
		}
	}
	var sum float64
	n := 0
	require.NoError(t, c.DrawLost(drawn, r, func(reading []byte, weight float64) error {
		lost, err := c.Loses(reading, 1)
		require.NoError(t, err)
		require.True(t, lost)
		n++
		sum += weight
		return nil
	}))
	require.Equal(t, drawn, n)
	plain, exact := float64(failed)/readings, sum/drawn
	t.Logf("plain %.2e, drawn %.2e", plain, exact)
	require.Greater(t, failed, 20)
	require.InDelta(t, exact, plain, 5*math.Sqrt(exact/readings))
	pass2, pass1 := c.Helper().Symbols()
	bound, err := fuzzy.SRAM512().BoundFor(pass2, pass1, fuzzy.Balanced(0.5, 0.20))
	require.NoError(t, err)
	require.Less(t, exact, 1.3*bound, "the bound is a mean over messages")
}

// At a rate that nobody can simulate they come as readily.
func TestDrawLostOfRareFailures(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	c, err := fuzzy.NewSimulatedChip(fuzzy.SRAM1K(), fuzzy.Balanced(0.6, 0.15), r)
	require.NoError(t, err)
	require.NoError(t, c.DrawLost(30, r, func(reading []byte, weight float64) error {
		require.Less(t, weight, 1e-12)
		require.Positive(t, weight)
		_, _, err := fuzzy.ReconstructUpTo(1, reading, c.Helper())
		require.ErrorIs(t, err, fuzzy.ErrReconstruct)
		_, report, err := fuzzy.Reconstruct(reading, c.Helper())
		require.NoError(t, err, "and the list finds them")
		require.Equal(t, 8, report.List)
		return nil
	}))
	stop := errors.New("stop")
	require.ErrorIs(t, c.DrawLost(5, r, func([]byte, float64) error { return stop }), stop)
}

func TestSimulatedChip(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	m := fuzzy.CellModel{Ones: 0.6, FlipOnes: 0.05, FlipZeros: 0.2}
	c, err := fuzzy.NewSimulatedChip(fuzzy.SRAM1K(), m, r)
	require.NoError(t, err)
	_, report, err := fuzzy.Reconstruct(c.Read(r), c.Helper())
	require.NoError(t, err)
	require.InDelta(t, 0.125, report.ErrorRate(), 0.03)
	// A redrawn share changes so many cells, and 0 none.
	reading := c.Read(r)
	before := append([]byte(nil), reading...)
	c.Redraw(reading, 0, r)
	require.Equal(t, before, reading)
	c.Redraw(reading, 0.1, r)
	changed := 0
	for i := range reading {
		for x := reading[i] ^ before[i]; x != 0; x &= x - 1 {
			changed++
		}
	}
	require.InDelta(t, 0.1*2*(0.05*0.95+0.2*0.8)/2*float64(report.Cells), changed, 60)

	for _, paths := range []int{2, 8, 32} {
		lost, err := c.Loses(reading, paths)
		require.NoError(t, err)
		require.False(t, lost)
	}
	_, err = c.Loses(reading, 3)
	require.ErrorIs(t, err, fuzzy.ErrParams)
	_, err = fuzzy.NewSimulatedChip(fuzzy.Params{}, m, r)
	require.ErrorIs(t, err, fuzzy.ErrParams)
	_, err = fuzzy.NewSimulatedChip(fuzzy.SRAM1K(), fuzzy.CellModel{}, r)
	require.ErrorIs(t, err, fuzzy.ErrParams)
	_, err = fuzzy.NewSimulatedChip(fuzzy.SRAM1K(), fuzzy.Balanced(0.85, 0.05), r)
	require.ErrorIs(t, err, fuzzy.ErrEntropy)
}
