package fuzzy

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPairsCoverEveryCellOnce(t *testing.T) {
	for stride := 1; stride <= 4096; stride *= 2 {
		seen := make([]int, 8192)
		for j := range 4096 {
			a, b := pair(j, stride)
			require.Equal(t, stride, b-a)
			seen[a]++
			seen[b]++
		}
		for i, n := range seen {
			require.Equal(t, 1, n, "stride %d, cell %d", stride, i)
		}
	}
	a, b := pair(37, 32)
	require.Equal(t, [2]int{69, 101}, [2]int{a, b}, "block 1, offset 5")
}

// Both passes on cells written by hand: pairs 10 11 00 01 11 11 0 0 ...
func TestSymbolsByHand(t *testing.T) {
	response := make([]byte, 1024)
	copy(response, []byte{0b10_11_00_01, 0b11_11_00_11})
	s := setByID(1)
	mask1, mask2 := s.masks(1, response)
	require.Equal(t, []byte{0b1001_0000, 0}, mask1[:2])
	// Equal pairs in order: 11 00 | 11 11 | 00 11 | 00 00 | ...
	require.Equal(t, []byte{0b1010_0000, 0}, mask2[:2])
	require.Len(t, mask2, (4094/2+7)/8)
	var got []symbol
	for i, y := range s.symbols(1, mask1, mask2) {
		require.Equal(t, len(got), i)
		got = append(got, y)
	}
	require.Equal(t, []symbol{
		{2, 3, 4, 5, true}, {12, 13, 14, 15, true}, {a: 0, b: 1}, {a: 6, b: 7},
	}, got)
	var votes []int16
	for _, y := range got {
		votes = append(votes, y.vote(response))
	}
	require.Equal(t, []int16{2, -2, 1, -1}, votes)
	require.Equal(t, int16(0), got[2].vote(make([]byte, 1024)))
	require.Equal(t, int16(1), got[1].vote([]byte{0, 0b0000_1100, 0, 0})-got[1].vote([]byte{0, 0b0000_0100, 0, 0}))
}

// At any bias of independent cells both passes give as many ones as zeros: 40
// chips, and no count further than five standard deviations from half.
func TestSymbolsAreUnbiased(t *testing.T) {
	for _, ones := range []float64{0.2, 0.35, 0.5, 0.65, 0.8} {
		var n, set [2]float64
		for seed := range uint64(40) {
			response := NewChip(seed, CellModel{Ones: ones}).Enrolled()
			s := setByID(1)
			mask1, mask2 := s.masks(1, response)
			for _, y := range s.symbols(1, mask1, mask2) {
				pass := 0
				if y.second {
					pass = 1
				}
				n[pass]++
				set[pass] += float64(bit(response, y.a))
			}
		}
		for pass := range n {
			require.InDelta(t, n[pass]/2, set[pass], 5*math.Sqrt(n[pass])/2, "%v ones, pass %d of %v", ones, pass+1, n)
		}
	}
}

func TestInterleaverIsAPermutation(t *testing.T) {
	for _, n := range []int{1024, 2048, 4096, 8192} {
		seen := make([]bool, n)
		for _, at := range interleaver(n) {
			require.False(t, seen[at])
			seen[at] = true
		}
	}
	require.Equal(t, []int{1617, 250, 2030, 1545}, interleaver(2048)[:4], "docs/fuzzy.md, step 5")
}

func TestRepeats(t *testing.T) {
	b := make([]byte, 64)
	for i := range b {
		b[i] = byte(i % 12)
	}
	require.False(t, repeats(b, 11))
	require.True(t, repeats(b, 12))
	b[63] ^= 0x80
	require.False(t, repeats(b, 32))
	require.False(t, repeats(nil, 10))
	require.False(t, repeats([]byte{1}, 10))
}

// The fault tests' own promise, as far as simulation reaches: of 900 chips whose
// symbols have exactly the entropy claimed, biased or each leaning towards the one
// before it, none is refused (expected: 0.001).
func TestFalseRefusal(t *testing.T) {
	p := SRAM1K()
	guess := math.Exp2(-p.entropy)
	for seed := range uint64(300) {
		r := NewChip(seed, CellModel{Ones: 0.5}).r
		for _, lean := range []string{"one", "last", "not last"} {
			symbols := make([]byte, 2048)
			for i := range symbols {
				likely := byte(1)
				if i > 0 && lean != "one" {
					likely = symbols[i-1]
				}
				if lean == "not last" {
					likely ^= 1
				}
				symbols[i] = likely
				if r.Float64() >= guess {
					symbols[i] ^= 1
				}
			}
			require.NoError(t, p.checkFaults(symbols), "seed %d, leaning to %s", seed, lean)
		}
	}
}

// And they find what they are for.
func TestFaultsAreFound(t *testing.T) {
	p := SRAM1K()
	r := NewChip(1, CellModel{Ones: 0.5}).r
	fair := func(int, []byte) float64 { return 0.5 }
	for name, one := range map[string]func(i int, s []byte) float64{
		"symbols that are 1": func(int, []byte) float64 { return 0.7 },
		"symbols that are 0": func(int, []byte) float64 { return 0.3 },
		"equal symbols": func(i int, s []byte) float64 {
			return 0.15 + 0.7*float64(s[max(0, i-32)])
		},
		"unequal symbols": func(i int, s []byte) float64 {
			return 0.85 - 0.7*float64(s[max(0, i-5)])
		},
		"longest run of equal symbols": func(i int, s []byte) float64 {
			if i > 500 && i < 560 {
				return 1
			}
			return fair(i, s)
		},
	} {
		t.Run(name, func(t *testing.T) {
			symbols := make([]byte, 2048)
			for i := range symbols {
				if r.Float64() < one(i, symbols) {
					symbols[i] = 1
				}
			}
			var fault *FaultError
			require.ErrorAs(t, p.checkFaults(symbols), &fault)
			require.Equal(t, name, fault.Test)
			require.Contains(t, fault.Error(), name)
		})
	}
}
