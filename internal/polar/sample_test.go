package polar_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/polar"
)

// Genie against the enumeration's own recursion.
func TestGenie(t *testing.T) {
	r := rand.New(rand.NewPCG(31, 32))
	for range 50 {
		ints, llr := make([]int, 64), make([]int16, 64)
		for i := range ints {
			ints[i] = r.IntN(7) - 3
			llr[i] = int16(ints[i])
		}
		want := genie(ints)
		for i, v := range polar.Genie(llr) {
			require.Equal(t, want[i], int(v), "position %d", i)
		}
	}
}

// All inputs of eight different channels are counted; the sampler must draw each
// with its share of those that decide a position wrongly.
func TestSampleAgreesWithEnumeration(t *testing.T) {
	r := rand.New(rand.NewPCG(33, 34))
	in := make([]polar.Density, 8)
	for i := range in {
		in[i] = polar.Density{Low: -1, P: []float64{0.1 + 0.02*float64(i), 0.3, 0.6 - 0.02*float64(i)}}
	}
	ties := func(position int) bool { return position%2 == 1 }
	want := make([]float64, 8)
	shares := make([]map[[8]int]float64, 8)
	for i := range shares {
		shares[i] = map[[8]int]float64{}
	}
	var x [8]int
	var visit func(i int, p float64)
	visit = func(i int, p float64) {
		if i == 8 {
			for j, v := range genie(x[:]) {
				if v < 0 || v == 0 && ties(j) {
					want[j] += p
					shares[j][x] += p
				}
			}
			return
		}
		for v, q := range in[i].P {
			x[i] = v - 1
			visit(i+1, p*q)
		}
	}
	visit(0, 1)
	got, err := polar.WrongProbability(in, ties)
	require.NoError(t, err)
	for i := range want {
		require.InEpsilon(t, want[i], got[i], 1e-12, "position %d", i)
	}

	const each = 20000
	draws := make([]polar.Draw, 8)
	for i := range draws {
		draws[i] = polar.Draw{N: each, Ties: ties(i)}
	}
	counts := make([]map[[8]int]int, 8)
	for i := range counts {
		counts[i] = map[[8]int]int{}
	}
	require.NoError(t, polar.Sample(in, draws, r, func(position int, llr []int16) {
		var x [8]int
		for i, v := range llr {
			x[i] = int(v)
		}
		counts[position][x]++
	}))
	for i := range draws {
		drawn := 0
		for x, n := range counts[i] {
			if shares[i][x] == 0 {
				t.Fatalf("position %d: %v is no error", i, x)
			}
			drawn += n
		}
		require.Equal(t, each, drawn)
		// No outcome further off than six standard deviations.
		for x, p := range shares[i] {
			mean := each * p / want[i]
			if math.Abs(mean-float64(counts[i][x])) > 6*math.Sqrt(mean)+3 {
				t.Fatalf("position %d, %v: drawn %d times, want %.1f", i, x, counts[i][x], mean)
			}
		}
	}
}

// Errors of 1e-12 are drawn as readily as any, and are errors.
func TestSampleOfRareErrors(t *testing.T) {
	const n = 256
	in := make([]polar.Density, n)
	for i := range in {
		in[i] = polar.Density{Low: -2, P: []float64{0.01, 0.04, 0.2, 0.3, 0.45}}
	}
	never := func(int) bool { return false }
	p, err := polar.WrongProbability(in, never)
	require.NoError(t, err)
	draws, rare := make([]polar.Draw, n), 0
	for i := range draws {
		if p[i] > 1e-18 && p[i] < 1e-9 {
			draws[i].N = 20
			rare++
		}
	}
	require.Greater(t, rare, 10)
	drawn := 0
	require.NoError(t, polar.Sample(in, draws, rand.New(rand.NewPCG(35, 36)), func(position int, llr []int16) {
		require.Negative(t, polar.Genie(llr)[position], "position %d", position)
		drawn++
	}))
	require.Equal(t, 20*rare, drawn)
}

func TestSampleRefuses(t *testing.T) {
	fair := polar.Density{Low: -1, P: []float64{0.25, 0.5, 0.25}}
	err := polar.Sample([]polar.Density{fair, fair}, make([]polar.Draw, 3), nil, nil)
	require.ErrorIs(t, err, polar.ErrLength)
	err = polar.Sample([]polar.Density{fair}, make([]polar.Draw, 1), nil, nil)
	require.ErrorIs(t, err, polar.ErrDensity)
	_, err = polar.WrongProbability(nil, nil)
	require.ErrorIs(t, err, polar.ErrDensity)
	// What cannot happen is not drawn.
	sure := polar.Density{Low: 1, P: []float64{1}}
	require.NoError(t, polar.Sample([]polar.Density{sure, sure}, []polar.Draw{{N: 5}, {N: 5, Ties: true}}, rand.New(rand.NewPCG(1, 1)), func(int, []int16) {
		t.Error("drawn")
	}))
}
