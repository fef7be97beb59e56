package fuzzy_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/fuzzy"
)

// The figures the default set is for. The table in docs/fuzzy.md prints them.
func TestBoundsOfTheDefaultSet(t *testing.T) {
	for _, c := range []struct{ ones, rate, below float64 }{
		{0.5, 0.15, 1e-12}, {0.5, 0.20, 1e-9}, {0.6, 0.20, 1e-9}, {0.4, 0.20, 1e-9}, {0.8, 0.10, 1e-5}, {0.2, 0.10, 1e-5},
	} {
		b, err := fuzzy.SRAM1K().Bound(fuzzy.Balanced(c.ones, c.rate))
		require.NoError(t, err)
		require.Less(t, b.Failure, c.below, "%+v", c)
		require.Positive(t, b.Failure)
		require.GreaterOrEqual(t, b.Left, 256.0)
	}
}

func TestBoundGrowsWithErrors(t *testing.T) {
	last := 0.0
	for _, rate := range []float64{0.1, 0.15, 0.2, 0.25, 0.28} {
		b, err := fuzzy.SRAM1K().Bound(fuzzy.Balanced(0.5, rate))
		require.NoError(t, err)
		require.Greater(t, b.Failure, last)
		require.LessOrEqual(t, b.Failure, 1.0)
		last = b.Failure
	}
}

func TestShareRefused(t *testing.T) {
	fuzzy.SkipUnderRace(t)
	refused := 0
	const chips = 150
	for seed := range uint64(chips) {
		_, _, err := fuzzy.Enroll(fuzzy.SRAM1K(), nil, fuzzy.NewChip(seed, fuzzy.Balanced(0.81, 0.05)).Enrolled())
		if err != nil {
			require.ErrorIs(t, err, fuzzy.ErrEntropy)
			refused++
		}
	}
	b, err := fuzzy.SRAM1K().Bound(fuzzy.Balanced(0.81, 0.05))
	require.NoError(t, err)
	sigma := math.Sqrt(b.Refused * (1 - b.Refused) / chips)
	require.InDelta(t, b.Refused, float64(refused)/chips, 4*sigma)
}

// The first decoder of Reconstruct at a noise where it does fail, against the bound
// for that very chip, and the list behind it. Fixed seeds; 300 readings.
func TestBoundHoldsForReconstruct(t *testing.T) {
	fuzzy.SkipUnderRace(t)
	m := fuzzy.Balanced(0.5, 0.28)
	chip := fuzzy.NewChip(70, m)
	_, helper := enroll(t, fuzzy.SRAM1K(), 1, chip.Enrolled())
	pass2, pass1 := helper.Symbols()
	bound, err := fuzzy.SRAM1K().BoundFor(pass2, pass1, m)
	require.NoError(t, err)
	require.Greater(t, bound, 0.02)
	require.Less(t, bound, 0.5)
	const readings = 300
	failed, lost := 0, 0
	for range readings {
		_, report, err := fuzzy.Reconstruct(chip.Read(), helper)
		if err != nil {
			require.ErrorIs(t, err, fuzzy.ErrReconstruct)
			lost++
		}
		if report.List != 1 {
			failed++
		}
	}
	t.Logf("bound %.3f, measured %.3f, with the list %.3f", bound, float64(failed)/readings, float64(lost)/readings)
	require.LessOrEqual(t, 4*lost, failed, "the list finds most of the others")
	require.Less(t, float64(failed)/readings, bound+3*math.Sqrt(bound/readings))
	require.Greater(t, float64(failed)/readings, bound/10)
}

// What leaving out unstable pairs may cost at one share of errors, at the edge of
// the rule and with few symbols of pass 2: less than a factor of ten over the 1e-9 of
// the rating. It lowers that share by more.
func TestLeavingOutCostsLittle(t *testing.T) {
	fuzzy.SkipUnderRace(t)
	for _, p := range fuzzy.Sets() {
		n, _ := p.Code()
		pass2 := n/5 - int(60*math.Sqrt(float64(n)/2048))
		bound, err := p.BoundFor(pass2, min(n-pass2, n*13/16), fuzzy.Balanced(0.5, p.Rating().ErrorRate))
		require.NoError(t, err)
		require.Less(t, bound, 1e-8, p.Name())
	}
}

func TestBoundRefuses(t *testing.T) {
	p := fuzzy.SRAM1K()
	for _, m := range []fuzzy.CellModel{
		{}, {Ones: 1}, {Ones: -0.1}, {Ones: math.NaN()}, {Ones: 0.5, FlipOnes: -0.1}, {Ones: 0.5, FlipOnes: 1.1},
		{Ones: 0.5, FlipZeros: math.NaN()}, fuzzy.Balanced(0, 0.1), fuzzy.Balanced(0.01, 0.5),
	} {
		_, err := p.Bound(m)
		require.ErrorIs(t, err, fuzzy.ErrParams, "%+v", m)
		_, err = p.BoundFor(512, 1536, m)
		require.ErrorIs(t, err, fuzzy.ErrParams, "%+v", m)
	}
	for _, c := range [][2]int{{-1, 5}, {5, -1}, {2048, 1}, {math.MaxInt, 1}} {
		_, err := p.BoundFor(c[0], c[1], fuzzy.Balanced(0.5, 0.1))
		require.ErrorIs(t, err, fuzzy.ErrParams, "%v", c)
	}
}
