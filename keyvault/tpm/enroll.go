package tpm

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"

	"github.com/google/go-tpm/tpm2/transport"

	"github.com/semio-iot/semio/keyvault"
)

// Enroll makes a device's root secret, once in its life, has the TPM t seal it, stores what that gives and returns the open vault.
// Before anything is stored the TPM must give the secret back.
//
// Two calls at once for one store are not told apart; production enrols a device from one place. A TPM is not safe for concurrent
// use, but through a resource manager. ctx is asked before each command; one that the TPM has begun is waited for.
//
// Errors: ErrEnrolled, ErrStorageKey, ErrUnproved, keyvault.ErrArgument, keyvault.ErrStore, errors.ErrUnsupported under GODEBUG=fips140=only, those of
// the TPM (tpm2.TPMRC) and of store. After an error of store.Put the record may be stored; then a second Enroll says ErrEnrolled, and Open works.
func Enroll(ctx context.Context, t transport.TPM, store keyvault.Store, o *Options) (*keyvault.Vault, error) {
	v, err := enroll(ctx, t, store, o)
	if err != nil {
		return nil, fmt.Errorf("enroll TPM vault: %w", err)
	}
	return v, nil
}

func enroll(ctx context.Context, t transport.TPM, store keyvault.Store, opts *Options) (*keyvault.Vault, error) {
	o, err := opts.orDefault()
	if err != nil {
		return nil, err
	}
	// A damaged record (any other error) is an enrolment as well.
	if _, err := store.Get(ctx, o.Name); err == nil {
		return nil, ErrEnrolled
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for a record: %w", err)
	}
	key, err := link{ctx, t}.storageKey(o.StorageKey)
	if err != nil {
		return nil, err
	}
	defer key.close()
	secret, err := key.random()
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	r, err := key.seal(secret, o.mask)
	if err != nil {
		return nil, err
	}
	b := r.bytes()
	if err := key.prove(b, secret); err != nil {
		return nil, err
	}
	v, err := keyvault.FromSecret(secret, store, o.Name)
	if err != nil {
		return nil, err
	}
	if err := put(ctx, store, o.Name, b); err != nil {
		_ = v.Close()
		return nil, err
	}
	return v, nil
}

// prove shows that the bytes of a record give secret.
func (k *storageKey) prove(b, secret []byte) error {
	r, err := parseRecord(b)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnproved, err)
	}
	again, err := k.unseal(r)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnproved, err)
	}
	defer clear(again)
	if subtle.ConstantTimeCompare(again, secret) != 1 {
		return ErrUnproved
	}
	return nil
}

// put stores the record and reads it back: a device whose memory forgets it has no keys at the next boot.
func put(ctx context.Context, store keyvault.Store, name string, value []byte) error {
	if err := store.Put(ctx, name, value); err != nil {
		return fmt.Errorf("store the record: %w", err)
	}
	back, err := store.Get(ctx, name)
	if err != nil {
		return fmt.Errorf("%w: read the record back: %w", keyvault.ErrStore, err)
	}
	if !bytes.Equal(back, value) {
		return fmt.Errorf("%w: the record reads back otherwise", keyvault.ErrStore)
	}
	return nil
}
