package puf

import (
	"bytes"
	"errors"
	"fmt"
	"math"

	"github.com/semio-iot/semio/puf/internal/packed"
)

// What [Check] and [CheckPair] find. Each comes inside a *CheckError with the figures.
var (
	ErrTooSmall   = errors.New("puf: reading is too small to be checked; use a larger window")
	ErrConstant   = errors.New("puf: all bits are equal; check supply, wiring and address of the memory")
	ErrBias       = errors.New("puf: share of ones is out of bounds; check that the memory was not written, or widen the device profile's limits")
	ErrRepeating  = errors.New("puf: a pattern repeats; part of the region was written after power-up: move the window, or read earlier in the boot")
	ErrRun        = errors.New("puf: run of equal bits (repetition count test); part of the region was written or is not memory: move the window")
	ErrProportion = errors.New("puf: one value prevails locally (adaptive proportion test); part of the region was written or is not memory: move the window")
	ErrStripes    = errors.New("puf: bits repeat at a distance (autocorrelation); check address and data lines and the memory's size, or choose another region")
	ErrIdentical  = errors.New("puf: two power-ups read exactly alike; switch the memory off for longer; or a stored reading is replayed")
	ErrDistance   = errors.New("puf: two readings differ too much for one chip; check that both are of the same region and chip, and that power was off long enough")
)

// CheckError is a failed check with its figures. It tells no bit of the reading but the counts.
type CheckError struct {
	Err    error   // the sentinel, found by errors.Is
	Got    float64 // what was measured, in the unit of Limit
	Limit  float64 // the bound that it broke
	Unit   string  // for example "share of ones" or "equal bits"
	Offset int     // byte from which the fault shows, -1 when it is of the whole reading
	Lag    int     // distance in bits, for repetitions and stripes
}

func (e *CheckError) Error() string {
	s := fmt.Sprintf("%v (%.4g %s, limit %.4g", e.Err, e.Got, e.Unit, e.Limit)
	if e.Lag > 0 {
		s += fmt.Sprintf(", distance %d bits", e.Lag)
	}
	if e.Offset >= 0 {
		s += fmt.Sprintf(", at byte %d", e.Offset)
	}
	return s + ")"
}

// Unwrap returns the sentinel.
func (e *CheckError) Unwrap() error { return e.Err }

// Limits belong to a device profile. A zero field means its default.
type Limits struct {
	MinOnes, MaxOnes float64 // share of ones in a reading; 0.35 and 0.65
	MaxDistance      float64 // share of bits that may differ between two readings of a chip; 0.15
	MaxCorrelation   float64 // autocorrelation coefficient at any distance; 0.5
}

func (l Limits) orDefault() (Limits, error) {
	for _, f := range []struct {
		v   *float64
		def float64
	}{{&l.MinOnes, 0.35}, {&l.MaxOnes, 0.65}, {&l.MaxDistance, 0.15}, {&l.MaxCorrelation, 0.5}} {
		if *f.v == 0 {
			*f.v = f.def
		}
		if !(*f.v > 0 && *f.v < 1) {
			return l, fmt.Errorf("puf: limit of %v, want one between 0 and 1", *f.v)
		}
	}
	if l.MinOnes >= l.MaxOnes {
		return l, fmt.Errorf("puf: limits of %v to %v for the share of ones leave nothing", l.MinOnes, l.MaxOnes)
	}
	return l, nil
}

const (
	// minSize is one window of the adaptive proportion test.
	minSize = aptWindow / 8

	// falseAlarm is the chance that a single test at a single place refuses independent cells at the worst allowed bias: the
	// smallest that SP 800-90B, 4.4 suggests.
	falseAlarm = 1.0 / (1 << 40)

	// aptWindow is the window of the adaptive proportion test for a binary source, SP 800-90B, 4.4.2.
	aptWindow = 1024

	// repeatBytes is the number of bytes in succession that must not equal those a pattern's length before. Two independent
	// bytes at 80 % ones agree with probability 0.046, so 16 in succession with 2^-71; the dumps at hand reach 3.
	repeatBytes = 16

	// maxPattern is the longest pattern looked for, in bytes.
	maxPattern = 64
)

// Check tells whether reading can be a power-up reading of working memory: size, share of ones, repeating patterns, repetition
// count and adaptive proportion in the style of SP 800-90B section 4.4 (over the bits in order, for the entropy that the limits of
// bias leave), and stripes. It returns nil or a *CheckError; of several faults the one that explains most. It takes well below
// a millisecond for 1 KB.
//
// Its time and result depend on the reading. It is meant for the device itself, whose owner may know that his chip is broken.
func Check(reading []byte, l Limits) error {
	l, err := l.orDefault()
	if err != nil {
		return err
	}
	if len(reading) < minSize {
		return &CheckError{Err: ErrTooSmall, Got: float64(len(reading)), Limit: minSize, Unit: "bytes", Offset: -1}
	}
	ones := float64(packed.Ones(reading)) / float64(8*len(reading))
	if ones == 0 || ones == 1 {
		return &CheckError{Err: ErrConstant, Got: ones, Limit: l.bound(ones), Unit: "share of ones", Offset: -1}
	}
	// A repetition explains a bias, not the other way round.
	if err := checkPatterns(reading); err != nil {
		return err
	}
	if ones < l.MinOnes || ones > l.MaxOnes {
		return &CheckError{Err: ErrBias, Got: ones, Limit: l.bound(ones), Unit: "share of ones", Offset: -1}
	}
	worst := max(l.MaxOnes, 1-l.MinOnes)
	if err := checkRuns(reading, worst); err != nil {
		return err
	}
	if err := checkProportion(reading, worst); err != nil {
		return err
	}
	return checkStripes(reading, ones, l.MaxCorrelation)
}

