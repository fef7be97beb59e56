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

// aead is called within use.
func (v *Vault) aead(label string) (cipher.AEAD, error) {
	key, err := v.root.Derive(labelLock, []byte(label), lockKeySize)
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

func lockData(header []byte, label string) []byte {
	ad := make([]byte, 0, len(labelLock)+len(header)+len(label))
	ad = append(ad, labelLock...)
	ad = append(ad, header...)
	return append(ad, label...)
}

// Lock encrypts and authenticates plaintext so that only this chip opens it, under the same label (1 to 255 bytes). The blob is
// [Overhead] bytes longer and different each time. A label is good for 2^32 blobs. Errors: ErrArgument, ErrClosed.
func (v *Vault) Lock(label string, plaintext []byte) (blob []byte, err error) {
	if label == "" || len(label) > maxLabel {
		return nil, fmt.Errorf("lock: %w: label of %d bytes, want 1 to %d", ErrArgument, len(label), maxLabel)
	}
	err = v.use(func() error {
		a, err := v.aead(label)
		if err != nil {
			return err
		}
		h := header()
		blob = append(make([]byte, 0, len(plaintext)+Overhead), h...)
		blob = a.Seal(blob, nil, plaintext, lockData(h, label))
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
		a, err := v.aead(label)
		if err != nil {
			return err
		}
		plaintext, err = a.Open([]byte{}, nil, blob[lockHeader:], lockData(blob[:lockHeader], label))
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
