package polar

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// ErrDensity says that densities cannot be evolved: a probability outside
// [0, 1], a wrong number of them, or values that the decoder would saturate.
var ErrDensity = errors.New("polar: bad density")

// Density is the distribution of one log-likelihood ratio, counted positive
// when it votes for the bit that was sent: P[i] is the probability of the value
// Low+i, in a unit that the caller chooses.
type Density struct {
	Low int
	P   []float64
	// Lost is an upper bound on the probability that is not in P. Whatever lies
	// there counts as an error in the end.
	Lost float64
}

// trim is the probability that one end of one density may lose at one step. A
// leaf of a code of 8,192 is reached over fewer than 2^14 densities of two ends
// each, so all that is lost stays below 4e-20 a leaf, and it is not forgotten:
// it is added to the bound.
const trim = 1e-24

// slack covers floating-point rounding. All terms are non-negative and none is
// ever subtracted, so a density of 2^n inputs whose sums had at most w terms has
// a relative error of at most 2^n * (w+4) * 2^-53: below 1.5e-8 for n = 13 and
// w = 2^14.
const slack = 1 + 2e-8

// Errors bounds, for each position of u, the probability that the decoder of
// this package, knowing all earlier bits, decides that bit wrongly. The sum over
// the information positions bounds the failure rate of successive cancellation
// (Arıkan 2009, section V.B), for messages of uniform bits.
//
// densities are those of the decoder's inputs, independent of each other, one
// for each position of the codeword; they may differ. unit is what one step of
// them is worth in the decoder's integers. The min-sum rules commute with
// scaling as long as nothing saturates, which Errors checks; so the figures are
// those of the very integers that the decoder computes with. No random numbers,
// no platform-dependent fused multiply-add: every machine gets the same figures.
func Errors(densities []Density, unit int) ([]float64, error) {
	if err := checked(densities, unit); err != nil {
		return nil, err
	}
	return evolve(densities, make([]float64, 0, len(densities))), nil
}

// checked refuses densities that cannot be evolved.
func checked(densities []Density, unit int) error {
	n := len(densities)
	if n < 2 || n > maxLen || n&(n-1) != 0 {
		return fmt.Errorf("%w: %d of them, want a power of two up to %d", ErrDensity, n, maxLen)
	}
	largest := 0
	for i, d := range densities {
		if err := d.valid(); err != nil {
			return fmt.Errorf("position %d: %w", i, err)
		}
		largest = max(largest, -d.Low, d.Low+len(d.P)-1)
	}
	if unit < 1 || largest > limit/(n*unit) {
		return fmt.Errorf("%w: %d values of up to %d units of %d would saturate", ErrDensity, n, largest, unit)
	}
	return nil
}

func (d Density) valid() error {
	total := d.Lost
	for _, p := range d.P {
		if !(p >= 0 && p <= 1) {
			return fmt.Errorf("%w: probability %v", ErrDensity, p)
		}
		total += p
	}
	if len(d.P) == 0 || !(d.Lost >= 0) || math.Abs(total-1) > 1e-9 {
		return fmt.Errorf("%w: probabilities sum to %v", ErrDensity, total)
	}
	if d.Low < -limit || d.Low > limit || len(d.P) > limit {
		return fmt.Errorf("%w: values from %d on, %d of them", ErrDensity, d.Low, len(d.P))
	}
	return nil
}

// evolve follows the decoder's recursion and appends the leaves' errors.
func evolve(in []Density, out []float64) []float64 {
	if len(in) == 1 {
		return append(out, in[0].wrong())
	}
	h := len(in) / 2
	next := make([]Density, h)
	for i := range next {
		next[i] = checkDensity(in[i], in[i+h])
	}
	out = evolve(next, out)
	for i := range next {
		next[i] = addDensity(in[i], in[i+h])
	}
	return evolve(next, out)
}

// at returns the probability of value v.
func (d Density) at(v int) float64 {
	if v < d.Low || v-d.Low >= len(d.P) {
		return 0
	}
	return d.P[v-d.Low]
}

// wrong bounds the probability of a wrong decision. The decoder takes 0 for a
// tie, whatever was sent, and the message bit is uniform and independent of
// the noise: half the ties are wrong.
func (d Density) wrong() float64 {
	e := d.Lost
	for v := d.Low; v < 0 && v-d.Low < len(d.P); v++ {
		e += d.P[v-d.Low]
	}
	e += d.at(0) / 2
	return min(1, float64(e*slack))
}

