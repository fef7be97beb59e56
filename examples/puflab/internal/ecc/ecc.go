// Package ecc has the codes of other SRAM PUFs, to measure them beside ours: binary BCH codes, the extended Golay code, and repetition
// in front of either. Bits are bytes of 0 and 1.
//
// They are here for measuring and for nothing else: decoders run as fast as the errors let them, which tells an observer how many there
// were.
package ecc

// Code is a binary block code.
type Code interface {
	// Len returns the bits of a codeword, Dimension those of a message.
	Len() int
	Dimension() int
	// Encode returns the codeword of a message.
	Encode(message []byte) []byte
	// Decode returns the message of the codeword next to a word, and false when no codeword is near enough for the decoder. The word is
	// not changed.
	Decode(word []byte) (message []byte, ok bool)
}

// Repeated is a code of which each bit is repeated an odd number of times, and taken by majority.
type Repeated struct {
	Code
	Times int
}

// Len returns the bits of a codeword.
func (r Repeated) Len() int { return r.Times * r.Code.Len() }

// Encode repeats the bits of a codeword.
func (r Repeated) Encode(message []byte) []byte {
	var out []byte
	for _, b := range r.Code.Encode(message) {
		for range r.Times {
			out = append(out, b)
		}
	}
	return out
}

// Decode decodes the majorities.
func (r Repeated) Decode(word []byte) ([]byte, bool) {
	inner := make([]byte, r.Code.Len())
	for i := range inner {
		n := 0
		for _, b := range word[i*r.Times : (i+1)*r.Times] {
			n += int(b)
		}
		if 2*n > r.Times {
			inner[i] = 1
		}
	}
	return r.Code.Decode(inner)
}