func (l Limits) bound(ones float64) float64 {
	if ones < l.MinOnes {
		return l.MinOnes
	}
	return l.MaxOnes
}

// CheckPair tells whether a and b can be two power-ups of one chip: of one size, not identical, not further apart than the limit, and
// not one the inverse of the other, which is what anti-ageing leaves in a memory that keeps its power ([Sysfs]). It returns nil, a
// *SizeError or a *CheckError.
func CheckPair(a, b []byte, l Limits) error {
	l, err := l.orDefault()
	if err != nil {
		return err
	}
	if len(a) != len(b) || len(a) == 0 {
		return &SizeError{What: "second reading", Got: len(b), Want: max(len(a), 1)}
	}
	if bytes.Equal(a, b) {
		return &CheckError{Err: ErrIdentical, Got: 0, Limit: 1, Unit: "bits differ", Offset: -1}
	}
	d := float64(packed.Differing(a, b)) / float64(8*len(a))
	switch {
	case d <= l.MaxDistance:
		return nil
	case 1-d <= l.MaxDistance:
		return &CheckError{
			Err: ErrNotPowerCycled, Got: 1 - d, Limit: l.MaxDistance, Unit: "share of bits that are not the first reading's inverse", Offset: -1,
		}
	default:
		return &CheckError{Err: ErrDistance, Got: d, Limit: l.MaxDistance, Unit: "share of bits that differ", Offset: -1}
	}
}

// checkPatterns finds constant and repeating words of any length up to maxPattern.
func checkPatterns(b []byte) error {
	for lag := 1; lag <= maxPattern && lag < len(b); lag++ {
		// Any repeatBytes positions in succession contain one of these; only around a match is there more to look at.
		for i := lag + repeatBytes - 1; i < len(b); i += repeatBytes {
			if b[i] != b[i-lag] {
				continue
			}
			first, end := i, i+1
			for first > lag && b[first-1] == b[first-1-lag] {
				first--
			}
			for end < len(b) && b[end] == b[end-lag] && end-first < repeatBytes {
				end++
			}
			if end-first >= repeatBytes {
				return &CheckError{
					Err: ErrRepeating, Got: repeatBytes, Limit: repeatBytes - 1, Unit: "bytes repeat", Offset: first - lag, Lag: 8 * lag,
				}
			}
		}
	}
	return nil
}

// checkRuns is the repetition count test. p is the likelier value's share.
func checkRuns(b []byte, p float64) error {
	cutoff := 1 + int(math.Ceil(math.Log2(falseAlarm)/math.Log2(p)))
	run, last := 0, byte(2)
	for i := range 8 * len(b) {
		v := b[i/8] >> (7 - i%8) & 1
		if v != last {
			run, last = 0, v
		}
		if run++; run == cutoff {
			return &CheckError{
				Err: ErrRun, Got: float64(run), Limit: float64(cutoff - 1), Unit: "equal bits", Offset: (i - run + 1) / 8,
			}
		}
	}
	return nil
}

// checkProportion is the adaptive proportion test. p is the likelier value's share. The last window ends with the reading, so
// that no byte is left out.
func checkProportion(b []byte, p float64) error {
	cutoff := proportionCutoff(p)
	for start := 0; start < len(b); start += minSize {
		start = min(start, len(b)-minSize)
		n := packed.Ones(b[start : start+minSize])
		// The test counts the value of the window's first sample; either value may prevail, and counting both is no less
		// strict.
		if n = max(n, aptWindow-n); n >= cutoff {
			return &CheckError{Err: ErrProportion, Got: float64(n), Limit: float64(cutoff - 1), Unit: "equal bits of 1024", Offset: start}
		}
	}
	return nil
}

// proportionCutoff is the smallest c with P(X >= c) <= falseAlarm for X binomial of aptWindow samples with probability p.
func proportionCutoff(p float64) int {
	lg := func(n int) float64 { v, _ := math.Lgamma(float64(n + 1)); return v }
	tail := 0.0
	for c := aptWindow; c > 0; c-- {
		tail += math.Exp(lg(aptWindow) - lg(c) - lg(aptWindow-c) + float64(c)*math.Log(p) + float64(aptWindow-c)*math.Log(1-p))
		if tail > falseAlarm {
			return c + 1
		}
	}
	return 1
}

// checkStripes looks at distances of up to 64 bits (columns), of whole bytes up to 256 and of powers of two beyond (address lines),
// as far as enough pairs are left to tell chance from fault. That keeps the work proportional to the size.
func checkStripes(b []byte, ones, limit float64) error {
	words := packed.ToWords(b)
	defer words.Clear()
	n := 8 * len(b)
	for lag := 1; lag <= max(n/2, n-aptWindow); {
		equal := n - lag - words.Lagged(lag)
		chance := ones*ones + (1-ones)*(1-ones)
		r := (float64(equal)/float64(n-lag) - chance) / (1 - chance)
		if r > limit {
			return &CheckError{Err: ErrStripes, Got: r, Limit: limit, Unit: "correlation", Offset: -1, Lag: lag}
		}
		switch {
		case lag < 64:
			lag++
		case lag < 2048:
			lag += 8
		default:
			lag *= 2
		}
	}
	return nil
}
