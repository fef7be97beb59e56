package fuzzy

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

const (
	magic   = "SEMF"
	version = 1
)

// HelperData is the public result of enrolment, in its one valid encoding. It
// is an immutable value and may be copied and compared. The zero value is no
// helper data; [Reconstruct] calls it malformed.
type HelperData struct{ raw string }

// ParseHelperData reads helper data as [HelperData.Bytes] wrote it, and takes a
// copy. Errors: [ErrHelperMalformed] for anything that is not the canonical
// encoding, [ErrUnknownSet] for a version or set of newer software. It cannot
// tell whether helper data is genuine; [Reconstruct] can.
func ParseHelperData(b []byte) (HelperData, error) {
	if _, err := parse(b); err != nil {
		return HelperData{}, fmt.Errorf("parse helper data: %w", err)
	}
	return HelperData{raw: string(b)}, nil
}

// Bytes returns a copy of the encoding, at most [Params.MaxHelperSize] bytes;
// nil for the zero value.
func (h HelperData) Bytes() []byte {
	if h.raw == "" {
		return nil
	}
	return []byte(h.raw)
}

// Hash returns SHA-256 of the encoding: what the device certificate carries.
func (h HelperData) Hash() [32]byte { return sha256.Sum256([]byte(h.raw)) }

// Symbols returns how many symbols of pass 2 and of pass 1 are in use, for
// [Params.BoundFor]; zeros for the zero value.
func (h HelperData) Symbols() (pass2, pass1 int) {
	f, err := parse([]byte(h.raw))
	if err != nil {
		return 0, 0
	}
	return f.symbolCounts()
}

// Cells returns the cells behind the used symbols, as bits of the response in the
// order of the codeword: two for a symbol of pass 1, four for one of pass 2. nil
// for the zero value. All others have no part in reconstruction.
func (h HelperData) Cells() []int {
	f, err := parse([]byte(h.raw))
	if err != nil {
		return nil
	}
	var cells []int
	for _, y := range f.set.symbols(f.stride, f.mask1, f.mask2) {
		cells = append(cells, y.a, y.b)
		if y.second {
			cells = append(cells, y.c, y.d)
		}
	}
	return cells
}

// Params returns the parameter set and the stride of the helper data, with the
// set's default for the rest of the profile, which helper data does not carry. Zero Params for the
// zero value.
func (h HelperData) Params() Params {
	f, err := parse([]byte(h.raw))
	if err != nil {
		return Params{}
	}
	return newParams(f.set.id).WithStride(f.stride)
}

// fields is helper data taken apart; the slices share the encoding's bytes.
type fields struct {
	set          *set
	stride       int
	salt         []byte
	mask1, mask2 []byte
	w            []byte
	body, tag    []byte
}

func (f *fields) symbolCounts() (pass2, pass1 int) {
	n := f.set.length()
	pass2 = min(n, ones(f.mask2))
	return pass2, min(n-pass2, ones(f.mask1))
}

func (f *fields) used() int {
	pass2, pass1 := f.symbolCounts()
	return pass2 + pass1
}

// parse accepts exactly the encodings that assemble can make.
func parse(b []byte) (*fields, error) {
	if len(b) < headerSize || string(b[:4]) != magic {
		return nil, fmt.Errorf("%w: no header", ErrHelperMalformed)
	}
	if b[4] != version {
		return nil, fmt.Errorf("%w: version %d, this build reads %d: update the software that reads it", ErrUnknownSet, b[4], version)
	}
	s := setByID(b[5])
	if s == nil || [8]byte(b[8:16]) != s.fingerprint {
		return nil, fmt.Errorf("%w: set %d, fingerprint %x: update the software that reads it", ErrUnknownSet, b[5], b[8:16])
	}
	f := &fields{set: s, stride: int(binary.BigEndian.Uint16(b[6:8]))}
	if !s.strideOK(f.stride) {
		return nil, fmt.Errorf("%w: stride %d", ErrHelperMalformed, f.stride)
	}
	if len(b) < s.size(0) || len(b) > s.maxSize() {
		return nil, fmt.Errorf("%w: %d bytes, want %d to %d", ErrHelperMalformed, len(b), s.size(0), s.maxSize())
	}
	at := headerSize
	next := func(n int) []byte {
		part := b[at : at+n : at+n]
		at += n
		return part
	}
	f.salt = next(saltSize)
	f.mask1 = next(s.mask1Size())
	m2 := mask2Size(s.pairs(), f.mask1)
	if m2 > s.maxMask2 || len(b) != s.size(m2) {
		return nil, fmt.Errorf("%w: %d bytes with a pass-2 mask of %d", ErrHelperMalformed, len(b), m2)
	}
	f.mask2 = next(m2)
	f.w = next(s.length() / 8)
	f.body = b[:at:at]
	f.tag = next(tagSize)
	if !zeroFrom(f.mask2, (s.pairs()-ones(f.mask1))/2) {
		return nil, fmt.Errorf("%w: padding of the pass-2 mask", ErrHelperMalformed)
	}
	if !zeroFrom(f.w, f.used()) {
		return nil, fmt.Errorf("%w: W at unused positions", ErrHelperMalformed)
	}
	return f, nil
}

// zeroFrom says whether all bits of b from bit i on are 0.
func zeroFrom(b []byte, i int) bool {
	for ; i < 8*len(b); i++ {
		if bit(b, i) != 0 {
			return false
		}
	}
	return true
}

// body assembles all of helper data but its tag.
func (s *set) body(stride int, salt, mask1, mask2, w []byte) []byte {
	b := make([]byte, 0, s.size(len(mask2)))
	b = append(b, magic...)
	b = append(b, version, s.id)
	b = binary.BigEndian.AppendUint16(b, uint16(stride))
	b = append(b, s.fingerprint[:]...)
	b = append(b, salt...)
	b = append(b, mask1...)
	b = append(b, mask2...)
	return append(b, w...)
}
