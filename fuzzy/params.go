package fuzzy

import (
	"fmt"

	"github.com/semio-iot/semio/internal/polar"
)

const (
	headerSize = 16
	saltSize   = 16
	tagSize    = 16
	keySize    = 32

	// floor is what must be left of the secret to call the root key 256 bits.
	floor = 256
	// defaultSymbolEntropy is the least that leaves the floor with all symbols
	// of SRAM1K in use: 2048 * (1 - 0.9375) = 384 - 256.
	defaultSymbolEntropy = 0.9375
)

// set is a parameter set: everything that both ends of an enrolment agree on.
type set struct {
	id          byte
	name        string
	cells       int     // bits of SRAM
	minUsed     int     // symbols, at enrolment and reconstruction
	minKept     int     // percent of the used symbols that are not erased
	maxMask2    int     // bytes
	rated       float64 // bit errors at which the bound is below 1e-9
	info        []byte  // information positions of the polar code; not to be changed
	fingerprint [8]byte // see docs/fuzzy.md, "Parameter sets"
}

func (s *set) pairs() int     { return s.cells / 2 }
func (s *set) length() int    { return 8 * len(s.info) }
func (s *set) mask1Size() int { return s.pairs() / 8 }
func (s *set) dimension() int { return ones(s.info) }
func (s *set) maxSize() int   { return s.size(s.maxMask2) }
func (s *set) size(m2 int) int {
	return headerSize + saltSize + s.mask1Size() + m2 + len(s.info) + tagSize
}

// code builds the set's polar code. Only a damaged table can fail here.
func (s *set) code() (*polar.Code, error) { return polar.New(s.info) }

// sram1K returns the only set so far: a copy, which no caller shares.
func sram1K() *set {
	return &set{
		id:          1,
		name:        "SRAM1K",
		cells:       8192,
		minUsed:     1400,
		minKept:     55,
		maxMask2:    208,
		rated:       0.20,
		info:        infoSRAM1K[:],
		fingerprint: fingerprintSRAM1K,
	}
}

// setByID returns nil for an unknown set.
func setByID(id byte) *set {
	if id == 1 {
		return sram1K()
	}
	return nil
}

// Params is a parameter set together with the profile of a kind of device. It
// is an immutable value and may be copied and compared; the zero value is refused
// with [ErrParams].
type Params struct {
	id      byte
	stride  int
	entropy float64
}

// SRAM1K is the default set: 1,024 bytes of SRAM, two passes of debiasing, a
// polar code (2048, 384) decoded by successive cancellation, at most 1,024 bytes
// of helper data, a root key of 256 bits. Its profile pairs neighbouring cells
// and claims 0.9375 bit of min-entropy a symbol: measure your kind of chip and
// set both.
func SRAM1K() Params {
	return Params{id: 1, stride: 1, entropy: defaultSymbolEntropy}
}

// set returns nil for zero Params.
func (p Params) set() *set { return setByID(p.id) }

// WithStride returns p with cells paired n apart: a power of two of which twice
// divides the number of cells, 1 to 4096 for SRAM1K. It belongs to the kind of
// chip: neighbours on some, a row's width apart on others. Checked at use.
func (p Params) WithStride(n int) Params {
	p.stride = n
	return p
}

// WithSymbolEntropy returns p with the min-entropy of a debiased symbol, in bits
// above 0 and at most 1: the figure with which Enroll accounts for what is left
// of the secret. Take it from many windows and chips of one kind; no single chip
// can show it. Checked at use.
func (p Params) WithSymbolEntropy(bits float64) Params {
	p.entropy = bits
	return p
}

// ResponseSize returns the bytes of SRAM that the set reads, 0 for zero Params.
func (p Params) ResponseSize() int {
	if p.set() == nil {
		return 0
	}
	return p.set().cells / 8
}

// MaxHelperSize returns the most bytes that helper data of the set can have, 0
// for zero Params.
func (p Params) MaxHelperSize() int {
	if p.set() == nil {
		return 0
	}
	return p.set().maxSize()
}

// Stride returns the distance of paired cells.
func (p Params) Stride() int { return p.stride }

// SymbolEntropy returns the claimed min-entropy of a symbol in bits.
func (p Params) SymbolEntropy() float64 { return p.entropy }

// String names the set and its profile.
func (p Params) String() string {
	if p.set() == nil {
		return "no parameter set"
	}
	return fmt.Sprintf("%s, stride %d, %g bit a symbol", p.set().name, p.stride, p.entropy)
}

func (p Params) check() error {
	if p.set() == nil {
		return fmt.Errorf("%w: start from a parameter set, for example SRAM1K()", ErrParams)
	}
	if !p.set().strideOK(p.stride) {
		return fmt.Errorf("%w: stride %d is not a power of two from 1 to %d", ErrParams, p.stride, p.set().cells/2)
	}
	if !(p.entropy > 0 && p.entropy <= 1) {
		return fmt.Errorf("%w: symbol entropy %v is not above 0 and at most 1 bit", ErrParams, p.entropy)
	}
	return nil
}

func (s *set) strideOK(n int) bool {
	return n >= 1 && n <= s.cells/2 && n&(n-1) == 0
}
