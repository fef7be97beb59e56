package tpm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/google/go-tpm/tpm2/transport"

	"github.com/semio-iot/semio/keyvault"
)

// Open has the TPM t give back the secret that Enroll sealed, and returns the open vault. Of o it uses Name and StorageKey.
//
// Errors: ErrNotEnrolled, ErrMalformed, ErrWrongTPM, ErrPolicy, ErrStorageKey, keyvault.ErrArgument, errors.ErrUnsupported under
// GODEBUG=fips140=only, those of the TPM (tpm2.TPMRC) and of store.
func Open(ctx context.Context, t transport.TPM, store keyvault.Store, o *Options) (*keyvault.Vault, error) {
	v, err := open(ctx, t, store, o)
	if err != nil {
		return nil, fmt.Errorf("open TPM vault: %w", err)
	}
	return v, nil
}

func open(ctx context.Context, t transport.TPM, store keyvault.Store, opts *Options) (*keyvault.Vault, error) {
	o, err := opts.orDefault()
	if err != nil {
		return nil, err
	}
	b, err := store.Get(ctx, o.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotEnrolled
	}
	if err != nil {
		return nil, fmt.Errorf("read the record: %w", err)
	}
	r, err := parseRecord(b)
	if err != nil {
		return nil, err
	}
	key, err := link{ctx, t}.storageKey(o.StorageKey)
	if err != nil {
		return nil, err
	}
	defer key.close()
	secret, err := key.unseal(r)
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	return keyvault.FromSecret(secret, store, o.Name)
}
