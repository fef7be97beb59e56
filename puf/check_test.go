package puf_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/pufsim"
)

// biased gives n bytes of independent bits with a share p of ones.
func biased(seed uint64, n int, p float64) []byte {
	r := rand.New(rand.NewPCG(seed, 9))
	b := make([]byte, n)
	for i := range 8 * n {
		if r.Float64() < p {
			b[i/8] |= 0x80 >> (i % 8)
		}
	}
	return b
}

// edit returns a good reading with a fault planted.
func edit(n int, plant func(b []byte)) []byte {
	b := biased(1, n, 0.5)
	plant(b)
	return b
}

func setBit(b []byte, i int, v byte) { b[i/8] = b[i/8]&^(0x80>>(i%8)) | v<<(7-i%8) }

func bit(b []byte, i int) byte { return b[i/8] >> (7 - i%8) & 1 }

func TestCheckRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		reading []byte
		want    error
		offset  int
		lag     int
	}{
		"nil":                 {nil, puf.ErrTooSmall, -1, 0},
		"too small":           {biased(1, 127, 0.5), puf.ErrTooSmall, -1, 0},
		"zeros":               {make([]byte, 1024), puf.ErrConstant, -1, 0},
		"ones":                {bytes.Repeat([]byte{0xff}, 1024), puf.ErrConstant, -1, 0},
		"few ones":            {biased(2, 1024, 0.30), puf.ErrBias, -1, 0},
		"many ones":           {biased(2, 1024, 0.70), puf.ErrBias, -1, 0},
		"0xaa":                {bytes.Repeat([]byte{0xaa}, 1024), puf.ErrRepeating, 0, 8},
		"0xdeadbeef":          {bytes.Repeat([]byte{0xde, 0xad, 0xbe, 0xef}, 256), puf.ErrRepeating, 0, 32},
		"pattern of 64 bytes": {bytes.Repeat(biased(3, 64, 0.5), 16), puf.ErrRepeating, 0, 512},
		"cleared piece":       {edit(1024, func(b []byte) { clear(b[500:517]) }), puf.ErrRepeating, 500, 8},
		"painted stack": {
			edit(1024, func(b []byte) { copy(b[300:], bytes.Repeat([]byte{0xa5, 0x5a, 0xc3}, 7)) }), puf.ErrRepeating, 300, 24,
		},
		"cleared end":   {edit(1024, func(b []byte) { clear(b[1007:]) }), puf.ErrRepeating, 1007, 8},
		"cleared start": {edit(1024, func(b []byte) { clear(b[:17]) }), puf.ErrRepeating, 0, 8},
		"run of equal bits": {
			// Between the limit of this test, 65 bits, and that of repeating bytes.
			edit(1024, func(b []byte) {
				for i := 4001; i < 4001+66; i++ {
					setBit(b, i, 1)
				}
				setBit(b, 4000, 0)
				setBit(b, 4067, 0)
			}), puf.ErrRun, 500, 0,
		},
		"local bias": {
			edit(1024, func(b []byte) { copy(b[256:384], biased(4, 128, 0.9)) }), puf.ErrProportion, 256, 0,
		},
		"local bias at the end": {
			edit(1000, func(b []byte) { copy(b[872:], biased(4, 128, 0.1)) }), puf.ErrProportion, 872, 0,
		},
		"columns repeat": {
			edit(1024, func(b []byte) {
				for i := 13; i < 8192; i++ {
					if i%5 != 0 {
						setBit(b, i, bit(b, i-13))
					}
				}
			}), puf.ErrStripes, -1, 13,
		},
		"address line open": {edit(1024, func(b []byte) { copy(b[512:], b[:512]) }), puf.ErrStripes, -1, 4096},
		"smaller mirrored":  {edit(1024, func(b []byte) { copy(b[200:400], b); copy(b[400:800], b); copy(b[800:], b) }), puf.ErrStripes, -1, 1600},
		"64 KB read as 96":  {edit(98304, func(b []byte) { copy(b[65536:], b) }), puf.ErrStripes, -1, 524288},
	} {
		t.Run(name, func(t *testing.T) {
			var e *puf.CheckError
			err := puf.Check(c.reading, puf.Limits{})
			require.ErrorAs(t, err, &e)
			require.ErrorIs(t, err, c.want)
			require.Equal(t, c.offset, e.Offset, err)
			require.Equal(t, c.lag, e.Lag, err)
			require.ErrorContains(t, err, e.Unit)
			require.NotEqual(t, e.Got, e.Limit)
		})
	}
}

func TestCheckPasses(t *testing.T) {
	for _, n := range []int{128, 129, 200, 512, 1000, 1024, 1025, 4096} {
		for seed := range uint64(20) {
			for _, p := range []float64{0.42, 0.5, 0.58} {
				b := biased(seed, n, p)
				require.NoError(t, puf.Check(b, puf.Limits{}), "%d bytes, seed %d, %v ones", n, seed, p)
			}
		}
	}
}

