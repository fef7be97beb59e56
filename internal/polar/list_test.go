package polar_test

import (
	"cmp"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/polar"
)

// listReference is the list decoder as the textbook has it: every path keeps its
// own u, values are computed anew for each bit, and paths are copied.
func listReference(llr []int, info func(int) bool, size int) [][]byte {
	type path struct {
		u      []byte
		metric int
	}
	paths := []path{{}}
	for i := range llr {
		var next []path
		for _, p := range paths {
			v := value(llr, p.u, i)
			zero := path{append(slices.Clone(p.u), 0), p.metric + max(0, -v)}
			next = append(next, zero)
			if info(i) {
				next = append(next, path{append(slices.Clone(p.u), 1), p.metric + max(0, v)})
			}
		}
		// Stable: equal metrics go by the parent's rank, then 0 before 1.
		if info(i) {
			slices.SortStableFunc(next, func(a, b path) int { return cmp.Compare(a.metric, b.metric) })
			next = next[:min(len(next), size)]
		}
		paths = next
	}
	slices.SortStableFunc(paths, func(a, b path) int { return cmp.Compare(a.metric, b.metric) })
	var out [][]byte
	for _, p := range paths {
		out = append(out, p.u)
	}
	return out
}

// value is the log-likelihood ratio of bit i of u, given those before it.
func value(llr []int, before []byte, i int) int {
	if len(llr) == 1 {
		return llr[0]
	}
	h := len(llr) / 2
	next := make([]int, h)
	if i < h {
		for j := range next {
			a, b := llr[j], llr[j+h]
			next[j] = min(max(a, -a), max(b, -b))
			if (a < 0) != (b < 0) {
				next[j] = -next[j]
			}
		}
		return value(next, before, i)
	}
	x := transform(slices.Clone(before[:h]))
	for j := range next {
		next[j] = llr[j+h] + llr[j] - 2*int(x[j])*llr[j]
	}
	return value(next, before[h:], i-h)
}

func transform(u []byte) []byte {
	for half := 1; half < len(u); half *= 2 {
		for i := range u {
			if i&half == 0 {
				u[i] ^= u[i|half]
			}
		}
	}
	return u
}

func randomInfo(r *rand.Rand, n, k int) []byte {
	info := make([]byte, n/8)
	for k > 0 {
		i := r.IntN(n)
		if m := byte(0x80) >> (i % 8); info[i/8]&m == 0 {
			info[i/8] |= m
			k--
		}
	}
	return info
}

func pack(bits []byte) []byte {
	out := make([]byte, len(bits)/8)
	for i, b := range bits {
		out[i/8] |= b << (7 - i%8)
	}
	return out
}

func TestListDecoderIsTheTextbooks(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 22))
	for _, size := range []int{1, 2, 8, 32} {
		for _, scale := range []int{1, 4, 100} {
			for range 12 {
				info := randomInfo(r, 64, 16)
				c, err := polar.New(info)
				require.NoError(t, err)
				d, err := polar.NewListDecoder(c, size)
				require.NoError(t, err)
				require.Equal(t, size, d.Size())
				llr, ints := make([]int16, 64), make([]int, 64)
				for i := range llr {
					llr[i] = int16(r.IntN(2*scale+1) - scale)
					ints[i] = int(llr[i])
				}
				isInfo := func(i int) bool { return info[i/8]>>(7-i%8)&1 == 1 }
				require.NoError(t, d.Decode(llr))
				message, codeword := make([]byte, 2), make([]byte, 64)
				for p, u := range listReference(ints, isInfo, size) {
					require.NoError(t, d.Path(message, codeword, p))
					var want []byte
					for i, b := range u {
						if isInfo(i) {
							want = append(want, b)
						}
					}
					require.Equal(t, pack(want), message, "list of %d, path %d, info %x, llr %v", size, p, info, llr)
					require.Equal(t, transform(slices.Clone(u)), codeword)
				}
			}
		}
	}
}

// One path is successive cancellation.
func TestListOfOneIsDecoder(t *testing.T) {
	r := rand.New(rand.NewPCG(23, 24))
	for range 40 {
		c, err := polar.New(randomInfo(r, 512, 160))
		require.NoError(t, err)
		d, err := polar.NewListDecoder(c, 1)
		require.NoError(t, err)
		llr := make([]int16, 512)
		for i := range llr {
			llr[i] = int16(r.IntN(9) - 4)
		}
		want, wantWord := make([]byte, 20), make([]byte, 512)
		require.NoError(t, polar.NewDecoder(c).Decode(want, wantWord, llr))
		got, gotWord := make([]byte, 20), make([]byte, 512)
		require.NoError(t, d.Decode(llr))
		require.NoError(t, d.Path(got, gotWord, 0))
		require.Equal(t, want, got)
		require.Equal(t, wantWord, gotWord)
	}
}

