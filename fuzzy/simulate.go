package fuzzy

import (
	"bytes"
	"fmt"
	"math/rand/v2"

	"github.com/semio-iot/semio/internal/polar"
)

// SimulatedChip is a chip of a cell model after enrolment, for the laboratory: it
// gives readings, and readings that successive cancellation loses, however rare
// they are. It holds its secret in the clear and makes it by a generator that is
// not cryptographic. Not safe for concurrent use.
type SimulatedChip struct {
	p        Params
	m        CellModel
	response []byte
	helper   HelperData
	f        *fields
	message  []byte
	symbols  []symbol
	pass2    int
	place    []int
	code     *polar.Code
	lists    map[int]*polar.ListDecoder
	llr      []int16
}

// NewSimulatedChip draws cells of the model and enrols them as they are. Errors as
// [Enroll].
func NewSimulatedChip(p Params, m CellModel, r *rand.Rand) (*SimulatedChip, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	c := &SimulatedChip{p: p, m: m, response: make([]byte, p.ResponseSize()), lists: map[int]*polar.ListDecoder{}}
	for i := range p.set().cells {
		if r.Float64() < m.Ones {
			setBit(c.response, i, 1)
		}
	}
	fresh := make([]byte, saltSize+p.set().dimension()/8)
	for i := range fresh {
		fresh[i] = byte(r.Uint32())
	}
	c.message = fresh[saltSize:]
	key, helper, err := Enroll(p, bytes.NewReader(fresh), c.response)
	if err != nil {
		return nil, err
	}
	key.Wipe()
	c.helper = helper
	if c.f, err = parse([]byte(helper.raw)); err != nil {
		return nil, err
	}
	for _, y := range c.f.set.symbols(c.f.stride, c.f.mask1, c.f.mask2) {
		c.symbols = append(c.symbols, y)
	}
	c.pass2, _ = c.f.symbolCounts()
	c.place = interleaver(c.f.set.length())
	c.llr = make([]int16, c.f.set.length())
	c.code, err = c.f.set.code()
	return c, err
}

// Helper returns the chip's helper data.
func (c *SimulatedChip) Helper() HelperData { return c.helper }

// Read returns a reading. Cells that no used symbol rests on do not flip.
func (c *SimulatedChip) Read(r *rand.Rand) []byte {
	out := bytes.Clone(c.response)
	c.Redraw(out, 1, r)
	return out
}

// Redraw draws the noise of a share of the cells in use anew, from 0 for none to 1
// for all.
func (c *SimulatedChip) Redraw(reading []byte, share float64, r *rand.Rand) {
	// Whole 32-bit numbers are compared: calls of Float64 for some thousand cells
	// would cost more than decoding.
	whole := func(p float64) uint32 { return uint32(p * (1<<32 - 1)) }
	limits := [2]uint32{whole(c.m.FlipZeros), whole(c.m.FlipOnes)}
	among := whole(share)
	redraw := func(i int) {
		word := r.Uint64()
		if uint32(word>>32) > among {
			return
		}
		value := bit(c.response, i)
		reading[i/8] &^= 0x80 >> (i % 8)
		if uint32(word) < limits[value] {
			value ^= 1
		}
		setBit(reading, i, value)
	}
	for _, y := range c.symbols {
		redraw(y.a)
		redraw(y.b)
		if y.second {
			redraw(y.c)
			redraw(y.d)
		}
	}
}

// Loses says whether a decoder with so many paths, 1 for successive cancellation,
// loses a reading: it alone, where [Reconstruct] tries several. paths is a power of
// two up to 32, or the error is [ErrParams].
func (c *SimulatedChip) Loses(reading []byte, paths int) (bool, error) {
	c.f.votes(c.llr, c.place, reading)
	message, word := make([]byte, len(c.message)), make([]byte, len(c.llr))
	if paths == 1 {
		err := polar.NewDecoder(c.code).Decode(message, word, c.llr)
		return !bytes.Equal(message, c.message), err
	}
	d := c.lists[paths]
	if d == nil {
		var err error
		if d, err = polar.NewListDecoder(c.code, paths); err != nil {
			return false, fmt.Errorf("%w: %w", ErrParams, err)
		}
		c.lists[paths] = d
	}
	if err := d.Decode(c.llr); err != nil {
		return false, err
	}
	for p := range paths {
		if err := d.Path(message, word, p); err != nil {
			return false, err
		}
		if bytes.Equal(message, c.message) {
			return false, nil
		}
	}
	return true, nil
}

