package fuzzy

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"io"
)

// maxReadings is the most readings that one enrolment takes.
const maxReadings = 99

// Enroll makes the root key and the helper data of a chip from its start-up
// reading, ResponseSize bytes: once in the life of that region of the chip, see
// the package documentation. It does not keep or change the readings; the caller
// clears them, wipes the key and stores the helper data.
//
// With further readings, an odd number in all, it enrols their majority, which
// later readings differ less from, and leaves out pairs on which they disagree, as
// long as enough are left. Salt and secret are read from random, or from
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
	e, err := p.majority(readings)
	if err != nil {
		return nil, HelperData{}, err
	}
	defer e.wipe()
	response := e.response

	mask1, mask2 := p.set().selectSymbols(p.stride, e)
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

// majority checks the readings, one by one and against each other, and counts what
// they say.
func (p Params) majority(readings [][]byte) (*enrolled, error) {
	if len(readings)%2 == 0 || len(readings) > maxReadings {
		return nil, fmt.Errorf("%w: %d of them, want an odd number up to %d", ErrReadings, len(readings), maxReadings)
	}
	s := p.set()
	size := s.cells / 8
	limit := int(p.distance * float64(s.cells))
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
			if n := ones(diff); n == 0 || n > limit {
				return nil, &ReadingsError{First: j, Second: i, Differ: n, Of: s.cells, Limit: limit}
			}
		}
	}
	e := &enrolled{response: make([]byte, size), doubts: make([]byte, s.cells), readings: len(readings)}
	half := len(readings) / 2
	for i := range s.cells {
		n := 0
		for _, r := range readings {
			n += int(bit(r, i))
		}
		most := (half - n) >> 31 & 1
		setBit(e.response, i, byte(most))
		e.doubts[i] = byte(n + most*(len(readings)-2*n))
	}
	return e, nil
}
