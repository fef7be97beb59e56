package fuzzy

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"io"
)

// maxApart is how far apart two readings of one enrolment may be, in percent.
const maxApart = 15

// Enroll makes the root key and the helper data of a chip from its start-up
// reading, ResponseSize bytes: once in the life of that region of the chip, see
// the package documentation. It does not keep or change the readings; the caller
// clears them, wipes the key and stores the helper data.
//
// With further readings, an odd number in all, it enrols their majority, which
// later readings differ less from. Salt and secret are read from random, or from
// crypto/rand when that is nil.
//
// Errors: [ErrParams], [ErrResponseSize], [ErrResponseConstant], [ErrReadings],
// [ErrEntropy], [ErrFault], and those of random.
func Enroll(p Params, random io.Reader, response []byte, further ...[]byte) (*RootKey, HelperData, error) {
	key, helper, err := enroll(p, random, append([][]byte{response}, further...))
	if err != nil {
		return nil, HelperData{}, fmt.Errorf("enroll: %w", err)
	}
	return key, helper, nil
}

func enroll(p Params, random io.Reader, readings [][]byte) (*RootKey, HelperData, error) {
	if err := p.check(); err != nil {
		return nil, HelperData{}, err
	}
	response, err := p.set().majority(readings)
	if err != nil {
		return nil, HelperData{}, err
	}
	defer clear(response)

	mask1, mask2 := p.set().masks(p.stride, response)
	if len(mask2) > p.set().maxMask2 {
		return nil, HelperData{}, &FaultError{Test: "equal pairs of cells", Got: p.set().pairs() - ones(mask1), Limit: 16 * p.set().maxMask2}
	}
	symbols := make([]byte, 0, p.set().length())
	defer func() { clear(symbols) }()
	for _, y := range p.set().symbols(p.stride, mask1, mask2) {
		symbols = append(symbols, bit(response, y.a))
	}
	if err := p.checkEntropy(len(symbols)); err != nil {
		return nil, HelperData{}, err
	}
	if err := p.checkFaults(symbols); err != nil {
		return nil, HelperData{}, err
	}
	key, helper, err := p.seal(random, mask1, mask2, symbols)
	if err != nil {
		return nil, HelperData{}, err
	}
	if err := selfCheck(response, helper, key); err != nil {
		key.Wipe()
		return nil, HelperData{}, err
	}
	return key, helper, nil
}

// seal hides a fresh secret under the symbols.
func (p Params) seal(random io.Reader, mask1, mask2, symbols []byte) (*RootKey, HelperData, error) {
	if random == nil {
		random = rand.Reader
	}
	code, err := p.set().code()
	if err != nil {
		return nil, HelperData{}, err
	}
	fresh := make([]byte, saltSize+code.Dimension()/8)
	defer clear(fresh)
	if _, err := io.ReadFull(random, fresh); err != nil {
		return nil, HelperData{}, fmt.Errorf("random bytes: %w", err)
	}
	salt, message := fresh[:saltSize], fresh[saltSize:]
	codeword := make([]byte, code.Len())
	defer clear(codeword)
	if err := code.Encode(codeword, message); err != nil {
		return nil, HelperData{}, err
	}
	// Where no symbol is left W stays 0: a bit of the codeword there would be
	// published bare.
	w := make([]byte, code.Len()/8)
	place := interleaver(code.Len())
	for i, x := range symbols {
		setBit(w, i, codeword[place[i]]^x)
	}
	body := p.set().body(p.stride, salt, mask1, mask2, w)
	tag, key, err := keys(message, salt, body)
	if err != nil {
		return nil, HelperData{}, err
	}
	return key, HelperData{raw: string(append(body, tag...))}, nil
}

// selfCheck reconstructs from the enrolled response itself. A chip whose helper
// data does not work, from a fault of memory or of this package, must be found at
// the factory: there is no second enrolment.
func selfCheck(response []byte, helper HelperData, want *RootKey) error {
	got, _, err := Reconstruct(response, helper)
	if err != nil {
		return fmt.Errorf("self-check: %w", err)
	}
	defer got.Wipe()
	if !got.key.Equal(want.key) {
		return fmt.Errorf("self-check: %w", ErrReconstruct)
	}
	return nil
}

// majority checks the readings, one by one and against each other, and returns
// the value that each bit has in most of them.
func (s *set) majority(readings [][]byte) ([]byte, error) {
	if len(readings)%2 == 0 {
		return nil, fmt.Errorf("%w: %d of them, want an odd number", ErrReadings, len(readings))
	}
	size := s.cells / 8
	for i, r := range readings {
		if len(r) != size {
			return nil, fmt.Errorf("%w: reading %d has %d bytes, want %d", ErrResponseSize, i, len(r), size)
		}
		if repeats(r, size/2) {
			return nil, fmt.Errorf("%w: reading %d", ErrResponseConstant, i)
		}
		for j, earlier := range readings[:i] {
			diff := make([]byte, size)
			subtle.XORBytes(diff, r, earlier)
			if n := ones(diff); n == 0 || 100*n > maxApart*s.cells {
				return nil, &ReadingsError{First: j, Second: i, Differ: n, Of: s.cells}
			}
		}
	}
	out := make([]byte, size)
	for i := range s.cells {
		n := 0
		for _, r := range readings {
			n += int(bit(r, i))
		}
		setBit(out, i, byte((len(readings)/2-n)>>31&1))
	}
	return out, nil
}
