package fuzzy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// skewed are cells of which ones and zeros have different noise, where a rule that
// looked at values would show.
func skewed() []CellModel {
	return []CellModel{{0.5, 0.02, 0.09}, Balanced(0.5, 0.05), Balanced(0.6, 0.06), Balanced(0.75, 0.05)}
}

func readings(t *testing.T, c *Chip, n int) (*enrolled, [][]byte) {
	var all [][]byte
	for range n {
		all = append(all, c.Read())
	}
	e, err := SRAM1K().majority(all)
	require.NoError(t, err)
	return e, all
}

// The argument of selectSymbols, carried out: with cells and pairs exchanged in all
// readings, at random half of all places, the masks are the same and exactly the
// symbols there are complemented. Whoever sees masks sees both chips.
func TestExchangedCellsGiveTheSameMasks(t *testing.T) {
	SkipUnderRace(t)
	s := setByID(1)
	for i, m := range skewed() {
		for _, n := range []int{1, 3, 5, 9} {
			t.Run(fmt.Sprintf("%+v, %d readings", m, n), func(t *testing.T) {
				e, all := readings(t, NewChip(uint64(200+i), m), n)
				for _, stride := range []int{1, 32} {
					mask1, mask2 := s.selectSymbols(stride, e)
					r := rand.New(rand.NewPCG(uint64(i), uint64(n)))
					exchanged := make([]byte, 0, s.length())
					swap := func(a, b int) {
						for _, reading := range all {
							if bit(reading, a) != bit(reading, b) {
								reading[a/8] ^= 0x80 >> (a % 8)
								reading[b/8] ^= 0x80 >> (b % 8)
							}
						}
					}
					var before []byte
					for _, y := range s.symbols(stride, mask1, mask2) {
						before = append(before, bit(e.response, y.a))
						x := byte(r.IntN(2))
						exchanged = append(exchanged, x)
						if x == 1 && y.second {
							swap(y.a, y.c)
							swap(y.b, y.d)
						} else if x == 1 {
							swap(y.a, y.b)
						}
					}
					// Pairs that give no symbol may be turned as well.
					for j := range s.pairs() {
						if r.IntN(2) == 0 && bit(mask1, j) == 0 {
							swap(pair(j, stride))
						}
					}
					again, err := SRAM1K().majority(all)
					require.NoError(t, err)
					again1, again2 := s.selectSymbols(stride, again)
					require.Equal(t, mask1, again1)
					require.Equal(t, mask2, again2)
					at := 0
					for k, y := range s.symbols(stride, again1, again2) {
						require.Equal(t, before[k]^exchanged[k], bit(again.response, y.a), "symbol %d", k)
						at++
					}
					require.Equal(t, len(before), at)
					e = again
				}
			})
		}
	}
}

// The same by counting, over 60 chips: of the symbols kept half are ones, also where
// ones and zeros differ in noise; no count is further off than five standard deviations.
func TestStableSymbolsAreEven(t *testing.T) {
	SkipUnderRace(t)
	s := setByID(1)
	for i, m := range skewed() {
		var n, set float64
		for seed := range uint64(15) {
			e, _ := readings(t, NewChip(1000*uint64(i)+seed, m), 3)
			mask1, mask2 := s.selectSymbols(1, e)
			for _, y := range s.symbols(1, mask1, mask2) {
				n++
				set += float64(bit(e.response, y.a))
			}
		}
		require.InDelta(t, n/2, set, 5*math.Sqrt(n)/2, "%+v", m)
	}
}

func TestDoubtfulPairsAreLeftOut(t *testing.T) {
	s := setByID(1)
	e, all := readings(t, NewChip(210, Balanced(0.5, 0.03)), 3)
	mask1, mask2 := s.selectSymbols(1, e)
	every1, _ := s.masks(1, e.response)
	out := 0
	for j := range s.pairs() {
		a, b := pair(j, 1)
		agreed := true
		for _, r := range all[1:] {
			agreed = agreed && bit(r, a) == bit(all[0], a) && bit(r, b) == bit(all[0], b)
		}
		require.Equal(t, agreed && bit(every1, j) == 1, bit(mask1, j) == 1, "pair %d", j)
		out += int(bit(every1, j) - bit(mask1, j))
	}
	require.Greater(t, out, 200)
	// Its quad is lost with it; quads may have one doubt.
	lost := 0
	for q, jk := range s.quads(mask1) {
		doubts := 0
		for _, j := range jk {
			a, b := pair(j, 1)
			doubts += int(e.doubts[a]) + int(e.doubts[b])
		}
		if bit(every1, jk[0])|bit(every1, jk[1]) == 1 || doubts > 1 {
			require.Zero(t, bit(mask2, q), "quad %d", q)
			lost++
		}
	}
	require.Greater(t, lost, out/2)

	// With too few pairs to spare nothing is left out.
	e, _ = readings(t, NewChip(211, Balanced(0.75, 0.05)), 3)
	mask1, mask2 = s.selectSymbols(1, e)
	every1, every2 := s.masks(1, e.response)
	require.Equal(t, every1, mask1)
	require.Equal(t, every2, mask2)
}

// What it is for: fewer errors in later readings, and an enrolment that reconstructs.
func TestLeavingOutLowersErrors(t *testing.T) {
	chip := &unstable{NewChip(212, CellModel{Ones: 0.5}), rand.New(rand.NewPCG(1, 2))}
	a, b, c, later := chip.read(), chip.read(), chip.read(), chip.read()
	_, one, err := Enroll(SRAM1K(), nil, a)
	require.NoError(t, err)
	key, three, err := Enroll(SRAM1K(), nil, a, b, c)
	require.NoError(t, err)
	_, single, err := Reconstruct(later, one)
	require.NoError(t, err)
	got, stable, err := Reconstruct(later, three)
	require.NoError(t, err)
	require.Equal(t, KeyBytes(key), KeyBytes(got))
	t.Logf("errors %.3f with one reading, %.3f with three", single.ErrorRate(), stable.ErrorRate())
	require.Less(t, 1.5*stable.ErrorRate(), single.ErrorRate())
}

// unstable is a chip of which one cell in fifteen is a coin, the others never change.
type unstable struct {
	chip *Chip
	r    *rand.Rand
}

func (u *unstable) read() []byte {
	out := u.chip.Enrolled()
	for i := 0; i < 8*len(out); i += 15 {
		if u.r.IntN(2) == 0 {
			out[i/8] ^= 0x80 >> (i % 8)
		}
	}
	return out
}
