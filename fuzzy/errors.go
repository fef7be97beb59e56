package fuzzy

import (
	"errors"
	"fmt"
)

var (
	// ErrParams says that a Params describes no device: the zero value, a
	// stride or an entropy out of range.
	ErrParams = errors.New("fuzzy: parameters out of range")
	// ErrResponseSize says that a reading has the wrong number of bytes for the
	// parameter set: read [Params.ResponseSize] bytes.
	ErrResponseSize = errors.New("fuzzy: response has the wrong size")
	// ErrResponseConstant says that a reading is one value or a short pattern
	// over and over: the memory was initialised or not read at all. Read before
	// start-up code clears the region, after a real power cycle.
	ErrResponseConstant = errors.New("fuzzy: response is constant or repeats a pattern")
	// ErrReadings says that several readings at enrolment do not belong
	// together; the error is a [ReadingsError] or names the number of readings.
	ErrReadings = errors.New("fuzzy: readings do not make one enrolment")
	// ErrEntropy says that enrolment would leave less than the floor, 256 bits:
	// the chip is too biased for the set, or the profile claims too little. The
	// error is an [EntropyError] with the figures.
	ErrEntropy = errors.New("fuzzy: too little entropy to enrol")
	// ErrFault says that the reading fails a fault test that a working chip of
	// the profile fails less than once in a million times. The error is a
	// [FaultError]. Look at the source and at the pairing stride; do not retry
	// until it passes.
	ErrFault = errors.New("fuzzy: response fails a fault test")
	// ErrEnrolled says that the region of the chip was enrolled before. A second
	// enrolment would give the first key away to whoever has both sets of helper
	// data: find the first one, or enrol another region.
	ErrEnrolled = errors.New("fuzzy: this region of the chip was enrolled before; restore its helper data, or enrol another region")
	// ErrHelperMalformed says that bytes are not helper data in its one valid
	// encoding: damaged, cut or not helper data. Restore them from a copy.
	ErrHelperMalformed = errors.New("fuzzy: malformed helper data")
	// ErrUnknownSet says that helper data has a version or parameter set that
	// this build does not have: made by newer software. Update the software that
	// reads it; do not enrol again.
	ErrUnknownSet = errors.New("fuzzy: helper data of an unknown version or parameter set")
	// ErrHelperRefused says that well-formed helper data selects too few symbols
	// to keep a key secret. Enroll makes none such: treat it as an attack.
	ErrHelperRefused = errors.New("fuzzy: helper data refused, it selects too few symbols")
	// ErrReconstruct says that response and helper data do not give a key:
	// another chip, changed helper data, or more bit errors than can be
	// corrected. It does not say which: nobody can know before the tag is
	// verified, and a finer answer would be an oracle. Read again after a power
	// cycle; if it stays, restore the helper data from a copy.
	ErrReconstruct = errors.New("fuzzy: response and helper data do not match")
	// ErrWiped says that a root key was used after Wipe, or never filled.
	ErrWiped = errors.New("fuzzy: root key is wiped")
	// ErrDerive says that the arguments of Derive are out of range.
	ErrDerive = errors.New("fuzzy: cannot derive")
)

// EntropyError is an [ErrEntropy] with its figures.
type EntropyError struct {
	Used          int     // symbols that the reading gives, at most the code's length
	MinUsed       int     // symbols that the set asks for
	SymbolEntropy float64 // bits a symbol, from the device profile
	Left          float64 // bits of the secret left to one who has the helper data
	Floor         float64 // bits that must be left
}

func (e *EntropyError) Error() string {
	return fmt.Sprintf("%v: %d symbols of %.4g bit leave %.1f bits of secret, want at least %d symbols and %.0f bits: "+
		"the chip is too biased for this parameter set, or the profile's symbol entropy too low",
		ErrEntropy, e.Used, e.SymbolEntropy, e.Left, e.MinUsed, e.Floor)
}

// Unwrap returns [ErrEntropy].
func (e *EntropyError) Unwrap() error { return ErrEntropy }

// FaultError is an [ErrFault] with its figures. They are counts, which tell less
// than a thousandth of a bit of any symbol; a refused reading is not used.
type FaultError struct {
	Test  string // what was counted
	Lag   int    // distance of the symbols compared, 0 where none are
	Got   int
	Limit int // the largest count that passes
}

func (e *FaultError) Error() string {
	lag := ""
	if e.Lag > 0 {
		lag = fmt.Sprintf(" at distance %d", e.Lag)
	}
	return fmt.Sprintf("%v: %s%s: %d, at most %d: check the source and the profile's pairing stride",
		ErrFault, e.Test, lag, e.Got, e.Limit)
}

// Unwrap returns [ErrFault].
func (e *FaultError) Unwrap() error { return ErrFault }

// ReadingsError is an [ErrReadings] about two of the readings.
type ReadingsError struct {
	First, Second int // indices of the readings, 0 for the first
	Differ        int // bits that differ
	Of            int // bits in a reading
	Limit         int // bits in which they may differ
}

func (e *ReadingsError) Error() string {
	why := fmt.Sprintf("are more than %.3g %% apart: not one chip, or a source that fails", 100*float64(e.Limit)/float64(max(e.Of, 1)))
	if e.Differ == 0 {
		why = "are identical: a replayed file or no power cycle between them"
	}
	return fmt.Sprintf("%v: readings %d and %d differ in %d of %d bits and %s",
		ErrReadings, e.First, e.Second, e.Differ, e.Of, why)
}

// Unwrap returns [ErrReadings].
func (e *ReadingsError) Unwrap() error { return ErrReadings }
