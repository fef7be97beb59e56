package pufstat_test

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/pufsim"
	"github.com/semio-iot/semio/puf/pufstat"
)

// three power-ups of 4 bytes with figures that can be counted by hand.
func three(t *testing.T) *pufstat.Chip {
	c, err := pufstat.New([]byte{0xff, 0x00, 0xf0, 0x00}, []byte{0xfe, 0x00, 0xf0, 0x01}, []byte{0xfc, 0x00, 0xff, 0x00})
	require.NoError(t, err)
	return c
}

func simulated(t testing.TB, seed uint64, n int, c pufsim.Config) *pufstat.Chip {
	chip := pufsim.New(seed, c)
	var readings [][]byte
	for range n {
		b := make([]byte, chip.Size())
		require.NoError(t, chip.Measure(context.Background(), b))
		readings = append(readings, b)
	}
	out, err := pufstat.New(readings...)
	require.NoError(t, err)
	return out
}

func TestCountedByHand(t *testing.T) {
	c := three(t)
	require.Equal(t, 4, c.Size())
	require.Equal(t, 3, c.Readings())
	require.Equal(t, []float64{2. / 32, 6. / 32}, c.Within(0))
	require.Equal(t, []float64{1. / 16, 1. / 16, 2. / 16, 4. / 16}, c.Within(2))
	require.Equal(t, c.Within(0), c.Within(99), "a window larger than the reading is the whole")
	require.Equal(t, []float64{1. / 24, 6. / 24}, c.Within(3), "the rest beside the windows is left out")
	require.Equal(t, []float64{2. / 32, 6. / 32, 6. / 32}, c.WithinPairs(0))
	require.Equal(t, []byte{0xfe, 0x00, 0xf0, 0x00}, c.Majority())
	require.Equal(t, []float64{1. / 32, 1. / 32, 5. / 32}, c.WithinMajority(0))
	require.Equal(t, []float64{12. / 32, 12. / 32, 14. / 32}, c.Ones(0))
	require.Equal(t, []float64{0.5, 0.25, 7. / 16, 5. / 16, 6. / 16, 0.5}, c.Ones(2))
	// Bit 7 of the first byte came once, bit 6 twice; four of the third byte once, the last of all once.
	require.Equal(t, []int{15, 6, 1, 10}, c.Counts())
	require.Equal(t, 25./32, c.Stable())
	require.Equal(t, 1., c.Chance(0))
	require.Equal(t, 2./3, c.Chance(6))
	require.InDelta(t, 7*math.Log2(1.5)/32, c.NoiseEntropy(), 1e-12)
	phases, err := c.Phases(16)
	require.NoError(t, err)
	require.InDeltaSlice(t, []float64{1, 1, 1, 1, 4. / 6, 4. / 6, 3. / 6, 2. / 6, 0, 0, 0, 0, 0, 0, 0, 1. / 6}, phases, 1e-12)
	require.Equal(t, []float64{4. / 16}, c.BetweenWindows(2, 10))

	other, err := pufstat.New([]byte{0x0f, 0x00, 0xf0, 0x00})
	require.NoError(t, err)
	between, err := pufstat.Between(c, other, 2)
	require.NoError(t, err)
	require.Equal(t, []float64{4. / 16, 0}, between)
	across, err := pufstat.Across(c, other)
	require.NoError(t, err)
	require.Equal(t, []float64{4. / 32, 6. / 32, 10. / 32}, across)
}

func TestMajorityOfATie(t *testing.T) {
	c, err := pufstat.New([]byte{0b1100}, []byte{0b1010})
	require.NoError(t, err)
	require.Equal(t, []byte{0b1100}, c.Majority(), "the first power-up decides")
}

func TestSummarize(t *testing.T) {
	s := pufstat.Summarize([]float64{2, 4, 4, 4, 5, 5, 7, 9})
	require.Equal(t, 8, s.N)
	require.InDelta(t, 5, s.Mean, 1e-12)
	require.InDelta(t, math.Sqrt(32./7), s.Deviation, 1e-12)
	require.Equal(t, [2]float64{2, 9}, [2]float64{s.Min, s.Max})
	require.Equal(t, pufstat.Summary{N: 1, Mean: 3, Min: 3, Max: 3}, pufstat.Summarize([]float64{3}))
	require.Zero(t, pufstat.Summarize(nil))
}

