package pufstat

import (
	"errors"
	"fmt"
	"math"
	"math/bits"

	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/internal/packed"
)

// Symbol is one of a debiased response.
type Symbol struct {
	Value  byte // 0 or 1
	Pass   int  // 1 or 2
	First  int  // first cell of the pair; in pass 2 of the first pair
	Second int  // in pass 2 the first cell of the second pair
}

// Symbols debiases a response as docs/fuzzy.md says, in two passes of von Neumann pairs of cells stride apart: it returns the symbols,
// those of pass 2 first. The number of cells must be a multiple of twice the stride.
func Symbols(response []byte, stride int) ([]Symbol, error) {
	n := 8 * len(response)
	if stride < 1 || n == 0 || stride > n/2 || n%(2*stride) != 0 {
		return nil, fmt.Errorf("pufstat: %d cells do not fall into pairs %d apart", n, stride)
	}
	var first, second []Symbol
	open := -1 // first cell of an equal pair that waits for another
	for block := 0; block < n; block += 2 * stride {
		for a := block; a < block+stride; a++ {
			v := packed.Bit(response, a)
			switch {
			case v != packed.Bit(response, a+stride):
				first = append(first, Symbol{Value: v, Pass: 1, First: a})
			case open < 0:
				open = a
			default:
				if w := packed.Bit(response, open); v != w {
					second = append(second, Symbol{Value: w, Pass: 2, First: open, Second: a})
				}
				open = -1
			}
		}
	}
	return append(second, first...), nil
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
		var symbols []Symbol
		var per []int // symbols of each window
		for _, w := range windows(c.Size(), window) {
			x, err := Symbols(c.readings[0][w[0]:w[1]], stride)
			if err != nil {
				return s, err
			}
			counts = append(counts, float64(len(x)))
			symbols, per = append(symbols, x...), append(per, len(x))
		}
		sum := 0
		for _, x := range symbols {
			sum += int(x.Value)
		}
		ones = append(ones, float64(sum)/float64(max(1, len(symbols))))
		estimates := c.symbolEstimates(symbols, per, window, stride)
		if n == 0 {
			s.Worst = estimates
		}
		for i, e := range estimates {
			if e.N > 0 && (e.Lower < s.Worst[i].Lower || s.Worst[i].N == 0) {
				s.Worst[i] = e
			}
		}
		if low := Lowest(estimates...).Lower; n == 0 || low < s.Entropy {
			s.Entropy, s.Chip = low, n
		}
	}
	s.Symbols, s.Ones = Summarize(counts), Summarize(ones)
	return s, nil
}

// symbolEstimates applies every estimate to the symbols of c's windows, per of each.
func (c *Chip) symbolEstimates(symbols []Symbol, per []int, window, stride int) []Estimate {
	values, at := make([]byte, len(symbols)), make([]int, len(symbols))
	for i, s := range symbols {
		values[i], at[i] = s.Value, s.First
	}
	out := []Estimate{MostCommonValue(values), Markov(values)}
	add := func(name string, e Estimate) { e.Name = name; out = append(out, e) }
	add("4 symbols before", Context(values, 1, 2, 3, 4))
	add("8 symbols before", Context(values, 1, 2, 3, 4, 5, 6, 7, 8))
	for _, period := range []int{64, 512} {
		for i, s := range symbols {
			at[i] = 2*(s.First%period) + s.Pass - 1
		}
		add(fmt.Sprintf("place in %d cells and pass", period), Position(values, at, 2*period))
	}
	for _, period := range []int{64, 512, 1024} {
		add(fmt.Sprintf("columns of %d cells", period), c.columnsEstimate(symbols, per, window, stride, period))
	}
	return out
}

// columnsEstimate is of the guesser who knows how much each column of a row of period cells leans to 1, from the chip's other windows, and
// which cells a symbol comes from. Of a single window there is nothing to learn from.
func (c *Chip) columnsEstimate(symbols []Symbol, per []int, window, stride, period int) Estimate {
	const name = "columns"
	cells := 8 * window
	if len(per) < 2 || cells%period != 0 {
		return Estimate{Name: name}
	}
	all := make([]int, period)
	of := func(w int) []int {
		ones := make([]int, period)
		for i := range cells {
			ones[i%period] += int(packed.Bit(c.readings[0][w*window:], i))
		}
		return ones
	}
	own := make([][]int, len(per))
	for w := range per {
		own[w] = of(w)
		for j, n := range own[w] {
			all[j] += n
		}
	}
	others := float64(cells / period * (len(per) - 1))
	lean := make([]float64, period) // log odds of a 1
	right, next := 0, 0
	for w, n := range per {
		for j := range lean {
			ones := float64(all[j] - own[w][j])
			lean[j] = math.Log((ones + 0.5) / (others - ones + 0.5))
		}
		for _, s := range symbols[next : next+n] {
			odds := lean[s.First%period] - lean[(s.First+stride)%period]
			if s.Pass == 2 {
				odds = lean[s.First%period] + lean[(s.First+stride)%period] - lean[s.Second%period] - lean[(s.Second+stride)%period]
			}
			if (odds >= 0) == (s.Value == 1) {
				right++
			}
		}
		next += n
	}
	return bounded(name, right, next)
}