// At the very bound of the bias the tests keep their rate of false alarms.
func TestChecksAtTheBound(t *testing.T) {
	wide := puf.Limits{MinOnes: 0.3, MaxOnes: 0.7}
	for seed := range uint64(200) {
		b := biased(seed, 1024, 0.65)
		if err := puf.Check(b, wide); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func TestProfileWidens(t *testing.T) {
	b := biased(5, 1024, 0.80)
	require.ErrorIs(t, puf.Check(b, puf.Limits{}), puf.ErrBias)
	require.NoError(t, puf.Check(b, puf.Limits{MaxOnes: 0.85}))
	require.ErrorIs(t, puf.Check(b, puf.Limits{MaxOnes: 0.75}), puf.ErrBias)
	require.ErrorIs(t, puf.Check(b, puf.Limits{MinOnes: 0.81, MaxOnes: 0.99}), puf.ErrBias)
}

func TestBadLimits(t *testing.T) {
	b := biased(1, 1024, 0.5)
	for _, l := range []puf.Limits{
		{MinOnes: -0.1}, {MaxOnes: 1}, {MaxOnes: 1.5}, {MinOnes: 0.7}, {MinOnes: 0.6, MaxOnes: 0.4}, {MaxDistance: 1}, {MaxDistance: -1},
		{MaxCorrelation: 2},
	} {
		require.Error(t, puf.Check(b, l), "%+v", l)
		require.Error(t, puf.CheckPair(b, b, l), "%+v", l)
		var e *puf.CheckError
		require.False(t, errors.As(puf.Check(b, l), &e), "a bad profile is no fault of the reading")
	}
}

func TestCheckLeavesReadingAlone(t *testing.T) {
	b := biased(1, 1024, 0.5)
	c := bytes.Clone(b)
	require.NoError(t, puf.Check(b, puf.Limits{}))
	require.NoError(t, puf.CheckPair(b, edit(1024, func(b []byte) { b[0] ^= 1 }), puf.Limits{}))
	require.Equal(t, c, b)
}

func TestCheckPair(t *testing.T) {
	a := biased(1, 1024, 0.5)
	flip := func(n int) []byte {
		b := bytes.Clone(a)
		for i := range n {
			b[i/8] ^= 0x80 >> (i % 8)
		}
		return b
	}
	for name, c := range map[string]struct {
		b    []byte
		l    puf.Limits
		want error
	}{
		"one bit":           {flip(1), puf.Limits{}, nil},
		"at the limit":      {flip(1228), puf.Limits{}, nil},
		"identical":         {flip(0), puf.Limits{}, puf.ErrIdentical},
		"beyond the limit":  {flip(1229), puf.Limits{}, puf.ErrDistance},
		"another chip":      {biased(2, 1024, 0.5), puf.Limits{}, puf.ErrDistance},
		"inverse":           {flip(8192), puf.Limits{}, puf.ErrNotPowerCycled},
		"nearly inverse":    {flip(8192 - 1228), puf.Limits{}, puf.ErrNotPowerCycled},
		"far from both":     {flip(8192 - 1230), puf.Limits{}, puf.ErrDistance},
		"no limit to speak": {flip(5000), puf.Limits{MaxDistance: 0.7}, nil},
		"a wider profile":   {flip(1600), puf.Limits{MaxDistance: 0.2}, nil},
		"a tighter profile": {flip(500), puf.Limits{MaxDistance: 0.05}, puf.ErrDistance},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, puf.CheckPair(a, c.b, c.l), c.want)
			require.ErrorIs(t, puf.CheckPair(c.b, a, c.l), c.want)
		})
	}
	var size *puf.SizeError
	require.ErrorAs(t, puf.CheckPair(a, a[:1023], puf.Limits{}), &size)
	require.ErrorAs(t, puf.CheckPair(nil, nil, puf.Limits{}), &size)
	require.ErrorAs(t, puf.CheckPair(a, nil, puf.Limits{}), &size)
}

func FuzzCheck(f *testing.F) {
	f.Add(biased(1, 1024, 0.5), biased(2, 1024, 0.5))
	f.Add(biased(1, 130, 0.5), make([]byte, 130))
	f.Add([]byte{}, []byte{1})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		for _, r := range [][]byte{a, b} {
			if err := puf.Check(r, puf.Limits{}); err != nil {
				var e *puf.CheckError
				require.ErrorAs(t, err, &e)
				require.Less(t, e.Offset, max(len(r), 1))
				require.NotEmpty(t, err.Error())
			}
		}
		forth, back := puf.CheckPair(a, b, puf.Limits{}), puf.CheckPair(b, a, puf.Limits{})
		require.Equal(t, forth == nil, back == nil)
	})
}

func BenchmarkCheck(b *testing.B) {
	for _, n := range []int{1024, 98304} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := measure(b, pufsim.New(1, pufsim.Config{Size: n}))
			b.ReportAllocs()
			b.SetBytes(int64(n))
			for b.Loop() {
				if err := puf.Check(r, puf.Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The cutoff is where the binomial tail falls below 2^-40, here by exact arithmetic.
func TestProportionCutoff(t *testing.T) {
	for _, percent := range []int64{50, 65, 80} {
		c := puf.ProportionCutoff(float64(percent) / 100)
		tail := func(c int) *big.Rat { // sum over k >= c of C(1024,k) p^k q^(1024-k)
			sum := new(big.Int)
			for k := int64(c); k <= 1024; k++ {
				term := new(big.Int).Binomial(1024, k)
				term.Mul(term, new(big.Int).Exp(big.NewInt(percent), big.NewInt(k), nil))
				term.Mul(term, new(big.Int).Exp(big.NewInt(100-percent), big.NewInt(1024-k), nil))
				sum.Add(sum, term)
			}
			return new(big.Rat).SetFrac(sum, new(big.Int).Exp(big.NewInt(100), big.NewInt(1024), nil))
		}
		bound := big.NewRat(1, 1<<40)
		require.LessOrEqual(t, tail(c).Cmp(bound), 0, "%d%%: cutoff %d is too low", percent, c)
		require.Positive(t, tail(c-1).Cmp(bound), "%d%%: cutoff %d is too high", percent, c)
	}
}
