package ecc_test

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/examples/puflab/internal/ecc"
)

func randomBits(r *rand.Rand, n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(r.IntN(2))
	}
	return out
}

func flip(r *rand.Rand, word []byte, n int) []byte {
	out := append([]byte(nil), word...)
	for _, i := range r.Perm(len(word))[:n] {
		out[i] ^= 1
	}
	return out
}

// Dimensions from the tables of Peterson and Weldon, "Error-Correcting Codes", appendix D: those of the peers and some others.
func TestBCH(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct{ m, t, k int }{
		{3, 1, 4}, {4, 2, 7}, {4, 3, 5}, {5, 3, 16}, {6, 4, 39}, {7, 7, 78}, {7, 10, 64}, {7, 13, 50}, {7, 15, 36}, {8, 18, 131}, {9, 30, 259}, {10, 50, 573},
	} {
		t.Run(fmt.Sprintf("GF(2^%d), %d errors", c.m, c.t), func(t *testing.T) {
			code, err := ecc.NewBCH(c.m, c.t)
			require.NoError(t, err)
			require.Equal(t, 1<<c.m-1, code.Len())
			require.Equal(t, c.k, code.Dimension())
			require.Equal(t, c.t, code.Errors())
			wrong := 0
			for range 20 {
				message := randomBits(r, c.k)
				word := code.Encode(message)
				for n := 0; n <= c.t; n++ {
					received := flip(r, word, n)
					before := append([]byte(nil), received...)
					got, ok := code.Decode(received)
					require.True(t, ok, "%d errors", n)
					require.Equal(t, message, got, "%d errors", n)
					require.Equal(t, before, received)
				}
				if got, ok := code.Decode(flip(r, word, min(c.t+4, code.Len()/2))); !ok || string(got) != string(message) {
					wrong++
				}
			}
			require.Greater(t, wrong, 15, "beyond its distance it errs")
		})
	}
	for _, c := range [][2]int{{2, 1}, {11, 1}, {7, 0}, {3, 4}} {
		_, err := ecc.NewBCH(c[0], c[1])
		require.Error(t, err, "%v", c)
	}
}

func TestGolay(t *testing.T) {
	g := ecc.NewGolay()
	require.Equal(t, 24, g.Len())
	require.Equal(t, 12, g.Dimension())
	// The weight distribution tells the extended Golay code from any other.
	weights := map[int]int{}
	for m := range 1 << 12 {
		message := make([]byte, 12)
		for i := range message {
			message[i] = byte(m >> i & 1)
		}
		n := 0
		for _, b := range g.Encode(message) {
			n += int(b)
		}
		weights[n]++
	}
	require.Equal(t, map[int]int{0: 1, 8: 759, 12: 2576, 16: 759, 24: 1}, weights)

	message := []byte{1, 0, 1, 1, 0, 0, 0, 1, 0, 1, 0, 1}
	word := g.Encode(message)
	for pattern := range uint32(1 << 24) {
		n := bits.OnesCount32(pattern)
		if n > 4 || n == 4 && pattern%7 != 0 {
			continue
		}
		received := append([]byte(nil), word...)
		for i := range received {
			received[i] ^= byte(pattern >> i & 1)
		}
		got, ok := g.Decode(received)
		if ok != (n <= 3) || ok && string(got) != string(message) {
			t.Fatalf("pattern %024b: %v, %v", pattern, got, ok)
		}
	}
}

func TestRepeated(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	code := ecc.Repeated{Code: ecc.NewGolay(), Times: 7}
	require.Equal(t, 168, code.Len())
	require.Equal(t, 12, code.Dimension())
	message := randomBits(r, 12)
	word := code.Encode(message)
	// Three of seven wrong everywhere, and three bits wholly.
	for i := range word {
		if i%7 < 3 || i < 21 {
			word[i] ^= 1
		}
	}
	got, ok := code.Decode(word)
	require.True(t, ok)
	require.Equal(t, message, got)
}
