package devicegw

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	"github.com/semio-iot/semio/e2e"
)

// locked is an NVM behind the root: what is put through it can be read and changed by this device only. What it cannot
// see is an older value under the same name put back (docs/threat-model.md says what that does).
type locked struct {
	root Root
	nvm  NVM
}

func (l locked) put(ctx context.Context, name string, scope e2e.BindingID, plaintext []byte) error {
	blob, err := l.root.Lock(lockLabel(name, scope), plaintext)
	if err != nil {
		return fmt.Errorf("lock %s: %w", name, err)
	}
	if scope != noBinding {
		blob = append(scope[:], blob...)
	}
	return l.nvm.Put(ctx, name, blob)
}

// get returns fs.ErrNotExist (also for what another binding left behind), ErrDamaged, ErrWrongRoot, or an error of the medium.
func (l locked) get(ctx context.Context, name string, scope e2e.BindingID) ([]byte, error) {
	blob, err := l.nvm.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	if scope != noBinding {
		var found bool
		if blob, found = bytes.CutPrefix(blob, scope[:]); !found {
			return nil, errOtherBinding
		}
	}
	plaintext, err := l.root.Unlock(lockLabel(name, scope), blob)
	if err != nil {
		return nil, fmt.Errorf("unlock %s: %w: %w", name, ErrWrongRoot, err)
	}
	return plaintext, nil
}

// errOtherBinding is a value of a binding that has ended.
var errOtherBinding = fmt.Errorf("value of another binding: %w", fs.ErrNotExist)

// noBinding is the scope of values that belong to the device itself. A value of a binding carries the binding's ID in the
// clear, so that what a removed binding left is told from what is damaged; the lock's label vouches for it.
var noBinding e2e.BindingID

func lockLabel(name string, scope e2e.BindingID) string {
	if scope == noBinding {
		return labelLock + " " + name
	}
	return labelLock + " " + name + " " + hex.EncodeToString(scope[:])
}

// load reads and parses a record. found is false where there is none.
func load[T any](ctx context.Context, l locked, name string, scope e2e.BindingID, parse func([]byte) (T, error)) (v T, found bool, err error) {
	plaintext, err := l.get(ctx, name, scope)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return v, false, nil
	case err != nil:
		return v, false, err
	}
	defer clear(plaintext)
	if v, err = parse(plaintext); err != nil {
		return v, false, fmt.Errorf("parse %s: %w: %w", name, ErrDamaged, err)
	}
	return v, true, nil
}

type record interface{ marshal() ([]byte, error) }

func save(ctx context.Context, l locked, name string, scope e2e.BindingID, r record) error {
	plaintext, err := r.marshal()
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	defer clear(plaintext)
	return l.put(ctx, name, scope, plaintext)
}
