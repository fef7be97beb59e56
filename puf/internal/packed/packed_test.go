package packed_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/puf/internal/packed"
)

func random(n int) []byte {
	r := rand.New(rand.NewPCG(uint64(n), 3))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32() & r.Uint32() >> 1)
	}
	return b
}

func TestCountsBitByBit(t *testing.T) {
	require.Equal(t, byte(1), packed.Bit([]byte{0, 0x40}, 9))
	for _, n := range []int{0, 1, 7, 8, 9, 16, 63, 64, 65, 100} {
		a, b := random(n), random(n + 1)[:n]
		ones, differing := 0, 0
		for i := range 8 * n {
			ones += int(packed.Bit(a, i))
			differing += int(packed.Bit(a, i) ^ packed.Bit(b, i))
		}
		require.Equal(t, ones, packed.Ones(a), "%d bytes", n)
		require.Equal(t, differing, packed.Differing(a, b), "%d bytes", n)
	}
}

func TestLagged(t *testing.T) {
	for _, n := range []int{1, 7, 8, 9, 16, 63, 64, 65, 100} {
		b := random(n)
		w := packed.ToWords(b)
		for lag := 1; lag <= 8*n; lag++ {
			want := 0
			for i := range 8*n - lag {
				want += int(packed.Bit(b, i) ^ packed.Bit(b, i+lag))
			}
			require.Equal(t, want, w.Lagged(lag), "%d bytes, lag %d", n, lag)
		}
		w.Clear()
		require.Zero(t, w.Lagged(1))
	}
}
