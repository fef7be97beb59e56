package pufstat_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/pufsim"
	"github.com/semio-iot/semio/puf/pufstat"
)

func TestSymbolsRefuse(t *testing.T) {
	for _, stride := range []int{0, -1, 9, 16, 3} {
		_, err := pufstat.Symbols([]byte{1, 2}, stride)
		require.ErrorContains(t, err, "do not fall into pairs", stride)
	}
	_, err := pufstat.Symbols(nil, 1)
	require.Error(t, err)
}

// Bias leaves the symbols uniform; a design whose words alternate does not, at the distance of a word.
func TestStrides(t *testing.T) {
	words := make([]float64, 64)
	for i := range words {
		words[i] = 0.4
		if i >= 32 {
			words[i] = -0.4
		}
	}
	var biased, alternating []*pufstat.Chip
	for seed := range uint64(2) {
		biased = append(biased, simulated(t, seed, 1, pufsim.Config{Size: 1 << 13, Ones: 0.7}))
		alternating = append(alternating, simulated(t, seed, 1, pufsim.Config{Size: 1 << 13, Columns: words}))
	}
	strides, err := pufstat.Strides(biased, 1024)
	require.NoError(t, err)
	require.Len(t, strides, 13)
	for i, s := range strides {
		require.Equal(t, 1<<i, s.Stride)
		require.Greater(t, s.Entropy, 0.91, "stride %d", s.Stride)
		require.LessOrEqual(t, s.Entropy, 1.)
		require.Equal(t, 16, s.Symbols.N, "8 windows of 2 chips")
		// 4,096 pairs, of which 2pq are unequal; of the quads of the others 2ab differ.
		require.InDelta(t, 4096*0.42+4096*0.58/2*2*(0.49/0.58)*(0.09/0.58), s.Symbols.Mean, 60)
		require.InDelta(t, 0.5, s.Ones.Mean, 0.02)
		require.NotEmpty(t, s.Worst)
	}
	strides, err = pufstat.Strides(alternating, 1024)
	require.NoError(t, err)
	for _, s := range strides {
		if s.Stride == 32 {
			require.Less(t, s.Entropy, 0.5)
			require.Greater(t, s.Ones.Mean, 0.7)
		} else {
			require.Greater(t, s.Entropy, 0.85, "stride %d", s.Stride)
		}
	}
}

// In pass 2 a pair of one word is set against a pair of the next, where the word ends: who knows the words guesses these symbols, and
// no other estimate sees them so clearly.
func TestColumnsAreGuessed(t *testing.T) {
	words := make([]float64, 64)
	for i := range words {
		words[i] = 1
		if i >= 32 {
			words[i] = -1
		}
	}
	c := simulated(t, 1, 1, pufsim.Config{Size: 1 << 14, Columns: words})
	s, err := pufstat.AtStride([]*pufstat.Chip{c}, 1024, 16)
	require.NoError(t, err)
	require.Contains(t, pufstat.Lowest(s.Worst...).Name, "columns")
	require.Less(t, s.Entropy, 0.9)
	require.Greater(t, s.Worst[0].Lower, 0.96, "the values themselves are balanced")

	// Nothing is learnt from a single window, and nothing said.
	alone := simulated(t, 1, 1, pufsim.Config{Columns: words})
	s, err = pufstat.AtStride([]*pufstat.Chip{alone}, 1024, 16)
	require.NoError(t, err)
	require.Zero(t, s.Worst[len(s.Worst)-1].N)
	require.NotContains(t, pufstat.Lowest(s.Worst...).Name, "columns")
}

func TestStridesRefuse(t *testing.T) {
	c := simulated(t, 1, 1, pufsim.Config{})
	_, err := pufstat.Strides(nil, 1024)
	require.ErrorContains(t, err, "no chip")
	for _, window := range []int{0, -4, 1000} {
		_, err = pufstat.Strides([]*pufstat.Chip{c}, window)
		require.ErrorContains(t, err, "power of two")
	}
	var size *puf.SizeError
	_, err = pufstat.Strides([]*pufstat.Chip{c}, 2048)
	require.ErrorAs(t, err, &size)
}

// Board b pairs words that alternate in their bias at stride 32, and neighbours at stride 1.
func TestStridesOfRealChips(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(os.Getenv("SEMIO_SRAM"), "stm32f401-b", "01.bin"))
	if err != nil {
		t.Skip("SEMIO_SRAM has no stm32f401-b/01.bin, board Franck.dev of github.com/TimothyClaeys/SramAnalyzer")
	}
	c, err := pufstat.New(b)
	require.NoError(t, err)
	at := func(stride int) float64 {
		s, err := pufstat.AtStride([]*pufstat.Chip{c}, 1024, stride)
		require.NoError(t, err)
		return s.Entropy
	}
	require.Greater(t, at(1), 0.94, "neighbours")
	require.Less(t, at(32), 0.6, "words")
	require.Greater(t, at(128), at(1), "two rows apart is better than neighbours")
}
