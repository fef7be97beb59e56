package keyvault

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
)

const (
	lockVersion   = 1
	lockAESGCM    = 1
	lockHeader    = 6
	lockKeySize   = 32
	lockExtra     = 12 + 16 // nonce and tag
	lockMagic     = "SEML"
	minLockedSize = lockHeader + lockExtra
)

// Overhead is by how many bytes a locked blob is longer than its plaintext.
const Overhead = minLockedSize

// header is followed by the nonce.
func header() []byte { return append([]byte(lockMagic), lockVersion, lockAESGCM) }

// aead gives the cipher of one kind of blob and one context. It runs within use.
func (v *Vault) aead(kind string, context []byte) (cipher.AEAD, error) {
	key, err := v.root.Derive(kind, context, lockKeySize)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// additional is what is authenticated with a blob of that kind: kind ‖ parts.
func additional(kind string, parts ...[]byte) []byte {
	return append([]byte(kind), bytes.Join(parts, nil)...)
}

// Lock encrypts and authenticates plaintext so that only this chip opens it, under the same label (1 to 255 bytes). The blob is
// [Overhead] bytes longer and different each time. A label is good for 2^32 blobs. Errors: ErrArgument, ErrClosed.
func (v *Vault) Lock(label string, plaintext []byte) (blob []byte, err error) {
	if label == "" || len(label) > maxLabel {
		return nil, fmt.Errorf("lock: %w: label of %d bytes, want 1 to %d", ErrArgument, len(label), maxLabel)
	}
	err = v.use(func() error {
		a, err := v.aead(labelLock, []byte(label))
		if err != nil {
			return err
		}
		h := header()
		blob = append(make([]byte, 0, len(plaintext)+Overhead), h...)
		blob = a.Seal(blob, nil, plaintext, additional(labelLock, h, []byte(label)))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	return blob, nil
}

// Unlock opens what Lock made. Errors: [ErrUnlock] for whatever is wrong with blob or label, ErrClosed.
func (v *Vault) Unlock(label string, blob []byte) (plaintext []byte, err error) {
	err = v.use(func() error {
		if label == "" || len(label) > maxLabel || len(blob) < minLockedSize || !bytes.Equal(blob[:lockHeader], header()) {
			return ErrUnlock
		}
		a, err := v.aead(labelLock, []byte(label))
		if err != nil {
			return err
		}
		plaintext, err = a.Open([]byte{}, nil, blob[lockHeader:], additional(labelLock, blob[:lockHeader], []byte(label)))
		if err != nil {
			return ErrUnlock
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("unlock: %w", err)
	}
	return plaintext, nil
}
