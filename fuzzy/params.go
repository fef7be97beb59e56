package fuzzy

import (
	"fmt"
	"strings"
)

const (
	headerSize = 16
	saltSize   = 16
	tagSize    = 16
	keySize    = 32

	// floor is what must be left of the secret to call the root key 256 bits.
	floor = 256
	// distanceLimit is how far apart two readings of one enrolment may be.
	distanceLimit = 0.15
)

// Params is a parameter set together with the profile of a kind of device: the
// stride of pairing, the min-entropy of a symbol, the entropy to be left, and how
// far apart readings at enrolment may be. It is an immutable value and may be
// copied and compared; the zero value is refused with [ErrParams].
type Params struct {
	id       byte
	stride   int
	entropy  float64
	floor    float64
	distance float64
}

// Rating is what a set is good for, as computed by `go generate`: the largest
// whole percentage of bit errors at which the bound on failure of successive
// cancellation alone is below 1e-9, and the bound there. Chips with as many ones as
// zeros, and few symbols of pass 2: about one chip in a thousand has fewer. Leaving
// out unstable pairs may raise the bound by up to ten at the same share of errors,
// which it lowers: [Params.BoundFor] computes it for one chip's helper data. The list
// decoders go further; no bound is computed for them.
type Rating struct {
	ErrorRate float64
	Failure   float64
}

func newParams(id byte) Params {
	return Params{id: id, stride: 1, entropy: setByID(id).symbolEntropy(), floor: floor, distance: distanceLimit}
}

// SRAM1K is the default set: 1,024 bytes of SRAM, two passes of debiasing, a
// polar code (2048, 384), at most 1,024 bytes of helper data, a root key of 256
// bits. [Params.Rating] has its bound, docs/fuzzy.md the table for every set. The
// profile pairs neighbouring cells and claims 0.9375 bit of min-entropy a symbol,
// the least that this set can do with: measure your kind of chip and set both.
func SRAM1K() Params { return newParams(1) }

// SRAM512 is for parts with 512 bytes to spare: a code (1024, 320), at most 536
// bytes of helper data, 0.9375 bit a symbol. The key is 256 bits as with the larger
// sets; what is less is the noise that it bears, see [Params.Rating], and the bias.
func SRAM512() Params { return newParams(2) }

// SRAM1K320 trades entropy for noise against SRAM1K: a code (2048, 320), which
// bears 25 % of bit errors with the list decoder, and 0.96875 bit a symbol at
// least. Only for chips of which this was measured.
func SRAM1K320() Params { return newParams(3) }

// SRAM2K bears 25 % of bit errors without the list decoder, and symbols of
// 0.921875 bit: a code (4096, 576), at most 2,000 bytes of helper data.
func SRAM2K() Params { return newParams(4) }

// SRAM4K is for the weakest chips, 0.875 bit a symbol and more than 25 % of bit
// errors: a code (8192, 1280), at most 3,952 bytes of helper data.
func SRAM4K() Params { return newParams(5) }

// Sets returns every parameter set with its default profile, by rising size of the
// region.
func Sets() []Params {
	return []Params{SRAM512(), SRAM1K(), SRAM1K320(), SRAM2K(), SRAM4K()}
}

// ParseSet returns the set of a name, as [Params.Name] gives it, in any case of
// letters. Error: [ErrParams], with the names there are.
func ParseSet(name string) (Params, error) {
	var names []string
	for _, p := range Sets() {
		if strings.EqualFold(name, p.Name()) {
			return p, nil
		}
		names = append(names, p.Name())
	}
	return Params{}, fmt.Errorf("%w: no parameter set %q, want one of %s", ErrParams, name, strings.Join(names, ", "))
}

// set returns nil for zero Params.
func (p Params) set() *set { return setByID(p.id) }

// WithStride returns p with cells paired n apart: a power of two of which twice
// divides the number of cells, 1 to 4096 for 1 KB. It belongs to the kind of
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

// WithEntropyFloor returns p with the bits that must be left of the secret to one
// who has the helper data: 256, the default, up to the message bits of the set's
// code. Checked at use.
func (p Params) WithEntropyFloor(bits float64) Params {
	p.floor = bits
	return p
}

// WithDistanceLimit returns p with the share of bits in which two readings of one
// enrolment may differ, above 0 and at most 0.25; the default is 0.15. Set it near
// what the kind of chip shows, to find a source that fails. Checked at use.
func (p Params) WithDistanceLimit(share float64) Params {
	p.distance = share
	return p
}

// Name returns the name of the set, "" for zero Params.
func (p Params) Name() string {
	if p.set() == nil {
		return ""
	}
	return p.set().name
}

// Code returns the length and the message bits of the set's code, zeros for zero
// Params.
func (p Params) Code() (n, k int) {
	if p.set() == nil {
		return 0, 0
	}
	return p.set().length(), p.set().dimension()
}

// Rating returns what the set was computed to be good for.
func (p Params) Rating() Rating {
	if p.set() == nil {
		return Rating{}
	}
	return p.set().rating
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

// EntropyFloor returns the bits that must be left of the secret.
func (p Params) EntropyFloor() float64 { return p.floor }

// DistanceLimit returns the share of bits in which readings may differ.
func (p Params) DistanceLimit() float64 { return p.distance }

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
	if k := p.set().dimension(); !(p.floor >= floor && p.floor <= float64(k)) {
		return fmt.Errorf("%w: entropy floor of %v bits is not from %d to %d", ErrParams, p.floor, floor, k)
	}
	if !(p.distance > 0 && p.distance <= 0.25) {
		return fmt.Errorf("%w: distance limit %v is not above 0 and at most 0.25", ErrParams, p.distance)
	}
	return nil
}
