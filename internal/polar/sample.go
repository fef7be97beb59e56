package polar

import (
	"fmt"
	"math/rand/v2"
)

// Genie returns the values on which the decoder of this package would decide each
// bit of u, knowing all earlier ones, for llr counted positive for the codeword
// sent: the values whose densities [Errors] evolves. llr is used up.
func Genie(llr []int16) []int16 {
	out := make([]int16, 0, len(llr))
	return genie(llr, make([]int16, len(llr)), out)
}

func genie(llr, free, out []int16) []int16 {
	if len(llr) == 1 {
		return append(out, llr[0])
	}
	h := len(llr) / 2
	for i := range h {
		free[i] = check(llr[i], llr[i+h])
	}
	out = genie(free[:h], free[h:], out)
	for i := range h {
		free[i] = add(llr[i], llr[i+h], 0)
	}
	return genie(free[:h], free[h:], out)
}

// Draw names how many inputs are wanted that decide one position of u wrongly, and
// whether a tie does: it does when the bit is 1.
type Draw struct {
	N    int
	Ties bool
}

// step is one level of the tree on the way to a leaf.
type step struct {
	in   []Density
	plus bool // the second half: sums, not checks
}

// WrongProbability returns, for each position, the probability of what Draw asks
// for: a value below 0, or also of 0 where ties says so. Errors as [Errors].
func WrongProbability(densities []Density, ties func(position int) bool) ([]float64, error) {
	out := make([]float64, 0, len(densities))
	err := walk(densities, func(position int, _ []step, leaf Density) {
		p := 0.0
		for v := leaf.Low; v < 0 && v-leaf.Low < len(leaf.P); v++ {
			p += leaf.P[v-leaf.Low]
		}
		if ties(position) {
			p += leaf.at(0)
		}
		out = append(out, p)
	})
	return out, err
}

// Sample draws the decoder's inputs from their densities, conditional on a wrong
// decision at a given position of u: exactly, save what [Errors] counts as lost.
// A genie-aided decision is a function of independent inputs on a tree, so its
// value is drawn first and then, node by node back to the inputs, the two values
// that make each one. Rare errors cost no more than frequent ones.
//
// It draws what draws asks for, one for each position, and calls emit for each
// input drawn, in the unit of the densities and in rising order of positions.
// emit must not keep the slice. Errors as [Errors], and [ErrLength].
func Sample(densities []Density, draws []Draw, r *rand.Rand, emit func(position int, llr []int16)) error {
	if len(draws) != len(densities) {
		return fmt.Errorf("sample: %w: %d draws, want %d", ErrLength, len(draws), len(densities))
	}
	return walk(densities, func(position int, path []step, leaf Density) {
		d := draws[position]
		for range d.N {
			v, ok := drawWrong(leaf, d.Ties, r)
			if !ok {
				return
			}
			values := []int{v}
			for k := len(path) - 1; k >= 0; k-- {
				values = path[k].back(values, r)
			}
			llr := make([]int16, len(values))
			for i, v := range values {
				llr[i] = int16(v)
			}
			emit(position, llr)
		}
	})
}

// walk visits the leaves with the levels above each.
func walk(densities []Density, visit func(position int, path []step, leaf Density)) error {
	if err := checked(densities, 1); err != nil {
		return err
	}
	position := 0
	var path []step
	var down func(in []Density)
	down = func(in []Density) {
		if len(in) == 1 {
			visit(position, path, in[0])
			position++
			return
		}
		h := len(in) / 2
		for _, plus := range []bool{false, true} {
			next := make([]Density, h)
			for i := range next {
				if plus {
					next[i] = addDensity(in[i], in[i+h])
				} else {
					next[i] = checkDensity(in[i], in[i+h])
				}
			}
			path = append(path, step{in: in, plus: plus})
			down(next)
			path = path[:len(path)-1]
		}
	}
	down(densities)
	return nil
}

// drawWrong draws a value below 0, or up to 0 with ties; false when there is none.
func drawWrong(d Density, ties bool, r *rand.Rand) (int, bool) {
	last := -1
	if ties {
		last = 0
	}
	var total float64
	for v := d.Low; v <= last && v-d.Low < len(d.P); v++ {
		total += d.P[v-d.Low]
	}
	if total <= 0 {
		return 0, false
	}
	goal := r.Float64() * total
	v := d.Low
	for ; v < last && v-d.Low+1 < len(d.P); v++ {
		if goal -= d.P[v-d.Low]; goal < 0 {
			break
		}
	}
	return v, true
}

// back draws the values of a level from those of the one below.
func (s step) back(below []int, r *rand.Rand) []int {
	h := len(below)
	out := make([]int, 2*h)
	for i, v := range below {
		if s.plus {
			out[i], out[i+h] = drawSum(s.in[i], s.in[i+h], v, r)
		} else {
			out[i], out[i+h] = drawCheck(s.in[i], s.in[i+h], v, r)
		}
	}
	return out
}

// drawSum draws a and b given a + b = v.
func drawSum(a, b Density, v int, r *rand.Rand) (int, int) {
	from := max(a.Low, v-(b.Low+len(b.P)-1))
	to := min(a.Low+len(a.P)-1, v-b.Low)
	var total float64
	for x := from; x <= to; x++ {
		total += a.P[x-a.Low] * b.P[v-x-b.Low]
	}
	goal := r.Float64() * total
	x := from
	for ; x < to; x++ {
		if goal -= a.P[x-a.Low] * b.P[v-x-b.Low]; goal < 0 {
			break
		}
	}
	return x, v - x
}

// drawCheck draws a and b given check(a, b) = v. At least one of them has the size
// of v; so first come those whose a has, then those of larger a whose b has.
func drawCheck(a, b Density, v int, r *rand.Rand) (int, int) {
	size, sign := max(v, -v), 1
	if v < 0 {
		sign = -1
	}
	// visit calls use with every pair and its probability, until it says stop.
	visit := func(use func(x, y int, p float64) bool) {
		for _, sx := range signs(size) {
			x := sx * size
			px := a.at(x)
			if px > 0 {
				for y := b.Low; y < b.Low+len(b.P); y++ {
					if max(y, -y) < size || size > 0 && (y > 0) != (sx*sign > 0) {
						continue
					}
					if use(x, y, px*b.P[y-b.Low]) {
						return
					}
				}
			}
			y := sx * size
			py := b.at(y)
			if py > 0 {
				for x := a.Low; x < a.Low+len(a.P); x++ {
					if max(x, -x) <= size || size > 0 && (x > 0) != (sx*sign > 0) {
						continue
					}
					if use(x, y, py*a.P[x-a.Low]) {
						return
					}
				}
			}
		}
	}
	var total float64
	visit(func(_, _ int, p float64) bool {
		total += p
		return false
	})
	goal := r.Float64() * total
	var x, y int
	visit(func(i, j int, p float64) bool {
		if p > 0 {
			x, y = i, j
		}
		goal -= p
		return goal < 0
	})
	return x, y
}

// signs of values of a size: 0 has one.
func signs(size int) []int {
	if size == 0 {
		return []int{1}
	}
	return []int{1, -1}
}
