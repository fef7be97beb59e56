package polar

import (
	"fmt"
	"math/bits"
)

// MaxList is the largest list: one bit of a word for each path.
const MaxList = 32

// never is the metric of a path that does not exist yet. Real ones stay below
// maxLen * limit, under 2^29.
const never = 1 << 40

// ListDecoder decodes one code by successive cancellation with a list (Tal and
// Vardy 2015) over the same integers as [Decoder]. The metric of a path is the sum
// of the log-likelihood ratios that it decided against (Balatsoukas-Stimming et
// al. 2015); the paths of least metric go on.
//
// Its schedule, its memory accesses included, depends on the code and the size of
// the list alone. Which path goes on where is secret, so paths are never copied by
// index: every choice is made by masks over all of them, and a node moves the
// values of its paths once, when its left half is decided, not at each bit.
//
// A ListDecoder allocates nothing after [NewListDecoder]. It is not safe for
// concurrent use. Its buffers hold the last messages until [ListDecoder.Wipe].
type ListDecoder struct {
	code   *Code
	size   int
	llr    []int16  // [position][path], the input and then the levels below: 2n * size
	x      []uint32 // codewords, bit p of a word for path p
	u      []uint32 // the same for u, filled at the end
	metric []uint64
	keys   []uint64 // candidates while paths fork, 2 * size
	from   []byte   // [depth][path]: where the paths of a node stood when it began
	masks  []uint64 // [path][path]: all ones where from says so
	packed []uint64
}

// NewListDecoder returns a decoder for c that keeps size paths: a power of two, at
// most [MaxList]. Anything else is [ErrCode].
func NewListDecoder(c *Code, size int) (*ListDecoder, error) {
	if size < 1 || size > MaxList || size&(size-1) != 0 {
		return nil, fmt.Errorf("%w: list of %d paths, want a power of two up to %d", ErrCode, size, MaxList)
	}
	return &ListDecoder{
		code: c, size: size,
		llr:    make([]int16, 2*c.n*size),
		x:      make([]uint32, c.n),
		u:      make([]uint32, c.n),
		metric: make([]uint64, size),
		keys:   make([]uint64, 2*size),
		from:   make([]byte, size*(bits.Len(uint(c.n))+1)),
		masks:  make([]uint64, size*size),
		packed: make([]uint64, size),
	}, nil
}

// Size returns the number of paths.
func (d *ListDecoder) Size() int { return d.size }

// Decode decodes llr, which is as for [Decoder.Decode]. Read the messages with
// [ListDecoder.Path]. A wrong length is [ErrLength].
func (d *ListDecoder) Decode(llr []int16) error {
	c := d.code
	if len(llr) != c.n {
		return fmt.Errorf("decode list: %w: %d values, want %d", ErrLength, len(llr), c.n)
	}
	for i, v := range llr {
		for p := range d.size {
			d.llr[i*d.size+p] = v
		}
	}
	for p := range d.metric {
		d.metric[p] = never
	}
	d.metric[0] = 0
	d.node(d.llr[:c.n*d.size], d.x, d.llr[c.n*d.size:], 0, 0)
	d.order()
	copy(d.u, d.x)
	for half := 1; half < c.n; half *= 2 {
		for at := 0; at < c.n; at += 2 * half {
			left, right := d.u[at:at+half], d.u[at+half:at+2*half]
			for i, w := range right {
				left[i] ^= w
			}
		}
	}
	return nil
}

// Path writes the message of path p, in the order of rising metrics, and its
// codeword, as [Decoder.Decode] does. Wrong lengths and paths are [ErrLength].
func (d *ListDecoder) Path(message, codeword []byte, p int) error {
	c := d.code
	if p < 0 || p >= d.size || len(codeword) != c.n || len(message) != c.k/8 {
		return fmt.Errorf("path %d: %w: codeword %d, message %d bytes, want %d and %d", p, ErrLength, len(codeword), len(message), c.n, c.k/8)
	}
	clear(message)
	for i := range codeword {
		codeword[i] = byte(d.x[i] >> (p & 31) & 1)
		if c.information(i) {
			j := int(c.before[i])
			message[j/8] |= byte(d.u[i]>>(p&31)&1) << (7 - j%8)
		}
	}
	return nil
}

// Wipe clears the decoder's buffers. The decoder can be used again.
func (d *ListDecoder) Wipe() {
	clear(d.llr)
	clear(d.x)
	clear(d.u)
	clear(d.metric)
	clear(d.keys)
	clear(d.from)
	clear(d.masks)
	clear(d.packed)
}

