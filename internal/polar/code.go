// Package polar holds the polar codes of the fuzzy extractor: an encoder, a
// successive-cancellation decoder with a fixed schedule, and the density
// evolution that bounds how often that decoder errs.
//
// Start with [New], which takes the set of information positions; [Code.Encode]
// makes a codeword, [NewDecoder] and [Decoder.Decode] go back. [Errors] and
// [Select] are for choosing that set and for stating a bound; nothing at run
// time needs them.
//
// The transform is x = u F^{(x)n} over GF(2), with F = [1 0; 1 1] and no bit
// reversal (Arıkan 2009, "Channel polarization", section I.B without B_N): of a
// block, the first half is the sum of the two halves, the second half is the
// second. Frozen positions of u are 0. Bits are packed most significant first:
// bit i is byte i/8, mask 0x80 >> (i mod 8).
//
// The package promises no secrecy of its own beyond this: neither encoder nor
// decoder branches on, or takes an index from, a message bit, a codeword bit or
// a log-likelihood ratio.
package polar

import (
	"errors"
	"fmt"
	"math/bits"
)

// maxLen is the longest code; the parameter sets planned reach 8,192.
const maxLen = 1 << 13

var (
	// ErrLength says that a slice does not have the length the code asks for.
	ErrLength = errors.New("polar: wrong length")
	// ErrCode says that a set of information positions makes no code.
	ErrCode = errors.New("polar: no such code")
)

// Code is a polar code. It is immutable and safe for concurrent use.
type Code struct {
	n, k int
	// before[i] is the number of information positions below i, so that a
	// range is frozen exactly when both its ends have the same count.
	before []uint16
}

// New returns the code of length 8*len(info) whose information positions are
// the ones in info. The length is a power of two from 8 to 8,192. The code keeps
// no reference to info.
func New(info []byte) (*Code, error) {
	n := 8 * len(info)
	if n < 8 || n > maxLen || n&(n-1) != 0 {
		return nil, fmt.Errorf("%w: length %d is not a power of two from 8 to %d", ErrCode, n, maxLen)
	}
	c := &Code{n: n, before: make([]uint16, n+1)}
	for _, b := range info {
		c.k += bits.OnesCount8(b)
	}
	if c.k == 0 || c.k%8 != 0 {
		return nil, fmt.Errorf("%w: %d information positions, want a positive multiple of 8", ErrCode, c.k)
	}
	for i := range n {
		c.before[i+1] = c.before[i] + uint16(bit(info, i))
	}
	return c, nil
}

// Len returns the number of bits in a codeword.
func (c *Code) Len() int { return c.n }

// Dimension returns the number of bits in a message, a multiple of 8.
func (c *Code) Dimension() int { return c.k }

// information says whether position i of u carries a message bit.
func (c *Code) information(i int) bool { return c.before[i] != c.before[i+1] }

// frozen says whether positions from to from+n-1 of u all carry none.
func (c *Code) frozen(from, n int) bool { return c.before[from] == c.before[from+n] }

// Encode writes the codeword of message to dst, one bit a byte (0 or 1).
// message has Dimension()/8 bytes, dst Len(); anything else is [ErrLength]. The
// caller clears dst when it is secret.
func (c *Code) Encode(dst, message []byte) error {
	if len(dst) != c.n || len(message) != c.k/8 {
		return fmt.Errorf("encode: %w: codeword %d, message %d bytes, want %d and %d",
			ErrLength, len(dst), len(message), c.n, c.k/8)
	}
	for i := range dst {
		dst[i] = 0
		if c.information(i) {
			dst[i] = bit(message, int(c.before[i]))
		}
	}
	for half := 1; half < c.n; half *= 2 {
		for from := 0; from < c.n; from += 2 * half {
			left, right := dst[from:from+half], dst[from+half:from+2*half]
			for i, b := range right {
				left[i] ^= b
			}
		}
	}
	return nil
}

// bit returns bit i of b, most significant first.
func bit(b []byte, i int) byte { return b[i/8] >> (7 - i%8) & 1 }