// DrawLost draws n readings that successive cancellation loses and calls visit for
// each with its weight. For any property of readings, the probability that a
// reading of this chip is lost and has it is the sum of the weights of those that
// have it, over n, without bias.
//
// The bound on failure is a sum over the positions of the code, and readings with
// an error at a given position can be drawn exactly. So a position is drawn by its
// share of the bound, then a reading; one with k errors comes k times too often and
// has the weight bound / k (Karp and Luby 1983). Rates of any smallness cost the
// same. visit must not keep the reading.
func (c *SimulatedChip) DrawLost(n int, r *rand.Rand, visit func(reading []byte, weight float64) error) error {
	densities, err := positionDensities(len(c.llr), c.pass2, len(c.symbols)-c.pass2, c.m)
	if err != nil {
		return fmt.Errorf("draw lost readings: %w", err)
	}
	ties := c.tiesWrong()
	wrong, err := polar.WrongProbability(densities, func(i int) bool { return ties[i] })
	if err != nil {
		return fmt.Errorf("draw lost readings: %w", err)
	}
	var bound float64
	for i := range wrong {
		if bit(c.f.set.info, i) == 0 {
			wrong[i] = 0
		}
		bound += wrong[i]
	}
	var failed error
	err = polar.Sample(densities, spread(n, wrong, bound, ties, r), r, func(_ int, llr []int16) {
		if failed == nil {
			reading := c.reading(llr)
			failed = visit(reading, bound/float64(c.errors(llr, ties)))
		}
	})
	if err != nil {
		return fmt.Errorf("draw lost readings: %w", err)
	}
	return failed
}

// tiesWrong says of each position of the code whether its bit is 1: then the
// decoder errs when nothing speaks for either value.
func (c *SimulatedChip) tiesWrong() []bool {
	ties := make([]bool, len(c.llr))
	next := 0
	for i := range ties {
		if bit(c.f.set.info, i) == 1 {
			ties[i] = bit(c.message, next) == 1
			next++
		}
	}
	return ties
}

// spread draws positions by their shares of the bound.
func spread(n int, wrong []float64, bound float64, ties []bool, r *rand.Rand) []polar.Draw {
	draws := make([]polar.Draw, len(wrong))
	for i := range draws {
		draws[i].Ties = ties[i]
	}
	for range n {
		goal, last := r.Float64()*bound, 0
		for i, p := range wrong {
			if p == 0 {
				continue
			}
			last = i
			if goal -= p; goal < 0 {
				break
			}
		}
		draws[last].N++
	}
	return draws
}

// reading makes a reading with these votes, by position of the codeword and positive
// for what was enrolled. Each cell of a symbol counts the same.
func (c *SimulatedChip) reading(llr []int16) []byte {
	out := bytes.Clone(c.response)
	for i, y := range c.symbols {
		cells := []int{y.a, y.b}
		if y.second {
			cells = append(cells, y.c, y.d)
		}
		for _, cell := range cells[:len(cells)/2-int(llr[c.place[i]])] {
			out[cell/8] ^= 0x80 >> (cell % 8)
		}
	}
	return out
}

// errors counts the positions that the decoder, knowing all bits before, would
// decide wrongly.
func (c *SimulatedChip) errors(llr []int16, ties []bool) int {
	n := 0
	for i, v := range polar.Genie(llr) {
		if bit(c.f.set.info, i) == 1 && (v < 0 || v == 0 && ties[i]) {
			n++
		}
	}
	return n
}