// node decodes the positions of u from at on, as many as x is long, for all paths
// and leaves their transforms in x. It says whether paths may have moved, which
// depends on the code alone; then row depth of d.from tells where each one stood.
func (d *ListDecoder) node(llr []int16, x []uint32, free []int16, at, depth int) (moved bool) {
	n, l := len(x), d.size
	if d.code.frozen(at, n) {
		// The sum of what the full recursion would add, as long as nothing saturates.
		for i := 0; i < len(llr); i += l {
			for p, v := range llr[i : i+l] {
				d.metric[p] += penalty(v)
			}
		}
		clear(x)
		return false
	}
	if n == 1 {
		x[0] = d.fork(llr, depth)
		return true
	}
	h := n / 2
	a, b := llr[:h*l], llr[h*l:n*l]
	child, rest := free[:h*l], free[h*l:]
	for i := range child {
		child[i] = check(a[i], b[i])
	}
	left := d.node(child, x[:h], rest, at, depth+1)
	own, below := d.from[depth*l:(depth+1)*l], d.from[(depth+1)*l:(depth+2)*l]
	if left {
		copy(own, below)
		d.setMasks(own)
		d.gatherAdd(child, a, b, x[:h])
	} else {
		for i := range h {
			w := x[i]
			for p := range l {
				child[i*l+p] = add(a[i*l+p], b[i*l+p], byte(w>>(p&31)&1))
			}
		}
	}
	right := d.node(child, x[h:n], rest, at+h, depth+1)
	if right {
		permute(x[:h], below)
		if left {
			compose(own, below)
		} else {
			copy(own, below)
		}
	}
	for i, w := range x[h:n] {
		x[i] ^= w
	}
	return left || right
}

// penalty is what it costs to decide 0 on value v, in the metric.
func penalty(v int16) uint64 {
	w := int64(v)
	return uint64(-w & (w >> 63))
}

// fork decides one information bit both ways and keeps the best. Equal metrics go
// by the lower path, then 0 before 1.
func (d *ListDecoder) fork(llr []int16, depth int) (bits uint32) {
	l := d.size
	for p, v := range llr[:l] {
		d.keys[2*p] = (d.metric[p]+penalty(v))<<8 | uint64(p)<<1
		d.keys[2*p+1] = (d.metric[p]+penalty(-v))<<8 | uint64(p)<<1 | 1
	}
	sortKeys(d.keys)
	for p, k := range d.keys[:l] {
		d.metric[p] = k >> 8
		d.from[depth*l+p] = byte(k >> 1 & 127)
		bits |= uint32(k&1) << (p & 31)
	}
	return bits
}

// order puts the paths in the order of their metrics, which frozen positions after
// the last information bit may have changed.
func (d *ListDecoder) order() {
	l := d.size
	for p, m := range d.metric {
		d.keys[p] = m<<8 | uint64(p)<<1
	}
	sortKeys(d.keys[:l])
	for p, k := range d.keys[:l] {
		d.metric[p] = k >> 8
		d.from[p] = byte(k >> 1 & 127)
	}
	permute(d.x, d.from[:l])
}

// setMasks makes, for each path, a mask for each place it may have come from.
func (d *ListDecoder) setMasks(from []byte) {
	for p, f := range from {
		row := d.masks[p*d.size : (p+1)*d.size]
		for q := range row {
			row[q] = same(f, q)
		}
	}
}

// gatherAdd computes child = b + a, or b - a, for the values of the paths that the
// masks select. Two positions at a time: four values fit in a word.
func (d *ListDecoder) gatherAdd(child, a, b []int16, x []uint32) {
	l := d.size
	for i := 0; i < len(x); i += 2 {
		j := min(i+1, len(x)-1) // a node of two has one
		for q := range l {
			d.packed[q] = uint64(uint16(a[i*l+q])) | uint64(uint16(b[i*l+q]))<<16 |
				uint64(uint16(a[j*l+q]))<<32 | uint64(uint16(b[j*l+q]))<<48
		}
		for p := range l {
			var v uint64
			row := d.masks[p*l : (p+1)*l]
			for q, w := range d.packed[:len(row)] {
				v |= w & row[q]
			}
			child[i*l+p] = add(int16(v), int16(v>>16), byte(x[i]>>(p&31)&1))
			child[j*l+p] = add(int16(v>>32), int16(v>>48), byte(x[j]>>(p&31)&1))
		}
	}
}

// permute moves the bits of each word: bit p comes from bit from[p].
func permute(words []uint32, from []byte) {
	for i, w := range words {
		var v uint32
		for p, f := range from {
			v |= w >> (f & 31) & 1 << (p & 31)
		}
		words[i] = v
	}
}

// compose sets own[p] = own[then[p]].
func compose(own, then []byte) {
	var out [MaxList]byte
	for p, f := range then {
		for q, o := range own {
			out[p] |= o & byte(same(f, q))
		}
	}
	copy(own, out[:])
}

// same is all ones when f is q, else 0.
func same(f byte, q int) uint64 {
	return uint64((int64(int(f)^q) - 1) >> 63)
}

// sortKeys sorts a power of two of keys below 2^63 by Batcher's odd-even merge
// sort: the same comparisons whatever they are, and no branch on one.
func sortKeys(keys []uint64) {
	n := len(keys)
	for p := 1; p < n; p *= 2 {
		for k := p; k >= 1; k /= 2 {
			for j := k % p; j+k < n; j += 2 * k {
				for i := range k {
					if (i+j)/(2*p) == (i+j+k)/(2*p) && i+j+k < n {
						a, b := keys[i+j], keys[i+j+k]
						swap := (a ^ b) & -((b - a) >> 63)
						keys[i+j], keys[i+j+k] = a^swap, b^swap
					}
				}
			}
		}
	}
}
