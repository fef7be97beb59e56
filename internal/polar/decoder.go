package polar

import "fmt"

// limit is where log-likelihood ratios saturate. -32768 does not occur, so that
// every value has a negative.
const limit = 1<<15 - 1

// Decoder decodes one code by successive cancellation over min-sum integers
// (Arıkan 2009, section VIII; min-sum as in Leroux et al. 2011). Its schedule
// depends on the code alone: no early exit, no branch or index from the values.
//
// A Decoder allocates nothing after [NewDecoder]. It is not safe for concurrent
// use. Its buffers hold the last message until [Decoder.Wipe].
type Decoder struct {
	code *Code
	llr  []int16 // the levels of one path through the tree: n/2 + n/4 + … + 1
	x    []byte  // codeword bits, n
	u    []byte  // decided bits, n
}

// NewDecoder returns a decoder for c.
func NewDecoder(c *Code) *Decoder {
	return &Decoder{code: c, llr: make([]int16, c.n), x: make([]byte, c.n), u: make([]byte, c.n)}
}

// Decode writes to message (Dimension()/8 bytes) the message decoded from llr,
// and to codeword (Len() bytes, one bit a byte) the codeword it stands for.
// llr[i] is positive when bit i of the codeword is more likely 0, and 0 when
// nothing is known of it; its size is the weight of that vote in any unit, and
// values under -32767 count as -32767. Decode does not know whether it has
// erred: check the message by other means. Wrong lengths are [ErrLength].
func (d *Decoder) Decode(message, codeword []byte, llr []int16) error {
	c := d.code
	if len(llr) != c.n || len(codeword) != c.n || len(message) != c.k/8 {
		return fmt.Errorf("decode: %w: %d values, codeword %d, message %d bytes, want %d, %d and %d",
			ErrLength, len(llr), len(codeword), len(message), c.n, c.n, c.k/8)
	}
	d.node(llr, d.x, d.llr, 0)
	copy(codeword, d.x)
	clear(message)
	for i, b := range d.u {
		if c.information(i) {
			j := int(c.before[i])
			message[j/8] |= b << (7 - j%8)
		}
	}
	return nil
}

// Wipe clears the decoder's buffers. The decoder can be used again.
func (d *Decoder) Wipe() {
	clear(d.llr)
	clear(d.x)
	clear(d.u)
}

// node decodes positions from to from+len(llr)-1 of u into d.u and leaves their
// transform in x. free has at least len(llr)-1 places for the levels below.
func (d *Decoder) node(llr []int16, x []byte, free []int16, from int) {
	n := len(llr)
	if d.code.frozen(from, n) {
		// Zeros whatever the values are, which is what the full recursion
		// would find: skipping is part of the schedule.
		clear(x)
		clear(d.u[from : from+n])
		return
	}
	if n == 1 {
		b := byte(uint16(llr[0]) >> 15)
		x[0], d.u[from] = b, b
		return
	}
	h := n / 2
	a, b := llr[:h], llr[h:n]
	child, rest := free[:h], free[h:]
	for i := range child {
		child[i] = check(a[i], b[i])
	}
	d.node(child, x[:h], rest, from)
	for i := range child {
		child[i] = add(a[i], b[i], x[i])
	}
	d.node(child, x[h:n], rest, from+h)
	for i, r := range x[h:n] {
		x[i] ^= r
	}
}

// check is the min-sum rule of a check node: the product of the signs times the
// smaller size. In int32, where nothing overflows; shifts spread the sign so
// that the compiler has no branch to make.
func check(a, b int16) int16 {
	x, y := int32(a), int32(b)
	sx, sy := x>>31, y>>31
	x, y = (x^sx)-sx, (y^sy)-sy
	diff := x - y
	m := y + diff&(diff>>31)
	over := limit - m
	m += over & (over >> 31)
	s := sx ^ sy
	return int16((m ^ s) - s)
}

// add is the rule of a variable node: b + a, or b - a when the bit between them
// is 1, saturated to ±32767.
func add(a, b int16, bit byte) int16 {
	s := -int32(bit)
	v := int32(b) + ((int32(a) ^ s) - s)
	over := limit - v
	v += over & (over >> 31)
	under := v + limit
	v -= under & (under >> 31)
	return int16(v)
}