// The conversions to float64 around products below are not idle: they forbid
// the compiler to fuse multiplication and addition (Go specification,
// "Floating-point operators"), which it does on some platforms only.

// checkDensity is the density of check(a, b). It sums products, and takes no
// differences of cumulative sums, so that small probabilities keep their digits.
func checkDensity(a, b Density) Density {
	m := min(max(-a.Low, a.Low+len(a.P)-1), max(-b.Low, b.Low+len(b.P)-1))
	d := Density{Low: -m, P: make([]float64, 2*m+1), Lost: a.Lost + b.Lost}
	// Probability above v and below -v, for v falling from the largest.
	aUp, aDown := a.tails(m)
	bUp, bDown := b.tails(m)
	for v := m; v > 0; v-- {
		ap, an, bp, bn := a.at(v), a.at(-v), b.at(v), b.at(-v)
		d.P[m+v] = float64(ap*(bUp+bp)) + float64(aUp*bp) + float64(an*(bDown+bn)) + float64(aDown*bn)
		d.P[m-v] = float64(ap*(bDown+bn)) + float64(aUp*bn) + float64(an*(bUp+bp)) + float64(aDown*bp)
		aUp, aDown, bUp, bDown = aUp+ap, aDown+an, bUp+bp, bDown+bn
	}
	d.P[m] = float64(a.at(0)*(b.at(0)+bUp+bDown)) + float64((aUp+aDown)*b.at(0))
	return d.trimmed()
}

// tails returns the probability above m and below -m.
func (d Density) tails(m int) (up, down float64) {
	for i := len(d.P) - 1; i >= 0 && d.Low+i > m; i-- {
		up += d.P[i]
	}
	for i := 0; i < len(d.P) && d.Low+i < -m; i++ {
		down += d.P[i]
	}
	return up, down
}

// addDensity is the density of a + b.
func addDensity(a, b Density) Density {
	d := Density{Low: a.Low + b.Low, P: make([]float64, len(a.P)+len(b.P)-1), Lost: a.Lost + b.Lost}
	for i, p := range a.P {
		row := d.P[i : i+len(b.P)]
		for j, q := range b.P {
			row[j] += float64(p * q)
		}
	}
	return d.trimmed()
}

// trimmed moves up to trim of probability from each end to Lost.
func (d Density) trimmed() Density {
	var lost float64
	for len(d.P) > 1 && lost+d.P[0] <= trim {
		lost += d.P[0]
		d.P = d.P[1:]
		d.Low++
	}
	d.Lost += lost
	lost = 0
	for len(d.P) > 1 && lost+d.P[len(d.P)-1] <= trim {
		lost += d.P[len(d.P)-1]
		d.P = d.P[:len(d.P)-1]
	}
	d.Lost += lost
	return d
}

// Select returns the k positions of least error as a set that [New] takes; of
// equal errors the larger index is better. k is from 1 to len(errs), and
// len(errs) a multiple of 8; anything else is [ErrCode].
func Select(errs []float64, k int) ([]byte, error) {
	if k < 1 || k > len(errs) || len(errs)%8 != 0 {
		return nil, fmt.Errorf("%w: %d of %d positions", ErrCode, k, len(errs))
	}
	order := make([]int, len(errs))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		if errs[i] != errs[j] {
			if errs[i] < errs[j] {
				return -1
			}
			return 1
		}
		return j - i
	})
	info := make([]byte, len(errs)/8)
	for _, i := range order[:k] {
		info[i/8] |= 0x80 >> (i % 8)
	}
	return info, nil
}

// Bound adds up the errors of the information positions of c: an upper bound on
// the probability that [Decoder.Decode] gives a wrong message. errs comes from
// [Errors] and has Len() entries, or the result is [ErrLength].
func (c *Code) Bound(errs []float64) (float64, error) {
	if len(errs) != c.n {
		return 0, fmt.Errorf("bound: %w: %d errors, want %d", ErrLength, len(errs), c.n)
	}
	var sum float64
	for i, e := range errs {
		if c.information(i) {
			sum += e
		}
	}
	return min(1, float64(sum*slack)), nil
}
