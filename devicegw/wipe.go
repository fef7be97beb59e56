package devicegw

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
)

// erase ends the device: the root first, because without it everything else is unreadable; then every value, in all copies,
// read back.
func erase(ctx context.Context, root Root, nvm NVM) error {
	errs := []error{}
	if err := root.Destroy(ctx); err != nil {
		errs = append(errs, fmt.Errorf("destroy the root of trust: %w", err))
	}
	for _, name := range allNames() {
		if err := nvm.Delete(ctx, name); err != nil {
			errs = append(errs, err)
		}
	}
	// A memory that can list its values clears also what this version does not know.
	if c, ok := nvm.(interface{ Clear(context.Context) error }); ok {
		if err := c.Clear(ctx); err != nil {
			errs = append(errs, err)
		}
	}
	for _, name := range allNames() {
		v, err := nvm.Get(ctx, name)
		clear(v)
		if !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, &StorageError{"delete", name, fmt.Errorf("still there after deleting: %w", errOr(err, errors.New("read back")))})
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("wipe: %w", err)
	}
	return nil
}

func errOr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}
