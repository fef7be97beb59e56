package polar_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/polar"
)

func TestNewRefuses(t *testing.T) {
	for name, info := range map[string][]byte{
		"nothing":             {},
		"length 24":           {0xff, 0xff, 0xff},
		"too long":            make([]byte, 2048),
		"no information":      {0, 0},
		"not a whole message": {0x0f, 0xf7},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := polar.New(info)
			require.ErrorIs(t, err, polar.ErrCode)
			require.Nil(t, c)
		})
	}
}

// The rows of the third Kronecker power of [1 0; 1 1], written by hand.
func TestEncodeIsTheTransform(t *testing.T) {
	c, err := polar.New([]byte{0xff})
	require.NoError(t, err)
	rows := [8][8]byte{
		{1, 0, 0, 0, 0, 0, 0, 0},
		{1, 1, 0, 0, 0, 0, 0, 0},
		{1, 0, 1, 0, 0, 0, 0, 0},
		{1, 1, 1, 1, 0, 0, 0, 0},
		{1, 0, 0, 0, 1, 0, 0, 0},
		{1, 1, 0, 0, 1, 1, 0, 0},
		{1, 0, 1, 0, 1, 0, 1, 0},
		{1, 1, 1, 1, 1, 1, 1, 1},
	}
	for m := range 256 {
		want := make([]byte, 8)
		for i, row := range rows {
			if m>>(7-i)&1 == 1 {
				for j, b := range row {
					want[j] ^= b
				}
			}
		}
		got := make([]byte, 8)
		require.NoError(t, c.Encode(got, []byte{byte(m)}))
		require.Equal(t, want, got, "message %08b", m)
	}
}

// Message bits fill the information positions in rising order: the code of rows
// 3, 5, 6, 7 of each half.
func TestMessagePlacement(t *testing.T) {
	c, err := polar.New([]byte{0x17, 0x17})
	require.NoError(t, err)
	full, err := polar.New([]byte{0xff, 0xff})
	require.NoError(t, err)
	at := []int{3, 5, 6, 7, 11, 13, 14, 15}
	for i := range 8 {
		got, want := make([]byte, 16), make([]byte, 16)
		require.NoError(t, c.Encode(got, []byte{0x80 >> i}))
		u := make([]byte, 2)
		u[at[i]/8] = 0x80 >> (at[i] % 8)
		require.NoError(t, full.Encode(want, u))
		require.Equal(t, want, got, "message bit %d", i)
	}
}

func TestWrongLengths(t *testing.T) {
	c, err := polar.New([]byte{0x17, 0x17})
	require.NoError(t, err)
	d := polar.NewDecoder(c)
	for _, n := range []int{0, 15, 17} {
		require.ErrorIs(t, c.Encode(make([]byte, n), make([]byte, 1)), polar.ErrLength)
		require.ErrorIs(t, d.Decode(make([]byte, 1), make([]byte, n), make([]int16, 16)), polar.ErrLength)
		require.ErrorIs(t, d.Decode(make([]byte, 1), make([]byte, 16), make([]int16, n)), polar.ErrLength)
		_, err := c.Bound(make([]float64, n))
		require.ErrorIs(t, err, polar.ErrLength)
	}
	for _, n := range []int{0, 2} {
		require.ErrorIs(t, c.Encode(make([]byte, 16), make([]byte, n)), polar.ErrLength)
		require.ErrorIs(t, d.Decode(make([]byte, n), make([]byte, 16), make([]int16, 16)), polar.ErrLength)
	}
}

// testCode is a code of length 1024 chosen for votes of one density, and the
// errors of its positions under it.
func testCode(t testing.TB, k int, vote polar.Density) (*polar.Code, []float64) {
	in := make([]polar.Density, 1024)
	for i := range in {
		in[i] = vote
	}
	errs, err := polar.Errors(in, 1)
	require.NoError(t, err)
	info, err := polar.Select(errs, k)
	require.NoError(t, err)
	c, err := polar.New(info)
	require.NoError(t, err)
	return c, errs
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}
