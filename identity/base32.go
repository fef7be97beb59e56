package identity

import "strings"

// alphabet is Crockford's base32: no I, L, O, which look like digits, and no U.
const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// encode32 writes b, whose length is a multiple of 5, most significant bits first.
func encode32(b []byte) string {
	var out strings.Builder
	acc, bits := uint(0), 0
	for _, x := range b {
		acc, bits = acc<<8|uint(x), bits+8
		for bits >= 5 {
			bits -= 5
			out.WriteByte(alphabet[acc>>bits&31])
		}
	}
	return out.String()
}

// pack32 is the inverse of encode32 for text of the alphabet.
func pack32(s string) []byte {
	b := make([]byte, 0, len(s)*5/8)
	acc, bits := uint(0), 0
	for i := range len(s) {
		acc, bits = acc<<5|uint(strings.IndexByte(alphabet, s[i])), bits+5
		if bits >= 8 {
			bits -= 8
			b = append(b, byte(acc>>bits))
		}
	}
	return b
}

// decode32 returns the values 0…31 of n characters, white space left out, look-alikes read as digits.
func decode32(s, part string, n int) ([]byte, error) {
	v := make([]byte, 0, n)
	for i := range len(s) {
		c := s[i]
		if strings.IndexByte(" \t\r\n", c) >= 0 {
			continue
		}
		if c == 'L' {
			c = '1'
		}
		x := strings.IndexByte(alphabet, fold(c))
		if x < 0 {
			return nil, badChar(part)
		}
		if len(v) == n {
			return nil, &StickerError{part, "too many characters; look at the label again"}
		}
		v = append(v, byte(x))
	}
	if len(v) < n {
		return nil, &StickerError{part, "characters are missing; look at the label again"}
	}
	return v, nil
}

func chars32(v []byte) string {
	b := make([]byte, len(v))
	for i, x := range v {
		b[i] = alphabet[x]
	}
	return string(b)
}
