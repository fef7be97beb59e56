package tpm

import (
	"context"

	"github.com/google/go-tpm/tpm2/transport"
)

// ParseRecord returns what the record's own encoder makes of b.
func ParseRecord(b []byte) ([]byte, error) {
	r, err := parseRecord(b)
	if err != nil {
		return nil, err
	}
	return r.bytes(), nil
}

// Unseal gives the secret of a record.
func Unseal(t transport.TPM, b []byte) ([]byte, error) {
	r, err := parseRecord(b)
	if err != nil {
		return nil, err
	}
	k, err := link{context.Background(), t}.storageKey(0)
	if err != nil {
		return nil, err
	}
	defer k.close()
	return k.unseal(r)
}

// Seal gives the record of a secret.
func Seal(t transport.TPM, secret []byte) ([]byte, error) {
	k, err := link{context.Background(), t}.storageKey(0)
	if err != nil {
		return nil, err
	}
	defer k.close()
	r, err := k.seal(secret, pcrMask{})
	if err != nil {
		return nil, err
	}
	return r.bytes(), nil
}
