package polar_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/polar"
)

// reference is successive cancellation as the textbook has it: int arithmetic
// with branches, no shortcut for frozen parts, saturation spelt out.
func reference(llr []int, info func(int) bool, from int) (u, x []byte) {
	if len(llr) == 1 {
		b := byte(0)
		if info(from) && llr[0] < 0 {
			b = 1
		}
		return []byte{b}, []byte{b}
	}
	h := len(llr) / 2
	clamp := func(v int) int { return max(-32767, min(32767, v)) }
	abs := func(v int) int { return max(v, -v) }
	next := make([]int, h)
	for i := range next {
		a, b := llr[i], llr[i+h]
		next[i] = clamp(min(abs(a), abs(b)))
		if (a < 0) != (b < 0) {
			next[i] = -next[i]
		}
	}
	u1, x1 := reference(next, info, from)
	for i := range next {
		a, b := llr[i], llr[i+h]
		if x1[i] == 1 {
			a = -a
		}
		next[i] = clamp(a + b)
	}
	u2, x2 := reference(next, info, from+h)
	for i := range x1 {
		x1[i] ^= x2[i]
	}
	return append(u1, u2...), append(x1, x2...)
}

func TestDecoderIsTheTextbooks(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, scale := range []int{1, 3, 500, 32767} {
		for range 60 {
			info := make([]byte, 32)
			for k := 0; k < 64; {
				i := r.IntN(256)
				if m := byte(0x80) >> (i % 8); info[i/8]&m == 0 {
					info[i/8] |= m
					k++
				}
			}
			c, err := polar.New(info)
			require.NoError(t, err)
			llr, ints := make([]int16, 256), make([]int, 256)
			for i := range llr {
				llr[i] = int16(r.IntN(2*scale+1) - scale)
				ints[i] = int(llr[i])
			}
			isInfo := func(i int) bool { return info[i/8]>>(7-i%8)&1 == 1 }
			u, x := reference(ints, isInfo, 0)
			want, j := make([]byte, 8), 0
			for i, b := range u {
				if isInfo(i) {
					want[j/8] |= b << (7 - j%8)
					j++
				}
			}
			message, codeword := make([]byte, 8), make([]byte, 256)
			require.NoError(t, polar.NewDecoder(c).Decode(message, codeword, llr))
			require.Equal(t, want, message, "info %x, llr %v", info, llr)
			require.Equal(t, x, codeword, "info %x, llr %v", info, llr)
		}
	}
}

func TestDecodeCorrects(t *testing.T) {
	c, _ := testCode(t, 128, polar.Density{Low: -1, P: []float64{0.1, 0.2, 0.7}})
	r := rand.New(rand.NewPCG(3, 4))
	d := polar.NewDecoder(c)
	message, codeword, llr := make([]byte, 16), make([]byte, 1024), make([]int16, 1024)
	for range 50 {
		sent, x := randomBytes(r, 16), make([]byte, 1024)
		require.NoError(t, c.Encode(x, sent))
		for i, b := range x {
			llr[i] = 2 - 4*int16(b)
			switch v := r.Float64(); {
			case v < 0.1:
				llr[i] = -llr[i]
			case v < 0.3:
				llr[i] = 0
			}
		}
		require.NoError(t, d.Decode(message, codeword, llr))
		require.Equal(t, sent, message)
		require.Equal(t, x, codeword)
	}
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	c, _ := testCode(t, 128, polar.Density{Low: -1, P: []float64{0.1, 0.2, 0.7}})
	d := polar.NewDecoder(c)
	message, codeword, llr := make([]byte, 16), make([]byte, 1024), make([]int16, 1024)
	require.Zero(t, testing.AllocsPerRun(10, func() {
		_ = d.Decode(message, codeword, llr)
	}))
}

// Whatever the values, what comes out is a message and its codeword.
func FuzzDecode(f *testing.F) {
	c, err := polar.New([]byte{0x00, 0x01, 0x03, 0x17, 0x01, 0x17, 0x1f, 0x7f})
	require.NoError(f, err)
	f.Add([]byte{0x80, 0, 0x7f, 0xff, 0, 0, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		llr := make([]int16, c.Len())
		for i := range llr {
			if 2*i+2 <= len(b) {
				llr[i] = int16(binary.BigEndian.Uint16(b[2*i:]))
			}
		}
		message, codeword, again := make([]byte, c.Dimension()/8), make([]byte, c.Len()), make([]byte, c.Len())
		require.NoError(t, polar.NewDecoder(c).Decode(message, codeword, llr))
		require.NoError(t, c.Encode(again, message))
		require.Equal(t, again, codeword)
	})
}

func BenchmarkDecode(b *testing.B) {
	c, _ := testCode(b, 192, polar.Density{Low: -1, P: []float64{0.04, 0.32, 0.64}})
	d := polar.NewDecoder(c)
	message, codeword, llr := make([]byte, 24), make([]byte, 1024), make([]int16, 1024)
	b.ReportAllocs()
	for b.Loop() {
		_ = d.Decode(message, codeword, llr)
	}
}
