package keyvault

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"

	"github.com/semio-iot/semio/fuzzy"
	"github.com/semio-iot/semio/internal/secret"
	"github.com/semio-iot/semio/puf"
)

// Enroll makes a chip's root key, once in its life, stores the helper data and returns the open vault. It takes opts.Readings
// readings from src and one more, which must give the same key before anything is stored; only when src has no further reading
// (puf.ErrExhausted) is that left out, and the vault's Report is zero then.
//
// Two calls at once for one store are not told apart; production enrols a chip from one place.
//
// Errors: ErrEnrolled, ErrUnproved, ErrStore, ErrArgument, those of package puf's checks, of fuzzy.Enroll, of src and of store. After
// an error of store.Put the helper data may be stored; then a second Enroll says ErrEnrolled, and Open works.
func Enroll(ctx context.Context, src puf.Source, store Store, opts *Options) (*Vault, error) {
	v, err := enroll(ctx, src, store, opts)
	if err != nil {
		return nil, fmt.Errorf("enroll vault: %w", err)
	}
	return v, nil
}

func enroll(ctx context.Context, src puf.Source, store Store, opts *Options) (*Vault, error) {
	o, err := opts.orDefault()
	if err != nil {
		return nil, err
	}
	if err := checkSize(src, o.Params); err != nil {
		return nil, err
	}
	// Before a reading is taken.
	if err := vacant(ctx, store, o.Name); err != nil {
		return nil, err
	}

	readings := make([][]byte, o.Readings)
	for i := range readings {
		readings[i] = make([]byte, src.Size())
		defer clear(readings[i])
		if err := measure(ctx, src, readings[i], o.Limits); err != nil {
			return nil, fmt.Errorf("reading %d of %d: %w", i+1, o.Readings, err)
		}
		if i > 0 {
			if err := puf.CheckPair(readings[0], readings[i], o.Limits); err != nil {
				return nil, fmt.Errorf("reading %d of %d: %w", i+1, o.Readings, err)
			}
		}
	}
	var root *fuzzy.RootKey
	var helper fuzzy.HelperData
	secret.Do(func() { root, helper, err = fuzzy.Enroll(o.Params, nil, readings[0], readings[1:]...) })
	if err != nil {
		return nil, err
	}
	report, err := prove(ctx, src, o, readings[0], root, helper)
	if err != nil {
		root.Wipe()
		return nil, err
	}
	v, err := newVault(root, helper.Hash(), report, store, o.Name)
	if err != nil {
		return nil, err
	}
	if err := put(ctx, store, o.Name, helper.Bytes()); err != nil {
		_ = v.Close()
		return nil, err
	}
	return v, nil
}

// prove shows that another power-up gives root. With the source exhausted there is nothing to show, and no report.
func prove(ctx context.Context, src puf.Source, o Options, first []byte, root *fuzzy.RootKey, helper fuzzy.HelperData) (fuzzy.Report, error) {
	reading := make([]byte, len(first))
	defer clear(reading)
	if err := measure(ctx, src, reading, o.Limits); err != nil {
		if errors.Is(err, puf.ErrExhausted) {
			return fuzzy.Report{}, nil
		}
		return fuzzy.Report{}, fmt.Errorf("reading to prove it: %w", err)
	}
	if err := puf.CheckPair(first, reading, o.Limits); err != nil {
		return fuzzy.Report{}, fmt.Errorf("reading to prove it: %w", err)
	}
	var again *fuzzy.RootKey
	var report fuzzy.Report
	var err error
	secret.Do(func() { again, report, err = fuzzy.Reconstruct(reading, helper) })
	if err != nil {
		return fuzzy.Report{}, fmt.Errorf("%w: %w", ErrUnproved, err)
	}
	defer again.Wipe()
	a, err := root.Derive(labelProof, nil, 32)
	if err != nil {
		return fuzzy.Report{}, err
	}
	b, err := again.Derive(labelProof, nil, 32)
	if err != nil {
		return fuzzy.Report{}, err
	}
	defer clear(a)
	defer clear(b)
	if subtle.ConstantTimeCompare(a, b) != 1 {
		return fuzzy.Report{}, ErrUnproved
	}
	return report, nil
}

// put stores a value and reads it back: a device whose memory forgets it has no keys at the next boot.
func put(ctx context.Context, store Store, name string, value []byte) error {
	if err := store.Put(ctx, name, value); err != nil {
		return fmt.Errorf("store %q: %w", name, err)
	}
	back, err := store.Get(ctx, name)
	if err != nil {
		return fmt.Errorf("%w: read %q back: %w", ErrStore, name, err)
	}
	if !bytes.Equal(back, value) {
		return fmt.Errorf("%w: %q reads back otherwise", ErrStore, name)
	}
	return nil
}
