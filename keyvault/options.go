package keyvault

import (
	"context"
	"errors"
	"fmt"

	"github.com/semio-iot/semio/fuzzy"
	"github.com/semio-iot/semio/puf"
)

var (
	// ErrEnrolled says that helper data is stored already: the chip was enrolled. Call Open. A region of a chip is enrolled
	// once, ever; do not delete helper data to enrol again.
	ErrEnrolled = errors.New("keyvault: helper data is stored already; open the vault, a region is enrolled once")
	// ErrNotEnrolled says that the store has no helper data. Enrol a new chip; for one enrolled before, restore the helper data
	// from a copy.
	ErrNotEnrolled = errors.New("keyvault: no helper data stored; enrol a new chip, or restore the helper data of an enrolled one")
	// ErrHelperHash says that the stored helper data is not the one that Options.HelperHash names: exchanged or damaged.
	ErrHelperHash = errors.New("keyvault: stored helper data is not the one in the device's certificate; restore it from a copy")
	// ErrUnproved says that a second reading did not give the root key of the first, at enrolment; nothing was stored. Look
	// at the source, the window and the device profile.
	ErrUnproved = errors.New("keyvault: a second reading does not give the enrolled key, nothing was stored")
	// ErrStore says that the store did not give back what was put into it.
	ErrStore = errors.New("keyvault: store does not keep its values; check the memory")
	// ErrClosed is every use of a vault, and of keys from it, after Close or Destroy.
	ErrClosed = errors.New("keyvault: vault is closed")
	// ErrUnlock is the one answer for a blob that does not open: another chip, another label, changed or no blob at all.
	ErrUnlock = errors.New("keyvault: blob does not unlock; it was locked by another chip or under another label, or was changed")
	// ErrArgument says that an argument is out of the range that the method documents.
	ErrArgument = errors.New("keyvault: argument out of range")
)

// Store keeps the helper data. It needs no protection from being read; the device gateway's NVM is one. Methods return
// when the work is done.
type Store interface {
	// Get returns the value. A missing one is an error that wraps fs.ErrNotExist.
	Get(ctx context.Context, name string) ([]byte, error)
	// Put sets the value, in one step, and durably when it returns nil. It does not keep the slice.
	Put(ctx context.Context, name string, value []byte) error
	// Delete removes the value, durably when it returns nil. A missing one is no error, or one that wraps fs.ErrNotExist.
	Delete(ctx context.Context, name string) error
}

// DefaultName is the name of the helper data in the store.
const DefaultName = "helper"

// DefaultAttempts is the number of readings that Open takes at most.
const DefaultAttempts = 3

// Options change Enroll and Open; nil or zero fields mean the defaults. They are not modified.
type Options struct {
	// Params is the parameter set and the device profile for Enroll; default fuzzy.SRAM1K(). Open takes it from the helper data.
	Params fuzzy.Params

	// Limits are the device profile's limits for readings; default those of package puf.
	Limits puf.Limits

	// Name of the helper data in the store, for several regions in one; default "helper".
	Name string

	// Readings is the number of readings whose majority is enrolled, odd; default 1.
	Readings int

	// Attempts is the number of readings that Open takes until one gives the key; default 3, at most 100.
	Attempts int

	// HelperHash is the SHA-256 of the helper data from the device's certificate. Open refuses other helper data before it
	// decodes. All zero: not checked. Enroll does not look at it.
	HelperHash [32]byte
}

func (o *Options) orDefault() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	if c.Params == (fuzzy.Params{}) {
		c.Params = fuzzy.SRAM1K()
	}
	if c.Name == "" {
		c.Name = DefaultName
	}
	if c.Readings == 0 {
		c.Readings = 1
	}
	if c.Attempts == 0 {
		c.Attempts = DefaultAttempts
	}
	if c.Readings < 1 || c.Readings%2 == 0 || c.Readings > 99 {
		return c, fmt.Errorf("%w: %d readings, want an odd number from 1 to 99", ErrArgument, c.Readings)
	}
	if c.Attempts < 1 || c.Attempts > 100 {
		return c, fmt.Errorf("%w: %d attempts, want 1 to 100", ErrArgument, c.Attempts)
	}
	return c, nil
}

// checkSize refuses a source of the wrong region before power is spent on a reading.
func checkSize(src puf.Source, p fuzzy.Params) error {
	if got, want := src.Size(), p.ResponseSize(); got != want {
		return fmt.Errorf("%w (cut a puf.Window of the right size)", &puf.SizeError{What: "source", Got: got, Want: want})
	}
	return nil
}

// measure takes a reading that passes the checks. The caller clears it, also after an error.
func measure(ctx context.Context, src puf.Source, dst []byte, l puf.Limits) error {
	if err := src.Measure(ctx, dst); err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	return puf.Check(dst, l)
}
