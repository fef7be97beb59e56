package fuzzy

import (
	"crypto/subtle"
	"fmt"
	"math"
	"slices"
)

// longestPattern is the longest repeated pattern, in bytes, that Reconstruct
// calls a constant response. It only makes a broken source easy to recognise;
// longer ones fail as any wrong response does.
const longestPattern = 16

// Report tells how close a reconstruction was. It exists only after the tag was
// verified; log it, so that ageing is seen before it hurts. Of the reading it
// tells counts alone.
type Report struct {
	Used      int // symbols in the codeword
	Erased    int // used symbols of which the reading said nothing
	Corrected int // used symbols that the reading had wrong
	Cells     int // cells behind the used symbols
	Errors    int // of those, cells that differ from enrolment
	// Rated is the share of differing cells, without preference for ones or
	// zeros, up to which the bound on failure is below 1e-9: see Rating.
	Rated float64
	// List is the number of paths of the decoder that found the key: 1 for
	// successive cancellation, which at the rated noise fails less than once in
	// 1e9; 8 or 32 say that a reading was far beyond it.
	List int
}

// ErrorRate returns the share of cells that have drifted from enrolment: the bit
// error rate of the reading, estimated over the cells in use.
func (r Report) ErrorRate() float64 {
	if r.Cells == 0 {
		return 0
	}
	return float64(r.Errors) / float64(r.Cells)
}

// Margin returns how much of the rated error rate is left: 1 for a reading equal
// to enrolment, 0 at the rated figure, negative beyond it.
func (r Report) Margin() float64 {
	if r.Rated == 0 {
		return 0
	}
	return 1 - r.ErrorRate()/r.Rated
}

// Reconstruct finds the root key of a chip again from a fresh reading of the
// region that was enrolled and its helper data, which says the parameter set and
// the stride. It does not keep or change the response; the caller clears that and
// wipes the key.
//
// Successive cancellation comes first. When its result does not give the tag, a list
// of 8 paths follows, then one of 32, about ten and a hundred times the work; the
// tags of all paths are checked. So a reading that fits takes a fraction of a
// millisecond, and one that does not takes all that is done.
//
// Errors: [ErrHelperMalformed] for the zero HelperData, [ErrResponseSize],
// [ErrResponseConstant], [ErrHelperRefused], and [ErrReconstruct] for everything
// that depends on the chip. The report is the zero value with an error.
func Reconstruct(response []byte, helper HelperData) (*RootKey, Report, error) {
	return ReconstructUpTo(math.MaxInt, response, helper)
}

// ReconstructUpTo is [Reconstruct] with no decoder of more than so many paths, for
// devices that cannot spare its memory (about 5 bytes for each path and bit of the
// code) or its time: 1 is successive cancellation alone, and then come lists of 8
// and of 32. Less than 1 is [ErrParams].
func ReconstructUpTo(paths int, response []byte, helper HelperData) (*RootKey, Report, error) {
	if paths < 1 {
		return nil, Report{}, fmt.Errorf("reconstruct: %w: decoder of %d paths, want 1, 8 or 32", ErrParams, paths)
	}
	f, err := parse([]byte(helper.raw))
	if err != nil {
		return nil, Report{}, fmt.Errorf("reconstruct: %w", err)
	}
	f.set.lists = slices.DeleteFunc(f.set.lists, func(size int) bool { return size > paths })
	key, report, err := f.reconstruct(response)
	if err != nil {
		return nil, Report{}, fmt.Errorf("reconstruct: %w", err)
	}
	return key, report, nil
}

func (f *fields) reconstruct(response []byte) (*RootKey, Report, error) {
	if used := f.used(); used < f.set.minUsed {
		return nil, Report{}, fmt.Errorf("%w: %d, want at least %d", ErrHelperRefused, used, f.set.minUsed)
	}
	if want := f.set.cells / 8; len(response) != want {
		return nil, Report{}, fmt.Errorf("%w: %d bytes, want %d", ErrResponseSize, len(response), want)
	}
	if repeats(response, longestPattern) {
		return nil, Report{}, ErrResponseConstant
	}
	code, err := f.set.code()
	if err != nil {
		return nil, Report{}, err
	}
	place := interleaver(code.Len())
	llr := make([]int16, code.Len())
	defer clear(llr)
	erased := f.votes(llr, place, response)

	// Helper data may select pairs that its maker knows to be equal: they tell
	// nothing, and with few others left he could guess the key. The answer is a
	// fact about the chip, so it must look as a wrong tag does: the votes are
	// erased before decoding, and the same steps follow.
	enough := subtle.ConstantTimeLessOrEq(f.set.minKept*f.used(), 100*(f.used()-erased))
	for i := range llr {
		llr[i] &= int16(-enough)
	}
	c := newCandidate(f, code)
	defer c.wipe()
	// Which decoder was needed is told by time, and by the report; nothing else is.
	stages := append([]int{1}, f.set.lists...)
	for _, size := range stages {
		if err := c.decode(llr, size); err != nil {
			return nil, Report{}, err
		}
		if enough&c.found == 1 {
			key, err := makeRootKey(c.prk)
			if err != nil {
				return nil, Report{}, err
			}
			report := f.report(response, c.codeword, place, erased)
			report.List = size
			return key, report, nil
		}
	}
	return nil, Report{}, ErrReconstruct
}

// votes fills llr, indexed by position in the codeword, and returns how many of
// the used symbols are erased. Positive votes for 0.
func (f *fields) votes(llr []int16, place []int, response []byte) (erased int) {
	for i, y := range f.set.symbols(f.stride, f.mask1, f.mask2) {
		v := -y.vote(response)
		flip := -int16(bit(f.w, i))
		llr[place[i]] = (v ^ flip) - flip
		erased += 1 - int(uint16(v|-v)>>15)
	}
	return erased
}

func (f *fields) report(response, codeword []byte, place []int, erased int) Report {
	r := Report{Used: f.used(), Erased: erased, Rated: f.set.rating.ErrorRate}
	for i, y := range f.set.symbols(f.stride, f.mask1, f.mask2) {
		value := codeword[place[i]] ^ bit(f.w, i)
		wrong, cells := y.errors(response, value)
		r.Cells += cells
		r.Errors += wrong
		// Wrong is a vote for the other value: more cells against than for.
		r.Corrected += (cells/2 - wrong) >> 31 & 1
	}
	return r
}
