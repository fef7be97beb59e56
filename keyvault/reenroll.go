package keyvault

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"

	"github.com/semio-iot/semio/fuzzy"
	"github.com/semio-iot/semio/puf"
)

var (
	// ErrSameRegion says that the source reads the cells that were enrolled before. Two enrolments of the same cells tell nearly
	// all of the first key; cut a window that does not overlap the old one.
	ErrSameRegion = errors.New("keyvault: these cells were enrolled before; read another region of the chip")
	// ErrUsedUp says that the region was given up by Reenroll. The device has another identity since.
	ErrUsedUp = errors.New("keyvault: this enrolment was replaced by one of another region; open that one by its name")
)

// usedUp is what stands in the place of helper data after Reenroll: magic ‖ version ‖ SHA-256 of the helper data.
const (
	usedUpMagic   = "SEMX"
	usedUpVersion = 1
	usedUpSize    = 4 + 1 + sha256.Size
)

func isUsedUp(b []byte) bool {
	return len(b) == usedUpSize && string(b[:4]) == usedUpMagic && b[4] == usedUpVersion
}

// Reenroll gives a chip another root key, from another region of its memory, in the place of the enrolment called old. It is a new
// device: another identity, for which the old certificate is worth nothing, and everything that was locked is lost. src
// reads the new region, opts.Name names its helper data and differs from old. When it returns, the old enrolment cannot be
// opened any more from this store; a copy of its helper data, on this chip, could.
//
// After an interruption call it again: it goes on where it was. Errors: [ErrSameRegion], ErrNotEnrolled for old, ErrEnrolled
// when another enrolment stands under the new name, ErrUsedUp when old was replaced before, and those of [Enroll].
func Reenroll(ctx context.Context, src puf.Source, store Store, old string, opts *Options) (*Vault, error) {
	v, err := reenroll(ctx, src, store, old, opts)
	if err != nil {
		return nil, fmt.Errorf("re-enroll vault: %w", err)
	}
	return v, nil
}

func reenroll(ctx context.Context, src puf.Source, store Store, old string, opts *Options) (*Vault, error) {
	o, err := opts.orDefault()
	if err != nil {
		return nil, err
	}
	if old == "" || old == o.Name {
		return nil, fmt.Errorf("%w: old and new enrolment are both called %q", ErrArgument, o.Name)
	}
	b, err := store.Get(ctx, old)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, ErrNotEnrolled
	case err != nil:
		return nil, fmt.Errorf("read helper data: %w", err)
	case isUsedUp(b):
		return nil, ErrUsedUp
	}
	if err := otherRegion(ctx, src, o, b); err != nil {
		return nil, err
	}
	v, err := enroll(ctx, src, store, &o)
	if errors.Is(err, ErrEnrolled) {
		// A former call came this far. That it was one, and not an enrolment of something else, shows when src opens it.
		v, err = open(ctx, src, store, &o)
		if errors.Is(err, fuzzy.ErrReconstruct) {
			err = ErrEnrolled
		}
	}
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(b)
	if err := put(ctx, store, old, append(append([]byte(usedUpMagic), usedUpVersion), hash[:]...)); err != nil {
		_ = v.Close()
		return nil, err
	}
	return v, nil
}

// otherRegion refuses a source whose readings open the old helper data. Damaged helper data proves nothing and is refused, too.
func otherRegion(ctx context.Context, src puf.Source, o Options, old []byte) error {
	helper, err := fuzzy.ParseHelperData(old)
	if err != nil {
		return fmt.Errorf("old helper data: %w", err)
	}
	if helper.Params().ResponseSize() != src.Size() {
		return nil // not these cells alone; an overlap is the caller's to rule out, as it is with equal sizes
	}
	root, _, err := reconstruct(ctx, src, o, helper)
	switch {
	case err == nil:
		root.Wipe()
		return ErrSameRegion
	case errors.Is(err, fuzzy.ErrReconstruct), errors.Is(err, fuzzy.ErrHelperRefused):
		return nil
	}
	return err
}

// vacant refuses a name under which something is stored. Damaged data (any other error) is an enrolment as well.
func vacant(ctx context.Context, store Store, name string) error {
	_, err := store.Get(ctx, name)
	switch {
	case err == nil:
		return ErrEnrolled
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return fmt.Errorf("look for an enrolment: %w", err)
}
