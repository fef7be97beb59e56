package pufstat

import (
	"math"

	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/internal/packed"
)

// Ones returns the share of ones of each power-up, window by window.
func (c *Chip) Ones(window int) []float64 {
	var out []float64
	for _, b := range c.readings {
		for _, w := range windows(len(b), window) {
			out = append(out, float64(packed.Ones(b[w[0]:w[1]]))/float64(8*(w[1]-w[0])))
		}
	}
	return out
}

// Counts returns, for each k from 0 to the number of readings, how many cells were 1 in k of them.
func (c *Chip) Counts() []int {
	out := make([]int, len(c.readings)+1)
	for _, k := range c.ones {
		out[k]++
	}
	return out
}

// Stable returns the share of cells that had one value in all power-ups. It falls with their number.
func (c *Chip) Stable() float64 {
	counts := c.Counts()
	if len(c.readings) == 1 {
		return 1
	}
	return float64(counts[0]+counts[len(counts)-1]) / float64(len(c.ones))
}

// Chance returns the share of ones of cell i over the power-ups.
func (c *Chip) Chance(i int) float64 { return float64(c.ones[i]) / float64(len(c.readings)) }

// Majority returns the value that each cell had more often, and that of the first power-up where both came equally often.
func (c *Chip) Majority() []byte {
	out := make([]byte, c.Size())
	for i, k := range c.ones {
		v := packed.Bit(c.readings[0], i)
		if d := 2*int(k) - len(c.readings); d > 0 {
			v = 1
		} else if d < 0 {
			v = 0
		}
		out[i/8] |= v << (7 - i%8)
	}
	return out
}

// Phases returns the share of ones of the cells with each number modulo period, over all power-ups: columns, for the period of a row.
// The period is positive and at most the number of cells.
func (c *Chip) Phases(period int) ([]float64, error) {
	if period < 1 || period > len(c.ones) {
		return nil, &puf.SizeError{What: "period in bits, which", Got: period, Want: len(c.ones)}
	}
	ones, n := make([]float64, period), make([]float64, period)
	for i, k := range c.ones {
		ones[i%period] += float64(k)
		n[i%period] += float64(len(c.readings))
	}
	for i := range ones {
		ones[i] /= n[i]
	}
	return ones, nil
}

// Autocorrelation returns the correlation coefficient of the first power-up's bits with those that come lag bits later, for lags 1 to
// most, at index lag-1. Independent cells stay within some 1/sqrt(bits) of 0. It is nil for a constant reading.
func (c *Chip) Autocorrelation(most int) []float64 {
	b := c.readings[0]
	n := 8 * len(b)
	p := float64(packed.Ones(b)) / float64(n)
	if p == 0 || p == 1 {
		return nil
	}
	w := packed.ToWords(b)
	defer w.Clear()
	out := make([]float64, 0, max(0, min(most, n-1)))
	for lag := 1; lag <= cap(out); lag++ {
		differ := float64(w.Lagged(lag)) / float64(n-lag)
		out = append(out, 1-differ/(2*p*(1-p)))
	}
	return out
}

// NoiseEntropy returns the mean, over the cells, of the min-entropy of a cell's value in one more power-up, -log2 of the share of its
// commoner value: what a random number generator could draw from a power-up. It is too low for few power-ups.
func (c *Chip) NoiseEntropy() float64 {
	sum := 0.0
	for k, cells := range c.Counts() {
		n := len(c.readings)
		if p := float64(max(k, n-k)) / float64(n); p < 1 {
			sum -= float64(cells) * math.Log2(p)
		}
	}
	return sum / float64(len(c.ones))
}
