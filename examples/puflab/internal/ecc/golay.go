package ecc

import "math/bits"

// Golay is the extended Golay code (24, 12), which corrects three errors.
type Golay struct {
	// leader has the error pattern of each syndrome that up to three errors give; has says whether there is one.
	leader [1 << 12]uint32
	has    [1 << 12]bool
}

// golayGenerator is x^11 + x^9 + x^7 + x^6 + x^5 + x + 1, of the cyclic code (23, 12).
const golayGenerator = 0b1010_1110_0011

// NewGolay makes the table of syndromes.
func NewGolay() *Golay {
	g := &Golay{}
	g.has[0] = true
	var add func(pattern uint32, from, left int)
	add = func(pattern uint32, from, left int) {
		s := golaySyndrome(pattern)
		g.leader[s], g.has[s] = pattern, true
		for i := from; left > 0 && i < 24; i++ {
			add(pattern|1<<i, i+1, left-1)
		}
	}
	add(0, 0, 3)
	return g
}

// Len is 24.
func (*Golay) Len() int { return 24 }

// Dimension is 12.
func (*Golay) Dimension() int { return 12 }

// golayRemainder divides 23 bits by the generator.
func golayRemainder(w uint32) uint32 {
	for i := 22; i >= 11; i-- {
		if w>>i&1 == 1 {
			w ^= golayGenerator << (i - 11)
		}
	}
	return w
}

// golaySyndrome of a word: bit 0 is the parity of all, bits 1 to 23 the cyclic code.
func golaySyndrome(w uint32) uint32 {
	return golayRemainder(w>>1)<<1 | uint32(bits.OnesCount32(w)&1)
}

// Encode puts the message first, then the remainder, then the parity.
func (*Golay) Encode(message []byte) []byte {
	var w uint32
	for i, b := range message {
		w |= uint32(b) << (22 - i)
	}
	w |= golayRemainder(w)
	w = w<<1 | uint32(bits.OnesCount32(w)&1)
	out := make([]byte, 24)
	for i := range out {
		out[i] = byte(w >> (23 - i) & 1)
	}
	return out
}

// Decode corrects up to three errors and finds four.
func (g *Golay) Decode(word []byte) ([]byte, bool) {
	var w uint32
	for i, b := range word {
		w |= uint32(b) << (23 - i)
	}
	s := golaySyndrome(w)
	w ^= g.leader[s]
	message := make([]byte, 12)
	for i := range message {
		message[i] = byte(w >> (23 - i) & 1)
	}
	return message, g.has[s]
}
