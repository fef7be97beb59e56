package fuzzy

import (
	"fmt"
	"math"

	"github.com/semio-iot/semio/internal/polar"
)

// CellModel is the model of SRAM under which bounds are computed: cells are
// independent; each is 1 at enrolment with probability Ones, and differs in a
// later reading with FlipOnes if it was 1 and FlipZeros if it was 0.
type CellModel struct {
	Ones, FlipOnes, FlipZeros float64
}

// Balanced is the cell model with a share of ones and a rate of bit errors in
// which as many ones turn to zeros as zeros to ones, so that the share stays. At
// 80 % ones and 10 % errors one zero in four is wrong.
func Balanced(ones, rate float64) CellModel {
	return CellModel{Ones: ones, FlipOnes: rate / (2 * ones), FlipZeros: rate / (2 * (1 - ones))}
}

func (m CellModel) check() error {
	ok := m.Ones > 0 && m.Ones < 1 && m.FlipOnes >= 0 && m.FlipOnes <= 1 && m.FlipZeros >= 0 && m.FlipZeros <= 1
	if !ok {
		return fmt.Errorf("%w: no such cells: %+v", ErrParams, m)
	}
	return nil
}

// Bound is what a cell model means for a parameter set.
type Bound struct {
	Pass2, Pass1 int     // symbols in use on a chip with the expected numbers of each
	Failure      float64 // bound on the failure of one reconstruction of such a chip
	Refused      float64 // share of chips with too few symbols, which Enroll refuses
	Left         float64 // bits left of the secret of such a chip, at the profile's symbol entropy
}

// Bound computes what the cells of m mean for p. Failure is an upper bound for
// the very decoder of [Reconstruct], by density evolution over its integers,
// position by position; it takes some milliseconds. It bounds chance in the
// reading, not the chance that the model is wrong.
func (p Params) Bound(m CellModel) (Bound, error) {
	if err := p.check(); err != nil {
		return Bound{}, fmt.Errorf("bound: %w", err)
	}
	if err := m.check(); err != nil {
		return Bound{}, fmt.Errorf("bound: %w", err)
	}
	unequal, differ := m.selected()
	pairs, n := float64(p.set().pairs()), p.set().length()
	b := Bound{Pass2: min(n, int(math.Round(pairs*(1-unequal)/2*differ)))}
	b.Pass1 = min(n-b.Pass2, int(math.Round(pairs*unequal)))
	b.Left = p.left(b.Pass1 + b.Pass2)
	b.Refused = p.set().refused(unequal, differ)
	var err error
	b.Failure, err = p.BoundFor(b.Pass2, b.Pass1, m)
	return b, err
}

// BoundFor bounds the failure of one reconstruction of a chip whose codeword has
// the given numbers of symbols, see [HelperData.Symbols]. The model's share of
// ones does not enter.
func (p Params) BoundFor(pass2, pass1 int, m CellModel) (float64, error) {
	if err := p.check(); err != nil {
		return 0, fmt.Errorf("bound: %w", err)
	}
	errs, err := positionErrors(p.set().length(), pass2, pass1, m)
	if err != nil {
		return 0, err
	}
	code, err := p.set().code()
	if err != nil {
		return 0, fmt.Errorf("bound: %w", err)
	}
	return code.Bound(errs)
}

// selected returns the probability that a pair's cells are unequal, and that two
// equal pairs differ.
func (m CellModel) selected() (unequal, differ float64) {
	q := m.Ones
	unequal = 2 * q * (1 - q)
	both := q * q / (1 - unequal)
	return unequal, 2 * both * (1 - both)
}

// positionErrors bounds the genie-aided error of each input of the transform.
func positionErrors(n, pass2, pass1 int, m CellModel) ([]float64, error) {
	densities, err := positionDensities(n, pass2, pass1, m)
	if err != nil {
		return nil, fmt.Errorf("bound: %w", err)
	}
	errs, err := polar.Errors(densities, 1)
	if err != nil {
		return nil, fmt.Errorf("bound: %w", err)
	}
	return errs, nil
}

// positionDensities returns the density of the vote at each position of the codeword.
func positionDensities(n, pass2, pass1 int, m CellModel) ([]polar.Density, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	if pass2 < 0 || pass1 < 0 || pass2 > n || pass1 > n-pass2 {
		return nil, fmt.Errorf("%w: %d and %d symbols in a code of %d", ErrParams, pass2, pass1, n)
	}
	first, second := m.votes()
	densities := make([]polar.Density, n)
	for i, at := range interleaver(n) {
		switch {
		case i < pass2:
			densities[at] = second
		case i < pass2+pass1:
			densities[at] = first
		default:
			densities[at] = polar.Density{P: []float64{1}}
		}
	}
	return densities, nil
}

// votes returns the densities of the votes of pass 1 and pass 2, positive
// for the enrolled symbol. Both are the same for symbols 0 and 1,
// whatever the flip rates: each symbol rests on as many ones as zeros. The
// conversions keep platforms from fusing, as in polar's densities.
func (m CellModel) votes() (first, second polar.Density) {
	one := [2]float64{1 - m.FlipOnes, m.FlipOnes} // by number of flips
	zero := [2]float64{1 - m.FlipZeros, m.FlipZeros}
	first = polar.Density{Low: -1, P: make([]float64, 3)}
	for i, a := range one {
		for j, b := range zero {
			first.P[2-i-j] += float64(a * b)
		}
	}
	// Two pairs in pass 2: the sum of two votes of pass 1.
	second = polar.Density{Low: -2, P: make([]float64, 5)}
	for i, a := range first.P {
		for j, b := range first.P {
			second.P[i+j] += float64(a * b)
		}
	}
	return first, second
}

// refused returns the probability of fewer symbols than the set asks for. Given
// the number of unequal pairs both counts are binomial.
func (s *set) refused(unequal, differ float64) float64 {
	var sum float64
	for first := range s.minUsed {
		p := binomial(s.pairs(), first, unequal)
		if p < 1e-18 {
			sum += p // not worth the second sum
			continue
		}
		quads := (s.pairs() - first) / 2
		var below float64
		for second := 0; second < s.minUsed-first && second <= quads; second++ {
			below += binomial(quads, second, differ)
		}
		sum += p * below
	}
	return min(sum, 1)
}

// binomial returns the probability of k successes in n trials, 0 < p < 1.
func binomial(n, k int, p float64) float64 {
	lg := func(x int) float64 {
		v, _ := math.Lgamma(float64(x + 1))
		return v
	}
	return math.Exp(lg(n) - lg(k) - lg(n-k) + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
}