func TestOneReading(t *testing.T) {
	c, err := pufstat.New(make([]byte, 16))
	require.NoError(t, err)
	require.Empty(t, c.Within(0))
	require.Empty(t, c.WithinPairs(4))
	require.Equal(t, []float64{0}, c.WithinMajority(0))
	require.Equal(t, 1., c.Stable())
	require.Nil(t, c.Autocorrelation(10), "a constant reading has no correlation")
	require.Empty(t, c.BetweenWindows(16, 10))
	require.Empty(t, c.BetweenWindows(4, 0))
	require.Len(t, c.BetweenWindows(4, 100), 6)
	require.Len(t, c.BetweenWindows(4, 4), 3, "evenly taken, not more than asked for")
}

func TestRefuses(t *testing.T) {
	_, err := pufstat.New()
	require.ErrorContains(t, err, "0 readings")
	_, err = pufstat.New(make([][]byte, 1<<15+1)...)
	require.ErrorContains(t, err, "32769 readings")
	var size *puf.SizeError
	_, err = pufstat.New([]byte{})
	require.ErrorAs(t, err, &size)
	_, err = pufstat.New([]byte{1}, []byte{1, 2})
	require.ErrorAs(t, err, &size)
	require.ErrorContains(t, err, "reading 2 has 2 bytes, want 1")
	small, err := pufstat.New([]byte{1})
	require.NoError(t, err)
	_, err = pufstat.Between(three(t), small, 0)
	require.ErrorAs(t, err, &size)
	_, err = pufstat.Across(three(t), small)
	require.ErrorAs(t, err, &size)
	for _, period := range []int{0, -1, 33} {
		_, err = three(t).Phases(period)
		require.ErrorAs(t, err, &size)
	}
}

// Independent cells have the correlation of chance, tied ones that of signs of normals, at their distance.
func TestAutocorrelation(t *testing.T) {
	const stride, r = 40, 0.5
	plain := simulated(t, 1, 1, pufsim.Config{Size: 1 << 14, Noise: -1})
	for i, v := range plain.Autocorrelation(200) {
		require.Less(t, math.Abs(v), 4.5/math.Sqrt(1<<17), "lag %d", i+1)
	}
	tied := simulated(t, 1, 1, pufsim.Config{Size: 1 << 14, Noise: -1, Correlation: r, CorrelationStride: stride}).Autocorrelation(200)
	require.InDelta(t, 2/math.Pi*math.Asin(r), tied[stride-1], 0.015)
	require.InDelta(t, 2/math.Pi*math.Asin(r*r), tied[2*stride-1], 0.015)
	require.InDelta(t, 0, tied[stride], 0.015)
	require.Len(t, three(t).Autocorrelation(1000), 31, "no lag beyond the bits")
	require.Empty(t, three(t).Autocorrelation(-1))
}

func TestSymbols(t *testing.T) {
	// Pairs of neighbours: 01 10 11 00 | 00 11 11 11. Pass 1: 0 1. Pass 2: 11-00 gives 1, 00-11 gives 0, 11-11 nothing.
	symbols, err := pufstat.Symbols([]byte{0b01101100, 0b00111111}, 1)
	require.NoError(t, err)
	require.Equal(t, []pufstat.Symbol{
		{Value: 1, Pass: 2, First: 4, Second: 6}, {Value: 0, Pass: 2, First: 8, Second: 10}, {Value: 0, Pass: 1, First: 0}, {Value: 1, Pass: 1, First: 2},
	}, symbols)
	// Pairs 4 apart: 01 11 10 00. Pass 2: 11-00 gives 1.
	symbols, err = pufstat.Symbols([]byte{0b01101100}, 4)
	require.NoError(t, err)
	require.Equal(t, []pufstat.Symbol{{Value: 1, Pass: 2, First: 1, Second: 3}, {Value: 0, Pass: 1, First: 0}, {Value: 1, Pass: 1, First: 2}}, symbols)
}
