package appgw

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"

	"github.com/semio-iot/semio/internal/hkdf"
)

// Locker encrypts and authenticates what the store keeps: queued messages, pre-shared keys, who is connected. *keyvault.Vault is
// one; [NewLocker] makes one of a key.
type Locker interface {
	// Lock encrypts plaintext so that only Unlock with the same label opens it.
	Lock(label string, plaintext []byte) ([]byte, error)

	// Unlock opens what Lock made; anything else, or another label, is an error.
	Unlock(label string, locked []byte) ([]byte, error)
}

// LockerKeySize is the size of a key in bytes.
const LockerKeySize = 32

// ErrLocked reports a value of the store that this locker did not lock in this place: another key, or a changed store.
var ErrLocked = errors.New("appgw: value of the store does not open with this key")

const (
	labelLocker = "semio-appgw/1 store" // HKDF info
	lockVersion = 1                     // first byte of a locked value
)

type gcmLocker struct{ aead cipher.AEAD }

// NewLocker returns a locker with AES-256-GCM (random nonces) under a key derived from key, 32 secret bytes that the host
// keeps outside the store. key is not kept.
func NewLocker(key []byte) (Locker, error) {
	if len(key) != LockerKeySize {
		return nil, fmt.Errorf("%w: locker key of %d bytes, want %d", ErrConfig, len(key), LockerKeySize)
	}
	derived, err := hkdf.Key(key, nil, labelLocker, LockerKeySize)
	if err != nil {
		return nil, fmt.Errorf("derive locker key: %w", err)
	}
	defer clear(derived)
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &gcmLocker{aead}, nil
}

// Format keeps the key schedule, which fmt could reach, out of every print.
func (*gcmLocker) Format(s fmt.State, _ rune) { fmt.Fprint(s, "appgw.Locker([redacted])") }

func (l *gcmLocker) Lock(label string, plaintext []byte) ([]byte, error) {
	return l.aead.Seal([]byte{lockVersion}, nil, plaintext, lockedData(label)), nil
}

func (l *gcmLocker) Unlock(label string, locked []byte) ([]byte, error) {
	if len(locked) < 1 || locked[0] != lockVersion {
		return nil, ErrLocked
	}
	b, err := l.aead.Open(nil, nil, locked[1:], lockedData(label))
	if err != nil {
		return nil, ErrLocked
	}
	return b, nil
}

func lockedData(label string) []byte { return append([]byte{lockVersion}, label...) }
