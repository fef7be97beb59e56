package keyvault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/semio-iot/semio/fuzzy"
	"github.com/semio-iot/semio/internal/secret"
	"github.com/semio-iot/semio/puf"
)

// Open finds the root key again from a fresh reading of src and the stored helper data. It takes up to opts.Attempts readings: one
// that cannot be taken, fails the checks or gives no key is tried again.
//
// Errors: ErrNotEnrolled, ErrUsedUp, ErrHelperHash, fuzzy.ErrHelperMalformed, fuzzy.ErrUnknownSet, fuzzy.ErrHelperRefused, ErrArgument and a
// *puf.SizeError at once; after the last attempt its error, which is fuzzy.ErrReconstruct for another chip or changed helper
// data, a *puf.CheckError for a faulty reading, or that of src.
func Open(ctx context.Context, src puf.Source, store Store, opts *Options) (*Vault, error) {
	v, err := open(ctx, src, store, opts)
	if err != nil {
		return nil, fmt.Errorf("open vault: %w", err)
	}
	return v, nil
}

func open(ctx context.Context, src puf.Source, store Store, opts *Options) (*Vault, error) {
	o, err := opts.orDefault()
	if err != nil {
		return nil, err
	}
	b, err := store.Get(ctx, o.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotEnrolled
	}
	if err != nil {
		return nil, fmt.Errorf("read helper data: %w", err)
	}
	if isUsedUp(b) {
		return nil, ErrUsedUp
	}
	helper, err := fuzzy.ParseHelperData(b)
	if err != nil {
		return nil, err
	}
	// Before decoding: helper data of an attacker's choice would let him learn the chip's cells from the answers.
	if o.HelperHash != ([32]byte{}) && helper.Hash() != o.HelperHash {
		return nil, ErrHelperHash
	}
	if err := checkSize(src, helper.Params()); err != nil {
		return nil, err
	}
	root, report, err := reconstruct(ctx, src, o, helper)
	if err != nil {
		return nil, err
	}
	return newVault(root, helper.Hash(), report, store, o.Name)
}

func reconstruct(ctx context.Context, src puf.Source, o Options, helper fuzzy.HelperData) (*fuzzy.RootKey, fuzzy.Report, error) {
	reading := make([]byte, src.Size())
	defer clear(reading)
	var last error
	for n := 1; n <= o.Attempts; n++ {
		err := measure(ctx, src, reading, o.Limits)
		if err == nil {
			var root *fuzzy.RootKey
			var report fuzzy.Report
			secret.Do(func() { root, report, err = fuzzy.Reconstruct(reading, helper) })
			if err == nil {
				return root, report, nil
			}
		}
		clear(reading)
		if last != nil && errors.Is(err, puf.ErrExhausted) {
			// Why the earlier readings gave no key is what the reader needs.
			return nil, fuzzy.Report{}, fmt.Errorf("attempt %d: %w; then: %w", n-1, last, err)
		}
		last = err
		if ctx.Err() != nil || errors.Is(err, puf.ErrExhausted) || errors.Is(err, fuzzy.ErrHelperRefused) {
			return nil, fuzzy.Report{}, err
		}
	}
	return nil, fuzzy.Report{}, fmt.Errorf("attempt %d: %w", o.Attempts, last)
}
