package polar

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The rules at the edges of int16, where bit tricks go wrong.
func TestRules(t *testing.T) {
	values := []int16{-32768, -32767, -32766, -16384, -3, -2, -1, 0, 1, 2, 3, 16383, 16384, 32766, 32767}
	abs := func(v int) int { return max(v, -v) }
	clamp := func(v int) int16 { return int16(max(-32767, min(32767, v))) }
	for _, a := range values {
		for _, b := range values {
			want := min(abs(int(a)), abs(int(b)))
			if (a < 0) != (b < 0) {
				want = -want
			}
			require.Equal(t, clamp(want), check(a, b), "check(%d, %d)", a, b)
			require.Equal(t, clamp(int(b)+int(a)), add(a, b, 0), "add(%d, %d, 0)", a, b)
			require.Equal(t, clamp(int(b)-int(a)), add(a, b, 1), "add(%d, %d, 1)", a, b)
		}
	}
}

func TestDecoderWipes(t *testing.T) {
	c, err := New([]byte{0xff})
	require.NoError(t, err)
	d := NewDecoder(c)
	message, codeword := make([]byte, 1), make([]byte, 8)
	llr := []int16{-1, 1, 1, -1, -1, 1, -1, -1}
	require.NoError(t, d.Decode(message, codeword, llr))
	want := message[0]
	require.NotZero(t, want)
	require.Contains(t, d.u, byte(1))
	d.Wipe()
	for i := range c.n {
		require.Zero(t, int(d.llr[i])|int(d.x[i])|int(d.u[i]), "place %d", i)
	}
	require.NoError(t, d.Decode(message, codeword, llr))
	require.Equal(t, want, message[0], "a wiped decoder works again")
}
