package fuzzy

import (
	"encoding/binary"
	"math/bits"
)

// bit returns bit i of b, most significant first.
func bit(b []byte, i int) byte { return b[i/8] >> (7 - i%8) & 1 }

// setBit ors v, 0 or 1, into bit i of b.
func setBit(b []byte, i int, v byte) { b[i/8] |= v << (7 - i%8) }

func ones(b []byte) int {
	n := 0
	for _, x := range b {
		n += bits.OnesCount8(x)
	}
	return n
}

// repeats says whether b is one pattern of at most longest bytes over and over.
// Every period is compared in full, so that time tells nothing of where a
// reading differs from itself.
func repeats(b []byte, longest int) bool {
	found := 0
	for d := 1; d <= longest && d < len(b); d++ {
		found |= 1 - differs(b[d:], b[:len(b)-d])
	}
	return found == 1
}

// differs returns 1 if a and b, of one length, are not the same, else 0. All of both
// is compared, eight bytes at a time: enrolment compares a reading with itself at
// some thousand distances.
func differs(a, b []byte) int {
	var diff uint64
	for len(a) >= 8 {
		diff |= binary.NativeEndian.Uint64(a) ^ binary.NativeEndian.Uint64(b)
		a, b = a[8:], b[8:]
	}
	for i, x := range a {
		diff |= uint64(x ^ b[i])
	}
	return int((diff | -diff) >> 63)
}