// What the list is for: words that successive cancellation loses, and no path twice.
func TestListCorrectsMore(t *testing.T) {
	vote := polar.Density{Low: -1, P: []float64{0.06, 0.34, 0.60}}
	c, _ := testCode(t, 304, vote)
	r := rand.New(rand.NewPCG(25, 26))
	sc := polar.NewDecoder(c)
	message, codeword, x, llr := make([]byte, 38), make([]byte, 1024), make([]byte, 1024), make([]int16, 1024)
	failed := map[int]int{}
	for range 100 {
		sent := randomBytes(r, 38)
		require.NoError(t, c.Encode(x, sent))
		for i, b := range x {
			llr[i] = 1 - 2*int16(b)
			switch v := r.Float64(); {
			case v < 0.06:
				llr[i] = -llr[i]
			case v < 0.40:
				llr[i] = 0
			}
		}
		require.NoError(t, sc.Decode(message, codeword, llr))
		if string(message) != string(sent) {
			failed[1]++
		}
		for _, size := range []int{8, 32} {
			d, err := polar.NewListDecoder(c, size)
			require.NoError(t, err)
			require.NoError(t, d.Decode(llr))
			found, seen := false, map[string]bool{}
			for p := range size {
				require.NoError(t, d.Path(message, codeword, p))
				found = found || string(message) == string(sent)
				require.False(t, seen[string(message)], "path %d of %d again", p, size)
				seen[string(message)] = true
			}
			if !found {
				failed[size]++
			}
		}
	}
	t.Logf("of 100 words lost: %v", failed)
	require.Greater(t, failed[1], 10)
	require.Less(t, 2*failed[8], failed[1])
	require.Less(t, failed[32], failed[8])
}

func TestListDecoderRefuses(t *testing.T) {
	c, err := polar.New([]byte{0xff})
	require.NoError(t, err)
	for _, size := range []int{-1, 0, 3, 12, 64} {
		_, err := polar.NewListDecoder(c, size)
		require.ErrorIs(t, err, polar.ErrCode, "%d", size)
	}
	d, err := polar.NewListDecoder(c, 4)
	require.NoError(t, err)
	require.ErrorIs(t, d.Decode(make([]int16, 7)), polar.ErrLength)
	require.NoError(t, d.Decode(make([]int16, 8)))
	m, x := make([]byte, 1), make([]byte, 8)
	require.NoError(t, d.Path(m, x, 3))
	for _, err := range []error{d.Path(m, x, 4), d.Path(m, x, -1), d.Path(nil, x, 0), d.Path(m, nil, 0)} {
		require.ErrorIs(t, err, polar.ErrLength)
	}
}

func TestListDecodeDoesNotAllocate(t *testing.T) {
	c, _ := testCode(t, 128, polar.Density{Low: -1, P: []float64{0.1, 0.2, 0.7}})
	d, err := polar.NewListDecoder(c, 8)
	require.NoError(t, err)
	message, codeword, llr := make([]byte, 16), make([]byte, 1024), make([]int16, 1024)
	require.Zero(t, testing.AllocsPerRun(5, func() {
		_ = d.Decode(llr)
		_ = d.Path(message, codeword, 7)
	}))
}

// Whatever the values, every path is a message and its codeword.
func FuzzListDecode(f *testing.F) {
	c, err := polar.New([]byte{0x00, 0x01, 0x03, 0x17, 0x01, 0x17, 0x1f, 0x7f})
	require.NoError(f, err)
	d, err := polar.NewListDecoder(c, 8)
	require.NoError(f, err)
	f.Add([]byte{0x80, 0, 0x7f, 0xff, 0, 0, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		llr := make([]int16, c.Len())
		for i := range llr {
			if 2*i+2 <= len(b) {
				llr[i] = int16(binary.BigEndian.Uint16(b[2*i:]))
			}
		}
		require.NoError(t, d.Decode(llr))
		message, codeword, again := make([]byte, c.Dimension()/8), make([]byte, c.Len()), make([]byte, c.Len())
		for p := range d.Size() {
			require.NoError(t, d.Path(message, codeword, p))
			require.NoError(t, c.Encode(again, message))
			require.Equal(t, again, codeword)
		}
	})
}

func benchmarkList(b *testing.B, size int) {
	c, _ := testCode(b, 192, polar.Density{Low: -1, P: []float64{0.04, 0.32, 0.64}})
	d, err := polar.NewListDecoder(c, size)
	require.NoError(b, err)
	llr := make([]int16, 1024)
	b.ReportAllocs()
	for b.Loop() {
		_ = d.Decode(llr)
	}
}

func BenchmarkListDecode8(b *testing.B)  { benchmarkList(b, 8) }
func BenchmarkListDecode32(b *testing.B) { benchmarkList(b, 32) }
