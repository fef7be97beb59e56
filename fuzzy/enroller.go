package fuzzy

import (
	"fmt"
	"io"
	"math"
	"math/bits"
	"sync"
)

// sameChip is the correlation of two pass-1 masks from which on they are of one
// region of one chip. Independent masks of 2,048 pairs and more stay within 0.02 or
// so (0.2 is nine standard deviations); readings with one bit in four wrong have
// 0.25, with 6 % of them 0.77.
const sameChip = 0.2

// Enroller enrols chip after chip, on a production line for example, and refuses a
// region that was enrolled before: by itself, or by whoever made the helper data it
// was told of. It compares masks, which are public and belong to the chip, whatever
// the salt, the stride and the noise were. Load the helper data of all devices that
// may come back (repair, re-test) with [Enroller.Remember].
//
// It takes a mask's size of memory for each, and some 20 ns a comparison and
// kilobyte of SRAM. A region that overlaps another, moved by some bytes, is not
// found. Safe for concurrent use. The zero value is not ready: [NewEnroller].
type Enroller struct {
	p     Params
	mu    sync.Mutex // guards known, from the comparison to the entry
	known map[view][]string
}

// view is how helper data looks at a chip: masks are comparable within one.
type view struct {
	cells, stride int
}

// NewEnroller returns an Enroller for p. Error: [ErrParams].
func NewEnroller(p Params) (*Enroller, error) {
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("new enroller: %w", err)
	}
	return &Enroller{p: p, known: map[view][]string{}}, nil
}

// Remember makes the chip of helper data one that is not to be enrolled again. The
// set and stride may be others than the Enroller's. Error: [ErrHelperMalformed] for
// the zero value.
func (e *Enroller) Remember(helper HelperData) error {
	f, err := parse([]byte(helper.raw))
	if err != nil {
		return fmt.Errorf("remember: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.add(f)
	return nil
}

func (e *Enroller) add(f *fields) {
	v := view{f.set.cells, f.stride}
	e.known[v] = append(e.known[v], string(f.mask1))
}

// Enroll is [Enroll] with the Enroller's parameters, save that a region known to it
// is [ErrEnrolled]; one that it enrols is known to it from then on.
func (e *Enroller) Enroll(random io.Reader, response []byte, further ...[]byte) (*RootKey, HelperData, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(response) == e.p.ResponseSize() && e.knows(response) {
		return nil, HelperData{}, fmt.Errorf("enroll: %w", ErrEnrolled)
	}
	key, helper, err := Enroll(e.p, random, response, further...)
	if err != nil {
		return nil, HelperData{}, err
	}
	f, err := parse([]byte(helper.raw))
	if err != nil {
		key.Wipe()
		return nil, HelperData{}, fmt.Errorf("enroll: %w", err)
	}
	e.add(f)
	return key, helper, nil
}

func (e *Enroller) knows(response []byte) bool {
	for v, masks := range e.known {
		if v.cells != 8*len(response) {
			continue
		}
		own, _ := e.p.set().masks(v.stride, response)
		for _, m := range masks {
			if correlation(own, m) >= sameChip {
				return true
			}
		}
	}
	return false
}

// MadeFrom says whether helper data was made from the region of the chip of which
// response is a reading, by the mask alone: also when the rest of it was lost or
// changed, and too noisy to reconstruct. It says so of no chip without reason, see
// [Enroller]; false for a response of another size and for the zero value.
func (h HelperData) MadeFrom(response []byte) bool {
	f, err := parse([]byte(h.raw))
	if err != nil || 8*len(response) != f.set.cells {
		return false
	}
	own, _ := f.set.masks(f.stride, response)
	return correlation(own, string(f.mask1)) >= sameChip
}

// correlation returns the correlation coefficient of the bits of two masks, less
// what their shares of ones account for; 0 where one has no two values.
func correlation(a []byte, b string) float64 {
	var both, first, second int
	for i, x := range a {
		both += bits.OnesCount8(x & b[i])
		first += bits.OnesCount8(x)
		second += bits.OnesCount8(b[i])
	}
	n := float64(8 * len(a))
	p, q := float64(first)/n, float64(second)/n
	variance := p * (1 - p) * q * (1 - q)
	if variance == 0 {
		return 0
	}
	return (float64(both)/n - p*q) / math.Sqrt(variance)
}
