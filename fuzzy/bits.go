package fuzzy

import "math/bits"

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
		var diff byte
		for i, x := range b[d:] {
			diff |= x ^ b[i]
		}
		found |= (int(diff) - 1) >> 8 & 1
	}
	return found == 1
}
