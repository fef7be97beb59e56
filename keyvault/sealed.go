package keyvault

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
)

// Sealer keeps a secret for a machine without a PUF: a hardware security module, a cloud's key service, a passphrase
// ([NewPassphrase]). For a TPM 2.0 there is package keyvault/tpm.
type Sealer interface {
	// Seal returns what Unseal, on this machine or with this module alone, turns into secret again. It does not keep the slice.
	Seal(ctx context.Context, secret []byte) (sealed []byte, err error)
	// Unseal returns what Seal was given. The caller clears it. Anything that Seal did not make is an error.
	Unseal(ctx context.Context, sealed []byte) (secret []byte, err error)
}

// SealedName is the name of the sealed secret in the store, unless the caller gives another.
const SealedName = "sealed"

// EnrollSealed makes a random root secret, has s seal it, stores the result under name (empty: [SealedName]) and returns the open
// vault: what [Enroll] is to a chip. The seal must open again before anything is stored.
//
// Errors: ErrEnrolled, ErrUnproved, ErrStore, ErrArgument, those of s and of store.
func EnrollSealed(ctx context.Context, s Sealer, store Store, name string) (*Vault, error) {
	v, err := enrollSealed(ctx, s, store, orSealedName(name))
	if err != nil {
		return nil, fmt.Errorf("enroll sealed vault: %w", err)
	}
	return v, nil
}

func enrollSealed(ctx context.Context, s Sealer, store Store, name string) (*Vault, error) {
	if s == nil || store == nil {
		return nil, fmt.Errorf("%w: no sealer or no store", ErrArgument)
	}
	if err := vacant(ctx, store, name); err != nil {
		return nil, err
	}
	secret := make([]byte, MinSecret)
	defer clear(secret)
	rand.Read(secret)
	sealed, err := s.Seal(ctx, secret)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	again, err := s.Unseal(ctx, sealed)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnproved, err)
	}
	defer clear(again)
	if subtle.ConstantTimeCompare(secret, again) != 1 {
		return nil, ErrUnproved
	}
	v, err := FromSecret(secret, store, name)
	if err != nil {
		return nil, err
	}
	if err := put(ctx, store, name, sealed); err != nil {
		_ = v.Close()
		return nil, err
	}
	return v, nil
}

// OpenSealed has s open what EnrollSealed stored, and returns the open vault. Errors: ErrNotEnrolled, ErrArgument, those of s and of
// store.
func OpenSealed(ctx context.Context, s Sealer, store Store, name string) (*Vault, error) {
	v, err := openSealed(ctx, s, store, orSealedName(name))
	if err != nil {
		return nil, fmt.Errorf("open sealed vault: %w", err)
	}
	return v, nil
}

func openSealed(ctx context.Context, s Sealer, store Store, name string) (*Vault, error) {
	if s == nil || store == nil {
		return nil, fmt.Errorf("%w: no sealer or no store", ErrArgument)
	}
	sealed, err := store.Get(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotEnrolled
	}
	if err != nil {
		return nil, fmt.Errorf("read sealed secret: %w", err)
	}
	secret, err := s.Unseal(ctx, sealed)
	if err != nil {
		return nil, fmt.Errorf("unseal: %w", err)
	}
	defer clear(secret)
	return FromSecret(secret, store, name)
}

func orSealedName(name string) string {
	if name == "" {
		return SealedName
	}
	return name
}
