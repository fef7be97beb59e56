package pufstat_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/puf/pufstat"
)

// sequence returns bits that begin and end with v, in which v follows v so many times, the other value itself, and each the other.
func sequence(v byte, same, changes, others int) []byte {
	var out []byte
	add := func(v byte, n int) {
		for range n {
			out = append(out, v)
		}
	}
	// Runs of one and the other value in turn, the first of each as long as it takes.
	add(v, 1+same)
	add(1-v, 1+others)
	for range changes - 1 {
		out = append(out, v, 1-v)
	}
	return append(out, v)
}

// The figures are those that NIST's own SP800-90B_EntropyAssessment prints for its file truerand_1bit.bin, in
// cpp/selftest/refdata/truerand_1bit.res: the two estimates depend on the file's counts alone.
func TestAsNISTComputes(t *testing.T) {
	bits := sequence(1, 250479, 249953, 249614)
	require.Len(t, bits, 1000000)
	e := pufstat.MostCommonValue(bits)
	require.InDelta(t, -math.Log2(0.500433), e.Point, 1e-12)
	require.InDelta(t, 0.99504301513122573, e.Lower, 1e-12)
	require.InDelta(t, 0.99848647555611059, pufstat.Markov(bits).Point, 1e-12)
}

// The worked example of SP 800-90B, 6.3.3, and one of 6.3.1 with 12 of 20.
func TestAsTheStandardComputes(t *testing.T) {
	bits := []byte{1, 0, 0, 0, 1, 1, 1, 0, 0, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0}
	e := pufstat.Markov(bits)
	require.InDelta(t, 0.761, e.Point, 0.0005)
	require.Equal(t, e.Point, e.Lower)

	e = pufstat.MostCommonValue(append(make([]byte, 8), 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1))
	require.InDelta(t, -math.Log2(0.6+2.576*math.Sqrt(0.6*0.4/19)), e.Lower, 0.0005)
}

// random bits that are 1 with a chance that may depend on those before.
func random(seed uint64, n int, one func(i int, before []byte) float64) []byte {
	r := rand.New(rand.NewPCG(seed, 17))
	out := make([]byte, 0, n)
	for i := range n {
		out = append(out, 0)
		if r.Float64() < one(i, out[:i]) {
			out[i] = 1
		}
	}
	return out
}

// Sources of known entropy. Each is seen by the guesser that knows its rule, and missed by one that does not.
func TestEstimatesOfKnownSources(t *testing.T) {
	const n = 100000
	always := func(p float64) func(int, []byte) float64 { return func(int, []byte) float64 { return p } }
	after := func(lag int, p float64) func(int, []byte) float64 {
		return func(i int, b []byte) float64 {
			if i < lag || b[i-lag] == 0 {
				return 1 - p
			}
			return p
		}
	}
	at := make([]int, n)
	for i := range at {
		at[i] = 3 * i
	}
	for name, c := range map[string]struct {
		one  func(int, []byte) float64
		by   func(b []byte) pufstat.Estimate
		want float64
	}{
		"coin by value":              {always(0.5), pufstat.MostCommonValue, 1},
		"coin by Markov":             {always(0.5), pufstat.Markov, 1},
		"coin by context":            {always(0.5), func(b []byte) pufstat.Estimate { return pufstat.Context(b, 1, 2, 3, 4, 5, 6, 7, 8) }, 1},
		"coin by position":           {always(0.5), func(b []byte) pufstat.Estimate { return pufstat.Position(b, at, 512) }, 1},
		"biased by value":            {always(0.7), pufstat.MostCommonValue, -math.Log2(0.7)},
		"biased to 0 by value":       {always(0.3), pufstat.MostCommonValue, -math.Log2(0.7)},
		"biased by Markov":           {always(0.7), pufstat.Markov, -math.Log2(0.7)},
		"biased by context":          {always(0.7), func(b []byte) pufstat.Estimate { return pufstat.Context(b, 1, 2) }, -math.Log2(0.7)},
		"chain by value":             {after(1, 0.8), pufstat.MostCommonValue, 1},
		"chain by Markov":            {after(1, 0.8), pufstat.Markov, -math.Log2(0.8)},
		"chain by context":           {after(1, 0.8), func(b []byte) pufstat.Estimate { return pufstat.Context(b, 1) }, -math.Log2(0.8)},
		"far chain by Markov":        {after(32, 0.8), pufstat.Markov, 1},
		"far chain by near context":  {after(32, 0.8), func(b []byte) pufstat.Estimate { return pufstat.Context(b, 1, 2, 3) }, 1},
		"far chain by right context": {after(32, 0.8), func(b []byte) pufstat.Estimate { return pufstat.Context(b, 1, 32) }, -math.Log2(0.8)},
		"columns by value":           {func(i int, _ []byte) float64 { return 0.3 + 0.4*float64(i%2) }, pufstat.MostCommonValue, 1},
		"columns by position":        {func(i int, _ []byte) float64 { return 0.3 + 0.4*float64(i%2) }, func(b []byte) pufstat.Estimate { return pufstat.Position(b, at, 6) }, -math.Log2(0.7)},
		"columns by wrong period":    {func(i int, _ []byte) float64 { return 0.3 + 0.4*float64(i%2) }, func(b []byte) pufstat.Estimate { return pufstat.Position(b, at, 3) }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			e := c.by(random(1, n, c.one))
			require.InDelta(t, c.want, e.Point, 0.015)
			require.LessOrEqual(t, e.Lower, e.Point)
			require.Greater(t, e.Lower, e.Point-0.025)
			require.NotEmpty(t, e.Name)
		})
	}
}

// At the bound of 99 % an estimate is too high in 1 of 200 samples of an independent source: among 400 samples 9 or more would come
// with a chance below 1e-4.
func TestLowerIsABound(t *testing.T) {
	const p, n, samples = 0.6, 2000, 400
	high := 0
	for seed := range uint64(samples) {
		if pufstat.MostCommonValue(random(seed, n, func(int, []byte) float64 { return p })).Lower > -math.Log2(p) {
			high++
		}
	}
	require.LessOrEqual(t, high, 8)
}

func TestEstimatesOfLittle(t *testing.T) {
	for _, bits := range [][]byte{nil, {}, {1}} {
		for _, e := range []pufstat.Estimate{
			pufstat.MostCommonValue(bits), pufstat.Markov(bits), pufstat.Context(bits, 1), pufstat.Position(bits, []int{0}, 1), pufstat.Context(bits, 5, 9),
		} {
			require.Zero(t, e.Point, "%v of %v", e.Name, bits)
			require.Zero(t, e.Lower)
		}
	}
	ones := []byte{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}
	for _, e := range []pufstat.Estimate{pufstat.MostCommonValue(ones), pufstat.Markov(ones), pufstat.Context(ones, 1)} {
		require.Zero(t, e.Point, e.Name)
		require.Zero(t, e.Lower, e.Name)
	}
	for _, e := range []pufstat.Estimate{
		pufstat.Context(ones, 0), pufstat.Context(ones, -1), pufstat.Position(ones, nil, 2), pufstat.Position(ones, make([]int, 10), 0),
	} {
		require.Zero(t, e.N, "no such guesser: %+v", e)
	}
	require.Zero(t, pufstat.Lowest())
	low := pufstat.Lowest(pufstat.Estimate{}, pufstat.Estimate{Name: "a", N: 5, Lower: 0.3}, pufstat.Estimate{Name: "b", N: 5, Lower: 0.2})
	require.Equal(t, "b", low.Name)
}
