package fuzzy

import "iter"

// Pair-output von Neumann debiasing in two passes. Which pairs give a symbol is
// published in the masks; which symbol is not. So code here branches on masks
// and takes symbols by arithmetic alone.

// symbol names the cells behind one debiased symbol. In pass 1 it is the value
// of cell a, and b has the other value. In pass 2 cells a and b have it, c and d
// the other.
type symbol struct {
	a, b, c, d int
	second     bool
}

// pair returns the cells of pair j at a stride.
func pair(j, stride int) (first, second int) {
	first = 2*stride*(j/stride) + j%stride
	return first, first + stride
}

// symbols yields the selected symbols in codeword order, pass 2 before pass 1,
// up to the length of the code.
func (s *set) symbols(stride int, mask1, mask2 []byte) iter.Seq2[int, symbol] {
	return func(yield func(int, symbol) bool) {
		n := 0
		for q, jk := range s.quads(mask1) {
			if n == s.length() {
				return
			}
			if bit(mask2, q) == 0 {
				continue
			}
			a, b := pair(jk[0], stride)
			c, d := pair(jk[1], stride)
			if !yield(n, symbol{a: a, b: b, c: c, d: d, second: true}) {
				return
			}
			n++
		}
		for j := 0; j < s.pairs() && n < s.length(); j++ {
			if bit(mask1, j) == 0 {
				continue
			}
			a, b := pair(j, stride)
			if !yield(n, symbol{a: a, b: b}) {
				return
			}
			n++
		}
	}
}

// quads yields the pairs that pass 1 leaves, two by two in order.
func (s *set) quads(mask1 []byte) iter.Seq2[int, [2]int] {
	return func(yield func(int, [2]int) bool) {
		q, open := 0, -1
		for j := range s.pairs() {
			switch {
			case bit(mask1, j) == 1:
			case open < 0:
				open = j
			default:
				if !yield(q, [2]int{open, j}) {
					return
				}
				q, open = q+1, -1
			}
		}
	}
}

// masks selects the symbols of a response.
func (s *set) masks(stride int, response []byte) (mask1, mask2 []byte) {
	return s.stableMasks(stride, &enrolled{response: response, doubts: make([]byte, s.cells)}, 0)
}

// mask2Size returns the bytes of the pass-2 mask that belongs to mask1.
func mask2Size(pairs int, mask1 []byte) int {
	return ((pairs-ones(mask1))/2 + 7) / 8
}

// vote returns the balance of the cells for symbol 1: -1, 0, 1 in pass 1, -2 to 2
// in pass 2. The enrolled symbol is 1 exactly when the vote of
// the enrolled response is positive.
func (y symbol) vote(response []byte) int16 {
	v := int16(bit(response, y.a)) - int16(bit(response, y.b))
	if y.second {
		v = int16(bit(response, y.a)) + int16(bit(response, y.b)) - int16(bit(response, y.c)) - int16(bit(response, y.d))
	}
	return v
}

// errors returns how many of the symbol's cells differ from enrolment, given the
// enrolled value, and how many cells it has.
func (y symbol) errors(response []byte, value byte) (wrong, cells int) {
	wrong = int(bit(response, y.a) ^ value)
	if !y.second {
		return wrong + int(bit(response, y.b)^value^1), 2
	}
	wrong += int(bit(response, y.b)^value) + int(bit(response, y.c)^value^1) + int(bit(response, y.d)^value^1)
	return wrong, 4
}

// interleaver returns the position in the codeword of each symbol: a Fisher-Yates
// shuffle of n positions driven by a 32-bit linear congruential generator. It
// spreads pass 2, pass 1 and unused positions evenly, whatever their shares, and
// parts neighbours in the SRAM. It hides nothing.
func interleaver(n int) []int {
	p := make([]int, n)
	for i := range p {
		p[i] = i
	}
	x := uint32(1)
	for i := n - 1; i > 0; i-- {
		x = 1664525*x + 1013904223
		j := int((x >> 16) * uint32(i+1) >> 16)
		p[i], p[j] = p[j], p[i]
	}
	return p
}
