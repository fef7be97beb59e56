package fuzzy

import "github.com/semio-iot/semio/internal/polar"

// set is a parameter set: everything that both ends of an enrolment agree on.
type set struct {
	id          byte
	name        string
	cells       int     // bits of SRAM
	minUsed     int     // symbols, at enrolment and reconstruction
	minKept     int     // percent of the used symbols that are not erased
	maxMask2    int     // bytes
	lists       []int   // paths of the decoders after the first
	rating      Rating  // generated, see frozen*.go
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

// symbolEntropy is the least that leaves the floor with all symbols in use.
func (s *set) symbolEntropy() float64 {
	return 1 - float64(s.dimension()-floor)/float64(s.length())
}

func (s *set) strideOK(n int) bool {
	return n >= 1 && n <= s.cells/2 && n&(n-1) == 0
}

// code builds the set's polar code. Only a damaged table can fail here.
func (s *set) code() (*polar.Code, error) { return polar.New(s.info) }

// newSet scales the rules against chosen helper data with the cells.
func newSet(id byte, name string, kilobytes float64, info []byte, fingerprint [8]byte, rating Rating) *set {
	return &set{
		id:          id,
		name:        name,
		cells:       int(8192 * kilobytes),
		minUsed:     int(1400 * kilobytes),
		minKept:     55,
		maxMask2:    int(208 * kilobytes),
		lists:       []int{8, 32},
		rating:      rating,
		info:        info,
		fingerprint: fingerprint,
	}
}

// setByID makes a set anew, so that no caller shares it; nil for an unknown one.
// Identifiers are never used again, and no set is ever changed: chips in the field
// depend on it.
func setByID(id byte) *set {
	switch id {
	case 1:
		return newSet(1, "SRAM1K", 1, infoSRAM1K[:], fingerprintSRAM1K, ratingSRAM1K())
	case 2:
		return newSet(2, "SRAM512", 0.5, infoSRAM512[:], fingerprintSRAM512, ratingSRAM512())
	case 3:
		return newSet(3, "SRAM1K320", 1, infoSRAM1K320[:], fingerprintSRAM1K320, ratingSRAM1K320())
	case 4:
		return newSet(4, "SRAM2K", 2, infoSRAM2K[:], fingerprintSRAM2K, ratingSRAM2K())
	case 5:
		return newSet(5, "SRAM4K", 4, infoSRAM4K[:], fingerprintSRAM4K, ratingSRAM4K())
	}
	return nil
}
