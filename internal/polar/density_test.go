package polar_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/polar"
)

// genie returns the values on which the bits of u are decided, all earlier ones
// being known to be 0.
func genie(llr []int) []int {
	if len(llr) == 1 {
		return llr
	}
	h := len(llr) / 2
	left, right := make([]int, h), make([]int, h)
	for i := range left {
		a, b := llr[i], llr[i+h]
		left[i] = min(max(a, -a), max(b, -b))
		if (a < 0) != (b < 0) {
			left[i] = -left[i]
		}
		right[i] = a + b
	}
	return append(genie(left), genie(right)...)
}

// Every outcome of eight different channels, counted one by one.
func TestErrorsAgreeWithEnumeration(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 5 {
		in := make([]polar.Density, 8)
		for i := range in {
			in[i].Low = r.IntN(2) - 2
			sum := 0.0
			for range 3 {
				p := math.Exp(-6 * r.Float64())
				in[i].P = append(in[i].P, p)
				sum += p
			}
			for j := range in[i].P {
				in[i].P[j] /= sum
			}
		}
		want := make([]float64, 8)
		llr := make([]int, 8)
		var walk func(i int, p float64)
		walk = func(i int, p float64) {
			if i == 8 {
				for j, v := range genie(llr) {
					if v < 0 {
						want[j] += p
					} else if v == 0 {
						want[j] += p / 2
					}
				}
				return
			}
			for j, q := range in[i].P {
				llr[i] = in[i].Low + j
				walk(i+1, p*q)
			}
		}
		walk(0, 1)
		got, err := polar.Errors(in, 1)
		require.NoError(t, err)
		for i := range want {
			require.GreaterOrEqual(t, got[i], want[i]*(1-1e-12), "position %d: a bound lies above", i)
			require.InEpsilon(t, want[i], got[i], 1e-7, "position %d: and not far above", i)
		}
	}
}

// The erasure channel has a closed form: an erasure in either for a check, in
// both for a sum (Arıkan 2009, section III.B). It goes down to tiny probabilities.
func TestErrorsOfErasures(t *testing.T) {
	const n, e = 256, 0.3
	in := make([]polar.Density, n)
	for i := range in {
		in[i] = polar.Density{P: []float64{e, 1 - e}}
	}
	got, err := polar.Errors(in, 1)
	require.NoError(t, err)
	z := []float64{e}
	for len(z) < n {
		var next []float64
		for _, x := range z {
			next = append(next, 2*x-x*x, x*x)
		}
		z = next
	}
	checked := 0
	for i := range z {
		if z[i]/2 < 1e-18 {
			require.Less(t, got[i], 1e-18, "position %d", i)
			continue
		}
		require.InEpsilon(t, z[i]/2, got[i], 1e-4, "position %d", i)
		checked++
	}
	require.Greater(t, checked, n/2)
}

// What is lost at the inputs is an error at the end.
func TestErrorsKeepLostProbability(t *testing.T) {
	in := make([]polar.Density, 2)
	for i := range in {
		in[i] = polar.Density{Low: 1, P: []float64{0.99}, Lost: 0.01}
	}
	got, err := polar.Errors(in, 1)
	require.NoError(t, err)
	require.InDelta(t, 0.02, got[0], 1e-6)
	require.InDelta(t, 0.02, got[1], 1e-6)
	require.GreaterOrEqual(t, got[0], 0.02)
}

// At a noise where failures are frequent, the decoder's failures stay below the
// bound and near it: the bound is a union of events that seldom meet. The seed is
// fixed; 400 words at a rate near 3 % have a standard error of 0.9 %.
func TestBoundHoldsForTheDecoder(t *testing.T) {
	vote := polar.Density{Low: -1, P: []float64{0.04, 0.32, 0.64}}
	c, errs := testCode(t, 304, vote)
	bound, err := c.Bound(errs)
	require.NoError(t, err)
	require.Greater(t, bound, 0.02)
	require.Less(t, bound, 0.2)

	r := rand.New(rand.NewPCG(7, 8))
	d := polar.NewDecoder(c)
	message, codeword, x, llr := make([]byte, 38), make([]byte, 1024), make([]byte, 1024), make([]int16, 1024)
	const words = 400
	failed := 0
	for range words {
		sent := randomBytes(r, 38)
		require.NoError(t, c.Encode(x, sent))
		for i, b := range x {
			// Any unit: a test of the claim that it does not matter.
			llr[i] = 7 - 14*int16(b)
			switch v := r.Float64(); {
			case v < 0.04:
				llr[i] = -llr[i]
			case v < 0.36:
				llr[i] = 0
			}
		}
		require.NoError(t, d.Decode(message, codeword, llr))
		if string(message) != string(sent) {
			failed++
		}
	}
	rate := float64(failed) / words
	t.Logf("bound %.4f, measured %.4f", bound, rate)
	sigma := math.Sqrt(bound * (1 - bound) / words)
	require.Less(t, rate, bound+3*sigma)
	require.Greater(t, rate, bound/4)
}

func TestErrorsRefuses(t *testing.T) {
	fair := polar.Density{Low: -1, P: []float64{0.25, 0.5, 0.25}}
	four := func(d polar.Density) []polar.Density { return []polar.Density{fair, fair, d, fair} }
	for name, c := range map[string]struct {
		in   []polar.Density
		unit int
	}{
		"none":              {nil, 1},
		"one":               {[]polar.Density{fair}, 1},
		"three":             {[]polar.Density{fair, fair, fair}, 1},
		"too many":          {make([]polar.Density, 1<<14), 1},
		"empty":             {four(polar.Density{}), 1},
		"not a number":      {four(polar.Density{P: []float64{math.NaN(), 1}}), 1},
		"negative":          {four(polar.Density{P: []float64{-0.5, 1, 0.5}}), 1},
		"sum too small":     {four(polar.Density{P: []float64{0.5, 0.4}}), 1},
		"sum too large":     {four(polar.Density{P: []float64{0.5, 0.6}}), 1},
		"lost negative":     {four(polar.Density{P: []float64{1}, Lost: -1e-12}), 1},
		"lost not a number": {four(polar.Density{P: []float64{1}, Lost: math.NaN()}), 1},
		"would saturate":    {four(polar.Density{Low: 8192, P: []float64{1}}), 1},
		"unit saturates":    {four(fair), 8192},
		"no unit":           {four(fair), 0},
		"far out":           {four(polar.Density{Low: math.MinInt, P: []float64{1}}), 1},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := polar.Errors(c.in, c.unit)
			require.ErrorIs(t, err, polar.ErrDensity)
			require.Nil(t, got)
		})
	}
	got, err := polar.Errors(four(fair), 8191)
	require.NoError(t, err)
	require.Len(t, got, 4)
}

func TestSelect(t *testing.T) {
	info, err := polar.Select([]float64{0.5, 0.1, 0.1, 0.1, 0.2, 0.1, 0.5, 0.3}, 3)
	require.NoError(t, err)
	require.Equal(t, []byte{0b00110100}, info, "of equal errors the larger index")
	for _, k := range []int{0, -1, 9} {
		_, err := polar.Select(make([]float64, 8), k)
		require.ErrorIs(t, err, polar.ErrCode)
	}
	_, err = polar.Select(make([]float64, 12), 4)
	require.ErrorIs(t, err, polar.ErrCode)
}

func BenchmarkErrors(b *testing.B) {
	in := make([]polar.Density, 2048)
	for i := range in {
		in[i] = polar.Density{Low: -1, P: []float64{0.04, 0.32, 0.64}}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := polar.Errors(in, 2); err != nil {
			b.Fatal(err)
		}
	}
}
