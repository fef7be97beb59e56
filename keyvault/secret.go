package keyvault

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/semio-iot/semio/fuzzy"
	"github.com/semio-iot/semio/internal/hkdf"
	"github.com/semio-iot/semio/internal/secret"
)

// MinSecret is the least number of bytes of a secret for [FromSecret].
const MinSecret = 32

// FromSecret gives the vault of a device whose secret is kept by something else than a PUF: a TPM (package keyvault/tpm), a secure
// element, fuses. The secret b is at least [MinSecret] bytes with 256 bits of entropy, for this device alone and for no other purpose,
// never a password; the same secret gives the same keys. They are others than those of any chip's root key.
//
// What brings the secret back at the next boot, if only this device can read it, lies in store under name: [Vault.Destroy] deletes
// it there. There is no helper data: HelperHash is all zero, Report is zero.
//
// The secret is not kept; the caller clears it. Errors: ErrArgument, also for a secret whose bytes are all the same, as memory gives
// that was never written.
func FromSecret(b []byte, store Store, name string) (*Vault, error) {
	switch {
	case len(b) < MinSecret:
		return nil, fmt.Errorf("open vault: %w: secret of %d bytes, want at least %d", ErrArgument, len(b), MinSecret)
	case bytes.Count(b, b[:1]) == len(b):
		return nil, fmt.Errorf("open vault: %w: all bytes of the secret are the same; was it ever written?", ErrArgument)
	case store == nil || name == "":
		return nil, fmt.Errorf("open vault: %w: no store or no name; Destroy must know what to delete", ErrArgument)
	}
	var root *secretRoot
	var err error
	secret.Do(func() { root, err = newSecretRoot(b) })
	if err != nil {
		return nil, fmt.Errorf("open vault: %w", err)
	}
	v, err := newVault(root, [32]byte{}, fuzzy.Report{}, store, name)
	if err != nil {
		return nil, fmt.Errorf("open vault: %w", err)
	}
	return v, nil
}

// secretRoot is a rootKey out of a secret. Vault.mu guards it.
type secretRoot struct {
	secret.Opaque
	key secret.Bytes
}

func newSecretRoot(b []byte) (*secretRoot, error) {
	key, err := hkdf.Extract(b, []byte(labelSecret))
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return &secretRoot{key: secret.New(key)}, nil
}

// Derive encodes its arguments as fuzzy.RootKey.Derive does, under another prefix. They are in range: the vault checked those of
// its users.
func (r *secretRoot) Derive(label string, context []byte, n int) ([]byte, error) {
	if r.key.Len() == 0 {
		return nil, ErrClosed
	}
	info := make([]byte, 0, len(labelSecretDerive)+len(label)+len(context)+5)
	info = append(info, labelSecretDerive...)
	info = append(info, byte(len(label)))
	info = append(info, label...)
	info = binary.BigEndian.AppendUint16(info, uint16(len(context)))
	info = append(info, context...)
	info = binary.BigEndian.AppendUint16(info, uint16(n))
	return hkdf.Expand(r.key.Expose(), string(info), n)
}

// Wipe clears the key.
func (r *secretRoot) Wipe() { r.key.Wipe() }
