// Package pufstat measures chips by their power-ups: how far readings of one chip and of two chips lie apart, how biased and how stable
// the cells are, how much entropy their values hold, and which pairing stride a device profile should have.
//
// Start with [New], which takes the power-ups of one chip.
//
//	chip, err := pufstat.New(readings...)
//	within := pufstat.Summarize(chip.Within(1024))
//	between, err := pufstat.Between(chip, other, 1024)
//	strides, err := pufstat.Strides([]*pufstat.Chip{chip, other}, 1024)
//
// The estimates of entropy are estimates: each is the rate at which one kind of guesser is right, and says nothing of cleverer ones.
// NIST SP 800-90B calls for a million samples; whoever has fewer gets a wider margin ([Estimate.Lower]), and a figure of one
// chip is that chip's. Take the profile of a kind of device from many chips and windows, and from the worst of them.
//
// The package is for the laboratory. Its time depends on the readings, it keeps references to them, and what it returns tells much about
// them: use it on chips that will not be enrolled, or keep its results as secret as the readings.
package pufstat

import (
	"fmt"
	"math"

	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/internal/packed"
)

// Chip is the power-ups of one chip. It is immutable, and safe for concurrent use.
type Chip struct {
	readings [][]byte
	ones     []uint16 // of each cell, over the readings
}

// maxReadings is the most power-ups of a [Chip].
const maxReadings = 1 << 15

// New returns the chip with these power-ups, 1 to 32,768 of one size. It keeps the slices, which must not change.
func New(readings ...[]byte) (*Chip, error) {
	if len(readings) == 0 || len(readings) > maxReadings {
		return nil, fmt.Errorf("pufstat: %d readings, want 1 to %d", len(readings), maxReadings)
	}
	size := len(readings[0])
	if size == 0 {
		return nil, &puf.SizeError{What: "reading 1", Got: 0, Want: 1}
	}
	c := &Chip{readings: readings, ones: make([]uint16, 8*size)}
	for n, b := range readings {
		if len(b) != size {
			return nil, &puf.SizeError{What: fmt.Sprintf("reading %d", n+1), Got: len(b), Want: size}
		}
		for i := range c.ones {
			c.ones[i] += uint16(packed.Bit(b, i))
		}
	}
	return c, nil
}

// Size returns the bytes of a reading.
func (c *Chip) Size() int { return len(c.readings[0]) }

// Readings returns the number of power-ups.
func (c *Chip) Readings() int { return len(c.readings) }

// First returns the first power-up. It must not be changed.
func (c *Chip) First() []byte { return c.readings[0] }

// Summary describes a list of figures.
type Summary struct {
	N         int     `json:"n"`
	Mean      float64 `json:"mean"`
	Deviation float64 `json:"deviation"` // standard deviation of the sample
	Min       float64 `json:"min"`
	Max       float64 `json:"max"`
}

// Summarize returns the summary of v, the zero Summary for an empty one.
func Summarize(v []float64) Summary {
	if len(v) == 0 {
		return Summary{}
	}
	s := Summary{N: len(v), Min: v[0], Max: v[0]}
	for _, x := range v {
		s.Mean += x / float64(len(v))
		s.Min, s.Max = min(s.Min, x), max(s.Max, x)
	}
	if len(v) > 1 {
		for _, x := range v {
			s.Deviation += (x - s.Mean) * (x - s.Mean) / float64(len(v)-1)
		}
		s.Deviation = math.Sqrt(s.Deviation)
	}
	return s
}
