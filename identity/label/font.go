package label

// The glyphs of what a sticker may hold, five dots wide and seven high, the leftmost dot in the highest bit. The zero has a stroke, so
// that it is not an O.
const (
	glyphWidth = 5
	advance    = glyphWidth + 1
	lineHeight = 7 + 3
)

func glyph(c byte) [7]byte {
	switch c {
	case '0':
		return [7]byte{0b01110, 0b10001, 0b10011, 0b10101, 0b11001, 0b10001, 0b01110}
	case '1':
		return [7]byte{0b00100, 0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110}
	case '2':
		return [7]byte{0b01110, 0b10001, 0b00001, 0b00110, 0b01000, 0b10000, 0b11111}
	case '3':
		return [7]byte{0b01110, 0b10001, 0b00001, 0b00110, 0b00001, 0b10001, 0b01110}
	case '4':
		return [7]byte{0b00010, 0b00110, 0b01010, 0b10010, 0b11111, 0b00010, 0b00010}
	case '5':
		return [7]byte{0b11111, 0b10000, 0b11110, 0b00001, 0b00001, 0b10001, 0b01110}
	case '6':
		return [7]byte{0b01110, 0b10000, 0b10000, 0b11110, 0b10001, 0b10001, 0b01110}
	case '7':
		return [7]byte{0b11111, 0b00001, 0b00010, 0b00100, 0b01000, 0b01000, 0b01000}
	case '8':
		return [7]byte{0b01110, 0b10001, 0b10001, 0b01110, 0b10001, 0b10001, 0b01110}
	case '9':
		return [7]byte{0b01110, 0b10001, 0b10001, 0b01111, 0b00001, 0b00001, 0b01110}
	case 'A':
		return [7]byte{0b01110, 0b10001, 0b10001, 0b11111, 0b10001, 0b10001, 0b10001}
	case 'B':
		return [7]byte{0b11110, 0b10001, 0b10001, 0b11110, 0b10001, 0b10001, 0b11110}
	case 'C':
		return [7]byte{0b01110, 0b10001, 0b10000, 0b10000, 0b10000, 0b10001, 0b01110}
	case 'D':
		return [7]byte{0b11110, 0b10001, 0b10001, 0b10001, 0b10001, 0b10001, 0b11110}
	case 'E':
		return [7]byte{0b11111, 0b10000, 0b10000, 0b11110, 0b10000, 0b10000, 0b11111}
	case 'F':
		return [7]byte{0b11111, 0b10000, 0b10000, 0b11110, 0b10000, 0b10000, 0b10000}
	case 'G':
		return [7]byte{0b01110, 0b10001, 0b10000, 0b10111, 0b10001, 0b10001, 0b01110}
	case 'H':
		return [7]byte{0b10001, 0b10001, 0b10001, 0b11111, 0b10001, 0b10001, 0b10001}
	case 'I':
		return [7]byte{0b11111, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100, 0b11111}
	case 'J':
		return [7]byte{0b00111, 0b00010, 0b00010, 0b00010, 0b00010, 0b10010, 0b01100}
	case 'K':
		return [7]byte{0b10001, 0b10010, 0b10100, 0b11000, 0b10100, 0b10010, 0b10001}
	case 'L':
		return [7]byte{0b10000, 0b10000, 0b10000, 0b10000, 0b10000, 0b10000, 0b11111}
	case 'M':
		return [7]byte{0b10001, 0b11011, 0b10101, 0b10101, 0b10001, 0b10001, 0b10001}
	case 'N':
		return [7]byte{0b10001, 0b11001, 0b10101, 0b10011, 0b10001, 0b10001, 0b10001}
	case 'O':
		return [7]byte{0b01110, 0b10001, 0b10001, 0b10001, 0b10001, 0b10001, 0b01110}
	case 'P':
		return [7]byte{0b11110, 0b10001, 0b10001, 0b11110, 0b10000, 0b10000, 0b10000}
	case 'Q':
		return [7]byte{0b01110, 0b10001, 0b10001, 0b10001, 0b10101, 0b10010, 0b01101}
	case 'R':
		return [7]byte{0b11110, 0b10001, 0b10001, 0b11110, 0b10100, 0b10010, 0b10001}
	case 'S':
		return [7]byte{0b01111, 0b10000, 0b10000, 0b01110, 0b00001, 0b00001, 0b11110}
	case 'T':
		return [7]byte{0b11111, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100}
	case 'U':
		return [7]byte{0b10001, 0b10001, 0b10001, 0b10001, 0b10001, 0b10001, 0b01110}
	case 'V':
		return [7]byte{0b10001, 0b10001, 0b10001, 0b10001, 0b01010, 0b01010, 0b00100}
	case 'W':
		return [7]byte{0b10001, 0b10001, 0b10001, 0b10101, 0b10101, 0b11011, 0b10001}
	case 'X':
		return [7]byte{0b10001, 0b01010, 0b00100, 0b00100, 0b00100, 0b01010, 0b10001}
	case 'Y':
		return [7]byte{0b10001, 0b01010, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100}
	case 'Z':
		return [7]byte{0b11111, 0b00001, 0b00010, 0b00100, 0b01000, 0b10000, 0b11111}
	case '-':
		return [7]byte{0b00000, 0b00000, 0b00000, 0b11111, 0b00000, 0b00000, 0b00000}
	case ':':
		return [7]byte{0b00000, 0b00100, 0b00100, 0b00000, 0b00100, 0b00100, 0b00000}
	}
	return [7]byte{} // space
}
