package keyvault

import (
	"crypto"
	"crypto/mlkem"
	"fmt"

	"github.com/semio-iot/semio/internal/secret"
)

// Decapsulator returns the device's ML-KEM-768 key (FIPS 203), for exchanges that a quantum computer shall not open. Its seed follows
// from the root key. After Close it gives [ErrClosed]; the public key stays.
func (v *Vault) Decapsulator() (crypto.Decapsulator, error) {
	d := &decapsulator{with: v.withSeed}
	err := d.with(func(seed []byte) error {
		key, err := mlkem.NewDecapsulationKey768(seed)
		if err != nil {
			return err
		}
		d.public = key.EncapsulationKey().Bytes()
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("decapsulator: %w", err)
	}
	return d, nil
}

func (v *Vault) withSeed(use func(seed []byte) error) error {
	return v.use(func() error {
		seed, err := v.root.Derive(labelKEM, nil, mlkem.SeedSize)
		if err != nil {
			return err
		}
		defer clear(seed)
		return use(seed)
	})
}

// decapsulator is an opaque ML-KEM-768 key.
type decapsulator struct {
	secret.Opaque
	public []byte
	with   func(func(seed []byte) error) error
}

// Encapsulator returns the public key.
func (d *decapsulator) Encapsulator() crypto.Encapsulator {
	// The bytes came from a key, so they parse.
	e, err := mlkem.NewEncapsulationKey768(d.public)
	if err != nil {
		return nil
	}
	return e
}

func (d *decapsulator) Decapsulate(ciphertext []byte) (shared []byte, err error) {
	if len(ciphertext) != mlkem.CiphertextSize768 {
		return nil, fmt.Errorf("decapsulate: %w: ciphertext of %d bytes, want %d", ErrArgument, len(ciphertext), mlkem.CiphertextSize768)
	}
	err = d.with(func(seed []byte) error {
		key, err := mlkem.NewDecapsulationKey768(seed)
		if err != nil {
			return err
		}
		shared, err = key.Decapsulate(ciphertext)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("decapsulate: %w", err)
	}
	return shared, nil
}
