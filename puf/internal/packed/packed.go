// Package packed counts bits of readings a word at a time. Bits are numbered as everywhere: bit i is byte i/8, most significant first.
package packed

import (
	"encoding/binary"
	"math/bits"
)

// Bit returns bit i.
func Bit(b []byte, i int) byte { return b[i/8] >> (7 - i%8) & 1 }

// Ones counts the ones.
func Ones(b []byte) int {
	n := 0
	for len(b) >= 8 {
		n += bits.OnesCount64(binary.BigEndian.Uint64(b))
		b = b[8:]
	}
	for _, x := range b {
		n += bits.OnesCount8(x)
	}
	return n
}

// Differing counts the bits of a that differ from those of b, which has the same length.
func Differing(a, b []byte) int {
	n := 0
	for len(a) >= 8 {
		n += bits.OnesCount64(binary.BigEndian.Uint64(a) ^ binary.BigEndian.Uint64(b))
		a, b = a[8:], b[8:]
	}
	for i, x := range a {
		n += bits.OnesCount8(x ^ b[i])
	}
	return n
}

// Words is a reading prepared for comparisons with itself. It is a copy: clear it.
type Words struct {
	w []uint64 // the first bit is the most significant; two words of zeros at the end
	n int
}

// ToWords packs b.
func ToWords(b []byte) Words {
	w := make([]uint64, 0, len(b)/8+3)
	n := 8 * len(b)
	for len(b) >= 8 {
		w = append(w, binary.BigEndian.Uint64(b))
		b = b[8:]
	}
	var tail [8]byte
	copy(tail[:], b)
	return Words{append(w, binary.BigEndian.Uint64(tail[:]), 0, 0), n}
}

// Clear forgets the reading.
func (p Words) Clear() { clear(p.w) }

// Lagged counts, of all bits that have one lag bits later, those that differ from it. lag is 1 to the number of bits.
func (p Words) Lagged(lag int) int {
	pairs, skip, shift := p.n-lag, lag/64, uint(lag%64)
	count := 0
	for i := 0; 64*i < pairs; i++ {
		x := p.w[i] ^ (p.w[i+skip]<<shift | p.w[i+skip+1]>>(64-shift))
		if rest := pairs - 64*i; rest < 64 {
			x &= ^uint64(0) << (64 - rest)
		}
		count += bits.OnesCount64(x)
	}
	return count
}
