package fuzzy

import (
	"math/rand/v2"
	"testing"
)

// Chip is a simulated SRAM for tests: independent cells, each with one value at
// enrolment, that flip in a reading with a rate for ones and one for zeros. It is
// the very model that bounds are computed under; package puf has a richer one.
type Chip struct {
	model CellModel
	cells []byte
	r     *rand.Rand
}

// NewChip makes the same chip of 1,024 bytes for the same seed.
func NewChip(seed uint64, m CellModel) *Chip { return NewChipFor(SRAM1K(), seed, m) }

// NewChipFor makes a chip of the size of a set.
func NewChipFor(p Params, seed uint64, m CellModel) *Chip {
	c := &Chip{model: m, cells: make([]byte, p.ResponseSize()), r: rand.New(rand.NewPCG(seed, 0x5eed))}
	for i := range 8 * len(c.cells) {
		if c.r.Float64() < m.Ones {
			setBit(c.cells, i, 1)
		}
	}
	return c
}

// Enrolled returns the cells without noise.
func (c *Chip) Enrolled() []byte { return append([]byte(nil), c.cells...) }

// Read returns a reading with fresh noise.
func (c *Chip) Read() []byte {
	out := c.Enrolled()
	for i := range 8 * len(out) {
		rate := c.model.FlipZeros
		if bit(out, i) == 1 {
			rate = c.model.FlipOnes
		}
		if c.r.Float64() < rate {
			out[i/8] ^= 0x80 >> (i % 8)
		}
	}
	return out
}

// SeededRandom is an io.Reader for tests that want the same helper data again.
func SeededRandom(seed uint64) *rand.ChaCha8 {
	return rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 's', 'e', 'e', 'd'})
}

// SkipUnderRace leaves long computations of one goroutine out of runs with the race
// detector, which makes them ten times longer and finds nothing in them.
func SkipUnderRace(t *testing.T) {
	if raceDetector {
		t.Skip("one goroutine computes; nothing for the race detector")
	}
}
