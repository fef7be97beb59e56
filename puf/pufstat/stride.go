package pufstat

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/internal/packed"
)

// Symbols debiases a response as docs/fuzzy.md says, in two passes of von Neumann pairs of cells stride apart: it returns the symbols,
// one a byte, those of pass 2 first, and the first cell of each. The number of cells must be a multiple of twice the stride.
func Symbols(response []byte, stride int) (symbols []byte, cells []int, err error) {
	n := 8 * len(response)
	if stride < 1 || n == 0 || stride > n/2 || n%(2*stride) != 0 {
		return nil, nil, fmt.Errorf("pufstat: %d cells do not fall into pairs %d apart", n, stride)
	}
	var first []byte // pass 1
	var at []int
	open := -1 // first cell of an equal pair that waits for another
	for block := 0; block < n; block += 2 * stride {
		for a := block; a < block+stride; a++ {
			v := packed.Bit(response, a)
			switch {
			case v != packed.Bit(response, a+stride):
				first, at = append(first, v), append(at, a)
			case open < 0:
				open = a
			default:
				if w := packed.Bit(response, open); v != w {
					symbols, cells = append(symbols, w), append(cells, open)
				}
				open = -1
			}
		}
	}
	return append(symbols, first...), append(cells, at...), nil
}

// Stride is what debiasing gives at one pairing stride.
type Stride struct {
	Stride  int        `json:"stride"`
	Symbols Summary    `json:"symbols"` // in a window
	Ones    Summary    `json:"ones"`    // share of ones of the symbols, chip by chip
	Worst   []Estimate `json:"worst"`   // each estimate, of the chip on which it is lowest
	Entropy float64    `json:"entropy"` // bits a symbol by the lowest of them: a claim for the device profile stays below
	Chip    int        `json:"chip"`    // the chip of that estimate
}

// StridesOf lists the pairing strides that windows of that many bytes, a power of two, have.
func StridesOf(window int) ([]int, error) {
	if window < 1 || bits.OnesCount(uint(window)) != 1 {
		return nil, fmt.Errorf("pufstat: window of %d bytes, want a power of two", window)
	}
	var out []int
	for stride := 1; stride <= 8*window/2; stride *= 2 {
		out = append(out, stride)
	}
	return out, nil
}

// Strides tries every pairing stride of windows of that many bytes, see [AtStride].
func Strides(chips []*Chip, window int) ([]Stride, error) {
	strides, err := StridesOf(window)
	if err != nil {
		return nil, err
	}
	out := make([]Stride, len(strides))
	for i, n := range strides {
		if out[i], err = AtStride(chips, window, n); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// AtStride debiases each window of the first power-up of each chip at a pairing stride.
func AtStride(chips []*Chip, window, stride int) (Stride, error) {
	s := Stride{Stride: stride}
	if len(chips) == 0 {
		return s, errors.New("pufstat: no chip to try a stride on")
	}
	var counts, ones []float64
	for n, c := range chips {
		if window > c.Size() {
			return s, &puf.SizeError{What: fmt.Sprintf("reading of chip %d", n+1), Got: c.Size(), Want: window}
		}
		var symbols []byte
		var cells []int
		for _, w := range windows(c.Size(), window) {
			x, at, err := Symbols(c.readings[0][w[0]:w[1]], stride)
			if err != nil {
				return s, err
			}
			counts = append(counts, float64(len(x)))
			symbols, cells = append(symbols, x...), append(cells, at...)
		}
		sum := 0
		for _, x := range symbols {
			sum += int(x)
		}
		ones = append(ones, float64(sum)/float64(max(1, len(symbols))))
		for i, e := range SymbolEstimates(symbols, cells) {
			if n == 0 {
				s.Worst = append(s.Worst, e)
			} else if e.Lower < s.Worst[i].Lower {
				s.Worst[i] = e
			}
			if low := Lowest(s.Worst...); n == 0 && i == 0 || low.Lower < s.Entropy {
				s.Entropy, s.Chip = low.Lower, n
			}
		}
	}
	s.Symbols, s.Ones = Summarize(counts), Summarize(ones)
	return s, nil
}

// SymbolEstimates applies every estimate to debiased symbols and their cells.
func SymbolEstimates(symbols []byte, cells []int) []Estimate {
	out := []Estimate{MostCommonValue(symbols), Markov(symbols)}
	name := func(e Estimate, s string) { e.Name = s; out = append(out, e) }
	name(Context(symbols, 1, 2, 3, 4), "context: 4 symbols before")
	name(Context(symbols, 1, 2, 3, 4, 5, 6, 7, 8), "context: 8 symbols before")
	for _, period := range []int{8, 32, 64, 128, 256, 512, 1024} {
		name(Position(symbols, cells, period), fmt.Sprintf("position in %d cells", period))
	}
	return out
}
