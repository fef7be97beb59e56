package keyvault

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"fmt"
)

var (
	// ErrKeyCode is the one answer for a key code that does not open: of another device, changed, or none at all.
	ErrKeyCode = errors.New("keyvault: key code does not open; it was made by another device, or was changed")
	// ErrRollback says that a key code is genuine and older than the device's counter: a newer version of the key has been in use.
	ErrRollback = errors.New("keyvault: key code is older than what this device has used; use the newest one")
	// ErrUsage says that a key is not for this use. The key code says what it is for, and nobody can change that.
	ErrUsage = errors.New("keyvault: key is not for this use")
)

// GenerateKey makes a random key that only this device can use, and returns its key code: store it anywhere. Nobody ever sees the
// key, unless info.Usage has UsageExport. Errors: ErrArgument, ErrClosed.
func (v *Vault) GenerateKey(info KeyInfo) (code []byte, err error) {
	if err = info.check(); err == nil {
		key := newKeyBytes(info.Type)
		defer clear(key)
		code, err = v.seal(info, key)
	}
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	return code, nil
}

// ImportKey locks a key that comes from elsewhere (a user key) and returns its key code. The caller clears key. What key has to be
// is said at the types. Errors: ErrArgument, also for bytes that are no key of the type, and ErrClosed.
func (v *Vault) ImportKey(info KeyInfo, key []byte) (code []byte, err error) {
	if err = info.check(); err == nil {
		if err = checkKeyBytes(info.Type, key); err == nil {
			code, err = v.seal(info, key)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("import key: %w", err)
	}
	return code, nil
}

// KeyOptions change OpenKey; nil means none of it.
type KeyOptions struct {
	// Counter, where the device has one, refuses key codes of older versions than the newest that was opened with it.
	Counter MonotonicCounter
}

// MonotonicCounter is a number that nobody can set back, for example a TPM's NV counter or a counter in replay-protected memory. It
// is what tells an old key code, put back by whoever writes the memory, from the newest: all key codes that are opened with one
// counter share it, so after a key gets version n codes below n are refused, and the other keys of that counter must be locked anew.
type MonotonicCounter interface {
	// Value returns the present value.
	Value(ctx context.Context) (uint64, error)
	// Advance makes the value at least n, durably when it returns nil. A value above n stays.
	Advance(ctx context.Context, n uint64) error
}

// OpenKey gives the key of a key code. Errors: [ErrKeyCode], [ErrRollback], those of the counter, ErrClosed.
//
// The counter moves when the code has proved to be genuine, before the key is given out.
func (v *Vault) OpenKey(ctx context.Context, code []byte, opts *KeyOptions) (*Key, error) {
	k, err := v.openKey(ctx, code, opts)
	if err != nil {
		return nil, fmt.Errorf("open key: %w", err)
	}
	return k, nil
}

func (v *Vault) openKey(ctx context.Context, code []byte, opts *KeyOptions) (*Key, error) {
	info, _, ok := parseHeader(code)
	if !ok {
		return nil, ErrKeyCode
	}
	code = bytes.Clone(code)
	k := &Key{v: v, info: info, unlock: func(f func([]byte) error) error { return v.unseal(code, f) }}
	if err := k.with(func(key []byte) error { return k.setPublic(key) }); err != nil {
		return nil, err
	}
	if opts == nil || opts.Counter == nil {
		return k, nil
	}
	// Not under the vault's lock: the counter is other people's code.
	value, err := opts.Counter.Value(ctx)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the counter: %w", err)
	case info.Version < value:
		return nil, fmt.Errorf("%w: version %d, the counter is at %d", ErrRollback, info.Version, value)
	case info.Version > value:
		if err := opts.Counter.Advance(ctx, info.Version); err != nil {
			return nil, fmt.Errorf("advance the counter: %w", err)
		}
	}
	return k, nil
}

// maxKeyContext is what the root key's derivation leaves beside a header.
const maxKeyContext = 1<<16 - 1 - codeFixed - maxLabel

// DeriveKey gives a symmetric key that follows from the root key, info and context (at most 65,259 bytes), without anything that would have
// to be stored: the same after every power-up, independent for different arguments, and used without ever being seen, as those of
// OpenKey are. info.Type is TypeAES or TypeMAC. There is no roll-back protection: whoever calls chooses the version. Errors: ErrArgument, ErrClosed.
func (v *Vault) DeriveKey(info KeyInfo, context []byte) (*Key, error) {
	err := info.check()
	switch {
	case err != nil:
	case info.Type != TypeAES && info.Type != TypeMAC:
		err = fmt.Errorf("%w: type %v, derived keys are of type %v or %v", ErrArgument, info.Type, TypeAES, TypeMAC)
	case len(context) > maxKeyContext:
		err = fmt.Errorf("%w: context of %d bytes, want at most %d", ErrArgument, len(context), maxKeyContext)
	default:
		err = v.use(func() error { return nil })
	}
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	from := append(info.header(), context...)
	return &Key{v: v, info: info, unlock: func(f func([]byte) error) error {
		key, err := v.root.Derive(labelKey, from, lockKeySize)
		if err != nil {
			return err
		}
		defer clear(key)
		return f(key)
	}}, nil
}

// seal makes a key code. info and key have been checked.
func (v *Vault) seal(info KeyInfo, key []byte) (code []byte, err error) {
	err = v.use(func() error {
		header := info.header()
		a, err := v.aead(labelCode, header)
		if err != nil {
			return err
		}
		code = append(make([]byte, 0, len(header)+len(key)+lockExtra), header...)
		code = a.Seal(code, nil, key, additional(labelCode, header))
		return nil
	})
	return code, err
}

// unseal calls f with the key of a code, and clears it afterwards. It runs within use.
func (v *Vault) unseal(code []byte, f func(key []byte) error) error {
	info, n, ok := parseHeader(code)
	if !ok {
		return ErrKeyCode
	}
	a, err := v.aead(labelCode, code[:n])
	if err != nil {
		return err
	}
	key, err := a.Open(nil, nil, code[n:], additional(labelCode, code[:n]))
	if err != nil {
		return ErrKeyCode
	}
	defer clear(key)
	// What this package sealed is a key of its type; a later version may have other rules.
	if checkKeyBytes(info.Type, key) != nil {
		return ErrKeyCode
	}
	return f(key)
}

func newKeyBytes(t KeyType) []byte {
	low, _ := t.size()
	key := make([]byte, low)
	for {
		rand.Read(key)
		if checkKeyBytes(t, key) == nil {
			return key
		}
	}
}

// checkKeyBytes tells whether key is one of the type.
func checkKeyBytes(t KeyType, key []byte) error {
	low, high := t.size()
	if len(key) < low || len(key) > high {
		return fmt.Errorf("%w: key of %d bytes, one of type %v has %d to %d", ErrArgument, len(key), t, low, high)
	}
	if t == TypeSign || t == TypeAgree {
		if _, err := ecdh.P256().NewPrivateKey(key); err != nil {
			return fmt.Errorf("%w: key is no scalar of P-256", ErrArgument)
		}
	}
	return nil
}
