package pufstat

import (
	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/internal/packed"
)

// Distances are shares of bits that differ (fractional Hamming distances). Those of windows are of windows of a number of bytes that do not
// overlap, the rest of a reading left out; a window of 0, or larger than the reading, means the whole.

// windows yields the bounds of each window.
func windows(size, window int) (bounds [][2]int) {
	if window <= 0 || window > size {
		window = size
	}
	for at := 0; at+window <= size; at += window {
		bounds = append(bounds, [2]int{at, at + window})
	}
	return bounds
}

func distances(out []float64, a, b []byte, window int) []float64 {
	for _, w := range windows(len(a), window) {
		x, y := a[w[0]:w[1]], b[w[0]:w[1]]
		out = append(out, float64(packed.Differing(x, y))/float64(8*len(x)))
	}
	return out
}

// Within returns the distance of each later power-up from the first, window by window: what a code enrolled from one reading has to
// correct. It is empty for a single reading.
func (c *Chip) Within(window int) []float64 {
	var out []float64
	for _, b := range c.readings[1:] {
		out = distances(out, c.readings[0], b, window)
	}
	return out
}

// WithinPairs is [Chip.Within] for every pair of power-ups.
func (c *Chip) WithinPairs(window int) []float64 {
	var out []float64
	for i, a := range c.readings {
		for _, b := range c.readings[i+1:] {
			out = distances(out, a, b, window)
		}
	}
	return out
}

// WithinMajority returns the distance of each power-up from the majority of all: what is left to correct after an enrolment from many
// readings. The readings judge themselves, so for few of them it is too low.
func (c *Chip) WithinMajority(window int) []float64 {
	var out []float64
	majority := c.Majority()
	for _, b := range c.readings {
		out = distances(out, majority, b, window)
	}
	return out
}

// Between returns the distance of the first power-ups of two chips, window by window. Chips must have one size.
func Between(a, b *Chip, window int) ([]float64, error) {
	if a.Size() != b.Size() {
		return nil, &puf.SizeError{What: "reading of the second chip", Got: b.Size(), Want: a.Size()}
	}
	return distances(nil, a.readings[0], b.readings[0], window), nil
}

// BetweenWindows returns the distance of each window of the first power-up from each other one of the same chip, at most the given
// number of pairs, evenly taken: windows that serve as separate PUFs have to be as far apart as chips.
func (c *Chip) BetweenWindows(window, most int) []float64 {
	bounds := windows(c.Size(), window)
	pairs := len(bounds) * (len(bounds) - 1) / 2
	if pairs == 0 || most <= 0 {
		return nil
	}
	skip := max(1, (pairs+most-1)/most)
	var out []float64
	n := 0
	for i, x := range bounds {
		for _, y := range bounds[i+1:] {
			if n++; (n-1)%skip == 0 {
				out = distances(out, c.readings[0][x[0]:x[1]], c.readings[0][y[0]:y[1]], 0)
			}
		}
	}
	return out
}

// Across returns the distance of each power-up of b from each of a, whole: of one chip under two conditions.
func Across(a, b *Chip) ([]float64, error) {
	if a.Size() != b.Size() {
		return nil, &puf.SizeError{What: "reading of the second chip", Got: b.Size(), Want: a.Size()}
	}
	var out []float64
	for _, x := range a.readings {
		for _, y := range b.readings {
			out = distances(out, x, y, 0)
		}
	}
	return out, nil
}
